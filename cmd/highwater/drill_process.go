package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// drillProcess is a worker that a drill has started: this program again. It ends with the drill at the latest, whatever that ends by: then its standard input ends.
type drillProcess struct {
	cmd   *exec.Cmd
	in    io.Closer
	words chan childWord // what it says; closed when it has ended
	ended chan struct{}  // closed when it has ended
	left  chan struct{}  // closed once nobody listens any more
	leave func()         // closes left
	said  logTail
}

// startDrillProcess starts program, which is this one, as a worker on those orders.
func startDrillProcess(program string, orders drillOrders) (*drillProcess, error) {
	p := &drillProcess{cmd: exec.Command(program, drillChildCommand), words: make(chan childWord), ended: make(chan struct{}), left: make(chan struct{})}
	p.leave = sync.OnceFunc(func() { close(p.left) })
	p.cmd.Stderr = &p.said
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	p.in = in
	go p.listen(out)
	_ = json.NewEncoder(in).Encode(orders) // where it does not read them, it has ended, and that is heard of
	return p, nil
}

// listen passes on what the process says, until it has ended.
func (p *drillProcess) listen(out io.Reader) {
	words := json.NewDecoder(out)
	for {
		var word childWord
		if words.Decode(&word) != nil {
			break
		}
		select {
		case p.words <- word:
		case <-p.left:
		}
	}
	_ = p.cmd.Wait() // its outcome is in ProcessState
	close(p.ended)
	close(p.words)
}

// kill is kill -9.
func (p *drillProcess) kill() { _ = p.cmd.Process.Kill() }

// end tells the process to stop, kills it where it has not within drillMost, and returns its exit code: -1 for one that was killed.
func (p *drillProcess) end() int {
	p.leave()
	_ = p.in.Close()
	timer := time.AfterFunc(drillMost, p.kill)
	defer timer.Stop()
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// ending says how a process has ended that was not told to: last is what it said last, and cut, that the ends of its logs were gone for a while. One that ends by anything that was not done to it is an error.
func (p *drillProcess) ending(last childWord, cut bool) (ending, error) {
	<-p.ended
	switch code := p.cmd.ProcessState.ExitCode(); {
	case last.Differs > 0:
		return 0, fmt.Errorf("%d of the vectors that it had published were stored with other bytes: %s; its log:\n%s", last.Differs, last.Failed, p.log())
	case code == -1:
		return endKilled, nil
	case code == exitFailed && last.Fault && last.Cut && cut:
		return endCut, nil
	case code == exitFailed && last.Fault && !last.Cut:
		return endStopped, nil
	default:
		return 0, fmt.Errorf("it ended by itself, with %d, before its time: %s; its log:\n%s", code, last.Failed, p.log())
	}
}

// log returns the end of what it has logged.
func (p *drillProcess) log() string { return p.said.String() }

// logTail keeps the end of what is written to it. Safe for concurrent use.
type logTail struct {
	mu   sync.Mutex // guards text
	text []byte
}

const mostTail = 32 << 10

// Write keeps b.
func (t *logTail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - mostTail; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

// String returns what is kept.
func (t *logTail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
