package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// child is the program running as a process of its own, with its log.
type child struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended, and code is set
	code int

	mu    sync.Mutex // guards what follows
	lines []string
	more  chan struct{} // closed, and made anew, at each line
}

// startChild starts highwater with those arguments, and with more of an environment. It is killed when the test ends; where that has failed, the end of its log is shown.
func startChild(t testing.TB, env []string, args ...string) *child {
	t.Helper()
	c := &child{t: t, name: args[0], cmd: exec.Command("highwater", args...), done: make(chan struct{}), more: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), env...)
	log, err := c.cmd.StderrPipe()
	must(t, err)
	must(t, c.cmd.Start())
	go c.follow(bufio.NewScanner(log))
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("the log of %s ends so:\n%s", c.name, c.tail())
		}
	})
	return c
}

// follow keeps the log's lines until it ends, and the process with it.
func (c *child) follow(log *bufio.Scanner) {
	for log.Scan() {
		c.mu.Lock()
		c.lines = append(c.lines, log.Text())
		close(c.more)
		c.more = make(chan struct{})
		c.mu.Unlock()
	}
	_ = c.cmd.Wait()
	c.code = c.cmd.ProcessState.ExitCode()
	close(c.done)
}

// await waits until n lines of the log contain text, and returns the nth.
func (c *child) await(text string, n int) string {
	c.t.Helper()
	deadline := time.After(patience)
	for ended := false; ; {
		c.mu.Lock()
		found, more := c.find(text), c.more
		c.mu.Unlock()
		switch {
		case len(found) >= n:
			return found[n-1]
		case ended:
			c.t.Fatalf("%s ended with %d and has logged %d lines with %q, want %d", c.name, c.code, len(found), text, n)
		}
		select {
		case <-more:
		case <-c.done:
			ended = true
		case <-deadline:
			c.t.Fatalf("%s has logged %d lines with %q within %s, want %d", c.name, len(found), text, patience, n)
		}
	}
}

// find returns the lines that contain text. c.mu is held.
func (c *child) find(text string) []string {
	var found []string
	for _, line := range c.lines {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// count returns how many lines contain text so far.
func (c *child) count(text string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.find(text))
}

// tail is the end of the log.
func (c *child) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines[max(0, len(c.lines)-40):], "\n")
}

// ended reports whether the process has ended, and with which code.
func (c *child) ended() (code int, ended bool) {
	select {
	case <-c.done:
		return c.code, true
	default:
		return 0, false
	}
}

// exit waits until the process has ended by itself, which must be with that code, and returns its log.
func (c *child) exit(code int) string {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		c.t.Fatalf("%s has not ended within %s", c.name, patience)
	}
	if c.code != code {
		c.t.Fatalf("%s ended with %d, want %d", c.name, c.code, code)
	}
	return c.tail()
}

// kill ends the process as kill -9 does, and returns when it is gone.
func (c *child) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Errorf("kill %s: %v", c.name, err)
	}
	<-c.done
}

// stop asks the process to end, as an orchestrator does, and wants it to end well.
func (c *child) stop() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatalf("stop %s: %v", c.name, err)
	}
	c.exit(exitDone)
}
