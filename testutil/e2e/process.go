package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for something that must happen: nothing waits for it where all is well.
const Patience = 2 * time.Minute

// Process is a highwater that runs as a child, found in PATH (cmd/highwater's TestMain puts the test binary there under that name). It ends with the test at the latest. Safe for concurrent use.
type Process struct {
	tb    testing.TB
	args  []string
	cmd   *exec.Cmd
	out   *output // results
	err   *output // logs
	ended chan struct{}
}

// Start starts highwater with args, and with none of the HIGHWATER_ variables of this process.
func Start(tb testing.TB, args ...string) *Process {
	tb.Helper()
	return StartWith(tb, nil, args...)
}

// StartWith is Start with variables of its own: NAME=value.
func StartWith(tb testing.TB, env []string, args ...string) *Process {
	tb.Helper()
	p := &Process{tb: tb, args: args, cmd: exec.Command("highwater", args...), out: newOutput(), err: newOutput(), ended: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "HIGHWATER_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its outcome is in ProcessState
		close(p.ended)
		p.out.wake()
		p.err.wake()
	}()
	tb.Cleanup(func() {
		p.Kill()
		<-p.ended
	})
	return p
}

// Run runs highwater to its end and returns its exit code and what it wrote.
func Run(tb testing.TB, args ...string) (code int, stdout, stderr string) {
	tb.Helper()
	p := Start(tb, args...)
	return p.Wait(), p.Stdout(), p.Stderr()
}

// Kill ends the process as kill -9 does.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// Terminate asks the process to stop, as an orchestrator does.
func (p *Process) Terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// Hangup asks the process to read its settings again.
func (p *Process) Hangup() { _ = p.cmd.Process.Signal(syscall.SIGHUP) }

// Ended returns a channel that is closed once the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Wait waits for the end and returns the exit code, -1 for a process that was killed.
func (p *Process) Wait() int {
	p.tb.Helper()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		p.tb.Fatalf("highwater %v did not end within %s; its log:\n%s", p.args, Patience, p.Stderr())
	}
	return p.cmd.ProcessState.ExitCode()
}

// PID returns the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stdout returns what the process has written to its standard output so far.
func (p *Process) Stdout() string { return p.out.text() }

// Stderr returns what the process has logged so far.
func (p *Process) Stderr() string { return p.err.text() }

// AwaitOut waits for text on standard output; a process that ends without it fails the test.
func (p *Process) AwaitOut(text string) string {
	p.tb.Helper()
	return p.await(p.out, text)
}

// AwaitLog waits for text in the log; a process that ends without it fails the test. It returns all that was logged.
func (p *Process) AwaitLog(text string) string {
	p.tb.Helper()
	return p.await(p.err, text)
}

func (p *Process) await(o *output, text string) string {
	p.tb.Helper()
	err := o.await(text, p.ended)
	if err != nil {
		p.tb.Fatalf("highwater %v: wait for %q: %v; its output:\n%s\nits log:\n%s", p.args, text, err, p.Stdout(), p.Stderr())
	}
	return o.text()
}

// Log returns one value of the line of a text log that contains message, as slog writes it: key=value, or "" where there is none.
func Log(log, message, key string) string {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, message) {
			continue
		}
		for field := range strings.FieldsSeq(line) {
			if value, ok := strings.CutPrefix(field, key+"="); ok {
				return value
			}
		}
	}
	return ""
}

// output keeps what a process writes, and wakes those who wait for more.
type output struct {
	mu   sync.Mutex // guards what follows
	buf  bytes.Buffer
	more chan struct{} // closed, and made anew, with each write and at the end
}

func newOutput() *output { return &output{more: make(chan struct{})} }

// Write keeps b.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	o.buf.Write(b)
	o.mu.Unlock()
	o.wake()
	return len(b), nil
}

func (o *output) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits until text has been written.
func (o *output) await(text string, ended <-chan struct{}) error {
	deadline := time.After(Patience)
	for {
		o.mu.Lock()
		found, more := strings.Contains(o.buf.String(), text), o.more
		o.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-ended:
			if strings.Contains(o.text(), text) {
				return nil
			}
			return errors.New("the process ended without it")
		case <-deadline:
			return errors.New("it did not come within " + Patience.String())
		case <-more:
		}
	}
}
