package redistest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"highwater/testutil/ports"
)

// Integration is the environment variable that asks for real servers.
const Integration = "HIGHWATER_INTEGRATION"

// patience bounds every wait for a server.
const patience = time.Minute

// Server is a redis-server process. It keeps nothing on disk but what [Server.Snapshot] writes, and ends with the test that started it.
type Server struct {
	Addr string // host:port

	binary   string
	args     []string
	dir      string
	password string // of the default user; "" for none
	tls      *Certificates
	ready    string // what it logs when it can be used
	cmd      *exec.Cmd

	mu    sync.Mutex    // guards what follows
	lines []string      // what it has logged since it was started
	more  chan struct{} // closed, and made anew, at each line and at the end of the log
	ended bool          // the log has ended, and so has the process
}

const readyLine = "Ready to accept connections"

// Start runs a redis-server on a free port of the loopback interface until the test ends. Further arguments go to redis-server: "--maxmemory-policy", "allkeys-lru".
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	binary := required(tb)
	return run(tb, func() *Server { return newServer(tb, binary, args) })
}

// run starts what make makes, which must be another one each time: its port was free a moment ago, and another process may have taken it since.
func run(tb testing.TB, make func() *Server) *Server {
	tb.Helper()
	const tries = 5
	for try := 1; ; try++ {
		s := make()
		err := s.start(s.ready)
		if err == nil {
			tb.Cleanup(s.Stop)
			return s
		}
		if s.Stop(); try == tries {
			tb.Fatalf("start redis-server: %v", err)
		}
	}
}

// required returns the redis-server binary, or skips or fails the test.
func required(tb testing.TB) string {
	tb.Helper()
	if os.Getenv(Integration) != "1" {
		tb.Skipf("SKIPPED: needs a real redis-server; set %s=1 to run it", Integration)
	}
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatalf("%s=1 asks for real servers, and there is no redis-server: %v", Integration, err)
	}
	return binary
}

func newServer(tb testing.TB, binary string, args []string) *Server {
	tb.Helper()
	port := freePort(tb)
	dir := tb.TempDir()
	base := []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", dir, "--repl-diskless-sync-delay", "0"}
	return &Server{Addr: "127.0.0.1:" + port, binary: binary, args: append(base, args...), dir: dir, password: argument(args, "--requirepass"), ready: readyLine}
}

func freePort(tb testing.TB) string {
	tb.Helper()
	addr, err := ports.Free()
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimPrefix(addr, "127.0.0.1:")
}

// start runs the process and waits until it logs ready.
func (s *Server) start(ready string) error {
	s.mu.Lock()
	s.lines, s.more, s.ended = nil, make(chan struct{}), false
	s.mu.Unlock()
	s.cmd = exec.Command(s.binary, s.args...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go s.follow(bufio.NewScanner(out))
	return s.waitLine(ready)
}

// follow keeps the log's lines until it ends.
func (s *Server) follow(log *bufio.Scanner) {
	for more := true; more; {
		more = log.Scan()
		s.mu.Lock()
		if more {
			s.lines = append(s.lines, log.Text())
		}
		s.ended = !more
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
	}
}

// waitLine waits for a line of the log that contains text.
func (s *Server) waitLine(text string) error {
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		all, more, ended := strings.Join(s.lines, "\n"), s.more, s.ended
		s.mu.Unlock()
		switch {
		case strings.Contains(all, text):
			return nil
		case ended:
			return fmt.Errorf("redis-server ended before it logged %q:\n%s", text, all)
		}
		select {
		case <-more:
		case <-deadline:
			return fmt.Errorf("redis-server did not log %q within %v:\n%s", text, patience, all)
		}
	}
}

// waitEnd waits until the process has closed its log.
func (s *Server) waitEnd() {
	for {
		s.mu.Lock()
		more, ended := s.more, s.ended
		s.mu.Unlock()
		if ended {
			return
		}
		<-more
	}
}

// Stop kills the server, as a crash would. It does nothing where that was done before.
func (s *Server) Stop() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	s.waitEnd()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Restart kills the server and starts it again on the same address, empty.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Stop()
	if err := os.Remove(s.snapshot()); err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
	s.again(tb, s.ready)
}

// Snapshot writes what the server holds to its disk.
func (s *Server) Snapshot(tb testing.TB) {
	tb.Helper()
	must(tb, s.Client(tb).Save(context.Background()).Err())
}

// RestartFromSnapshot kills the server and starts it again on the same address, with what it held at its last [Server.Snapshot]. It returns when the server has logged ready: "" for when it can be used.
func (s *Server) RestartFromSnapshot(tb testing.TB, ready string, args ...string) {
	tb.Helper()
	s.Stop()
	if _, err := os.Stat(s.snapshot()); err != nil {
		tb.Fatal(err)
	}
	s.args = append(s.args, args...)
	if ready == "" {
		ready = s.ready
	}
	s.again(tb, ready)
}

func (s *Server) snapshot() string { return filepath.Join(s.dir, "dump.rdb") }

func (s *Server) again(tb testing.TB, ready string) {
	tb.Helper()
	if err := s.start(ready); err != nil {
		tb.Fatalf("restart redis-server: %v", err)
	}
}

// Pause hangs the process, which keeps its connections and answers nothing, until [Server.Resume].
func (s *Server) Pause(tb testing.TB) {
	tb.Helper()
	must(tb, s.cmd.Process.Signal(syscall.SIGSTOP))
}

// Resume lets a process go on that [Server.Pause] has hung.
func (s *Server) Resume(tb testing.TB) {
	tb.Helper()
	must(tb, s.cmd.Process.Signal(syscall.SIGCONT))
}

// Client returns a client of the server, closed when the test ends.
func (s *Server) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr, Password: s.password, TLSConfig: s.tls.client(tb), DisableIdentity: true})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// argument returns the value of a command line's setting, "" where it has none.
func argument(args []string, name string) string {
	if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// Eventually calls try until it returns nil. What it waits for is bound to happen; where it does not, the test fails.
func Eventually(tb testing.TB, what string, try func() error) {
	tb.Helper()
	eventually(tb, what, func(context.Context) error { return try() })
}

func eventually(tb testing.TB, what string, try func(ctx context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			tb.Fatalf("waited %s for %s: %v", patience, what, err)
		}
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
