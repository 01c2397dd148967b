package redistest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Integration is the environment variable that asks for real servers.
const Integration = "HIGHWATER_INTEGRATION"

// patience bounds every wait for a server.
const patience = 20 * time.Second

// Server is a redis-server process that keeps nothing on disk. It ends with the test that started it.
type Server struct {
	Addr string // host:port

	binary string
	args   []string
	cmd    *exec.Cmd

	mu    sync.Mutex    // guards what follows
	lines []string      // what it has logged since it was started
	more  chan struct{} // closed, and made anew, at each line and at the end of the log
	ended bool          // the log has ended, and so has the process
}

// Start runs a redis-server on a free port of the loopback interface until the test ends. Further arguments go to redis-server: "--maxmemory-policy", "allkeys-lru".
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	binary := required(tb)
	const tries = 5 // the port was free a moment ago; another process may have taken it since
	for try := 1; ; try++ {
		s := newServer(tb, binary, args)
		err := s.start("Ready to accept connections")
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
	base := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no", "--dir", tb.TempDir()}
	return &Server{Addr: fmt.Sprintf("127.0.0.1:%d", port), binary: binary, args: append(base, args...)}
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
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
	if err := s.start("Ready to accept connections"); err != nil {
		tb.Fatalf("restart redis-server: %v", err)
	}
}

// Client returns a client of the server, closed when the test ends.
func (s *Server) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// Cluster is three primaries, without replicas, that share all slots.
type Cluster struct {
	Nodes []*Server
	Addrs []string // of Nodes
}

// StartCluster runs a Redis Cluster of three primaries until the test ends.
func StartCluster(tb testing.TB) *Cluster {
	tb.Helper()
	required(tb)
	const nodes, slots = 3, 16384
	c := &Cluster{}
	for range nodes {
		s := Start(tb, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(tb)), "--cluster-node-timeout", "5000")
		c.Nodes, c.Addrs = append(c.Nodes, s), append(c.Addrs, s.Addr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, s := range c.Nodes {
		client := s.Client(tb)
		must(tb, client.Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		must(tb, client.ClusterAddSlotsRange(ctx, i*slots/nodes, (i+1)*slots/nodes-1).Err())
		host, port, _ := strings.Cut(c.Nodes[0].Addr, ":")
		bus := argument(c.Nodes[0].args, "--cluster-port")
		if i > 0 {
			must(tb, client.Do(ctx, "cluster", "meet", host, port, bus).Err())
		}
	}
	for _, s := range c.Nodes {
		must(tb, s.waitLine("Cluster state changed: ok"))
	}
	return c
}

// Client returns a client of the cluster, closed when the test ends.
func (c *Cluster) Client(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: slices.Clone(c.Addrs), DisableIdentity: true})
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

func argument(args []string, name string) string {
	for i := range args[:len(args)-1] {
		if args[i] == name {
			return args[i+1]
		}
	}
	return ""
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
