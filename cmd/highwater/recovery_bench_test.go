package main

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"highwater/testutil/redistest"
)

// BenchmarkRecovery kills a worker (kill -9) in the middle of its batches, with 1,000,000 users in its state, and starts it again: how long from the start of the process to the first batch that it commits (the one it died in), and until
// /readyz says yes. It is killed three times, each at a random moment after a batch; the figures are the median and the most. Run it with make bench-recovery.
func BenchmarkRecovery(b *testing.B) {
	const users, kills = 1_000_000, 3
	r := rand.New(rand.NewPCG(1, 2))
	server := redistest.Start(b)
	broker := loadedBroker(b, 1, adRows(2_500_000, users, 1000))
	dir := b.TempDir()
	binary, definitions, state := filepath.Join(dir, "highwater"), filepath.Join(dir, "bench.yaml"), filepath.Join(dir, "data")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	if err := os.WriteFile(definitions, []byte(adEvents), 0o600); err != nil {
		b.Fatal(err)
	}
	start := func() *recovering {
		return startRecovering(b, binary, "worker", "--definitions", definitions, "--kafka", strings.Join(broker.Addrs(), ","), "--redis", server.Addr, "--data-dir", state, "--addr", "127.0.0.1:0", "--log-level", "debug", "--ready-behind", "100")
	}
	for b.Loop() {
		p := start()
		for p.awaitBatch() < users/100_000 { // every user has come
		}
		var commits, ready []time.Duration
		for range kills {
			<-time.After(time.Duration(r.IntN(300)) * time.Millisecond) // somewhere within the next
			p.kill(b)
			p = start()
			readyIn := p.awaitReady()
			p.awaitBatch()
			commits, ready = append(commits, p.first), append(ready, <-readyIn)
		}
		p.kill(b)
		b.ReportMetric(median(commits).Seconds(), "commit-s")
		b.ReportMetric(median(ready).Seconds(), "ready-s")
		b.Logf("from the start of the process, after each of %d kills: first commit %v; ready %v", kills, commits, ready)
	}
}

func median(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// recovering is a worker whose log is read as it comes.
type recovering struct {
	tb      testing.TB
	cmd     *exec.Cmd
	began   time.Time
	addr    chan string
	batches chan int64    // sequences
	first   time.Duration // from the start to the first batch committed
}

func startRecovering(tb testing.TB, binary string, args ...string) *recovering {
	tb.Helper()
	p := &recovering{tb: tb, cmd: exec.CommandContext(context.Background(), binary, args...), addr: make(chan string, 1), batches: make(chan int64, 1000)}
	log, err := p.cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go p.read(log)
	return p
}

var (
	startingLine  = regexp.MustCompile(`msg="worker starting".* addr=(\S+)`)
	committedLine = regexp.MustCompile(`msg="batch committed".* sequence=(\d+)`)
)

func (p *recovering) read(log io.Reader) {
	defer close(p.batches)
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m := startingLine.FindStringSubmatch(lines.Text()); m != nil {
			p.addr <- m[1]
		}
		if m := committedLine.FindStringSubmatch(lines.Text()); m != nil {
			if p.first == 0 {
				p.first = time.Since(p.began)
			}
			n, _ := strconv.ParseInt(m[1], 10, 64)
			p.batches <- n
		}
	}
}

// awaitBatch waits for the next batch, and returns its sequence.
func (p *recovering) awaitBatch() int64 {
	p.tb.Helper()
	select {
	case n, more := <-p.batches:
		if !more {
			p.tb.Fatal("the worker has ended")
		}
		return n
	case <-time.After(patience):
		p.tb.Fatalf("no batch within %s", patience)
	}
	return 0
}

// awaitReady asks /readyz every few milliseconds, from where it listens on, and sends how long after the start it said yes.
func (p *recovering) awaitReady() <-chan time.Duration {
	answer := make(chan time.Duration, 1)
	go func() {
		addr := <-p.addr
		look := time.NewTicker(2 * time.Millisecond)
		defer look.Stop()
		for range look.C {
			resp, err := http.Get("http://" + addr + "/readyz")
			if err != nil {
				continue
			}
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK || time.Since(p.began) > patience {
				answer <- time.Since(p.began)
				return
			}
		}
	}()
	return answer
}

func (p *recovering) kill(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		tb.Fatal(err)
	}
	_ = p.cmd.Wait()
}
