package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"highwater/examples"
	"highwater/features"
	"highwater/testutil/e2e"
	"highwater/testutil/redistest"
)

// TestOutage_AtTheStart starts a worker before Redis and Kafka: it says what it waits for, is alive but not ready, and goes to work once they are there.
func TestOutage_AtTheStart(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.WallClock, 50*time.Millisecond))
	w := s.worker()
	log := w.AwaitLog("waiting for redis")
	if !strings.Contains(log, s.redisAddr) || !strings.Contains(log, "nothing answers there; is Redis running, and is this its address?") {
		t.Errorf("waiting for Redis, the worker does not say where and what to do:\n%s", log)
	}
	s.startRedis()
	log = w.AwaitLog("kafka does not answer as it should")
	if !strings.Contains(log, s.kafka) {
		t.Errorf("waiting for Kafka, the worker does not say where:\n%s", log)
	}
	s.startKafka()
	s.sendClicks("u1", 3)
	client := e2e.Client{Base: "http://" + e2e.Log(w.AwaitLog("worker started"), "worker started", "addr")}
	s.awaitCommitted(w)
	checkClicks(t, client, "u1", 3)
	stopped(t, w)
}

// TestOutage_ServeIsAliveAndNotReady asks a server of features whose Redis is down, then empty, then there.
func TestOutage_ServeIsAliveAndNotReady(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.WallClock, 50*time.Millisecond))
	p, client := s.serve()
	for _, c := range []struct {
		path   string
		status int
		says   string
	}{
		{"/healthz", 200, `{"status":"ok"}`},
		{"/readyz", 503, "the online store does not answer"},
		{"/v1/features/users/u1", 503, "the online store does not answer"},
		{"/v1/status", 503, "the online store does not answer"},
	} {
		if status, text := client.Get(t, c.path); status != c.status || !strings.Contains(string(text), c.says) {
			t.Errorf("without Redis, %s answers %d: %s, want %d with %q", c.path, status, text, c.status, c.says)
		}
	}
	s.startRedis()
	eventually(t, "the server to say that nothing has been written yet", func() error {
		if status, text := client.Get(t, "/readyz"); status != http.StatusServiceUnavailable || strings.Contains(string(text), "does not answer") || !strings.Contains(string(text), "shop") {
			return fmt.Errorf("status %d: %s", status, text)
		}
		return nil
	})
	s.startKafka()
	w := s.worker()
	eventually(t, "the server to be ready", func() error {
		if status, text := client.Get(t, "/readyz"); status != http.StatusOK {
			return fmt.Errorf("status %d: %s", status, text)
		}
		return nil
	})
	stopped(t, w)
	stopped(t, p)
}

// TestOutage_StopsWhileItWaits tells processes to stop that wait for Redis or Kafka: they do, at once and well.
func TestOutage_StopsWhileItWaits(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.WallClock, 50*time.Millisecond))
	w := s.worker()
	w.AwaitLog("waiting for redis")
	stopped(t, w)
	d := e2e.Start(t, "dev", "--redis", s.redisAddr, "--addr", "127.0.0.1:0")
	d.AwaitLog("waiting for redis")
	stopped(t, d)
	s.startRedis()
	w = s.worker()
	w.AwaitLog("kafka does not answer as it should")
	stopped(t, w)
	d = e2e.Start(t, "dev", "--kafka", s.kafka, "--addr", "127.0.0.1:0")
	d.AwaitLog("kafka does not answer as it should")
	stopped(t, d)
}

// TestOutage_InMidRun takes Redis away and brings it back, as it was and empty; then Kafka. The worker says so, stays alive, loses nothing and counts nothing twice.
func TestOutage_InMidRun(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.WallClock, 50*time.Millisecond))
	s.startKafka()
	s.startRedis()
	w := s.worker()
	own := e2e.Client{Base: "http://" + e2e.Log(w.AwaitLog("worker started"), "worker started", "addr")}
	p, client := s.serve()
	s.sendClicks("u1", 10)
	s.awaitCommitted(w)
	checkClicks(t, client, "u1", 10)

	s.stopRedis()
	s.sendClicks("u1", 10)
	log := w.AwaitLog("does not work for now; nothing is lost, retrying")
	if !strings.Contains(log, s.redisAddr) {
		t.Errorf("without Redis, the worker does not say where it should be:\n%s", log)
	}
	if n := metric(t, own, `highwater_sink_errors_total\{.*\}`); n == 0 {
		t.Error("failed attempts at Redis are not counted")
	}
	if status, text := client.Get(t, "/v1/features/users/u1"); status != http.StatusServiceUnavailable || !strings.Contains(string(text), `"urn:highwater:problem:unavailable"`) {
		t.Errorf("without Redis, a lookup answers %d: %s", status, text)
	}
	s.startRedis()
	s.awaitCommitted(w)
	checkClicks(t, client, "u1", 20)

	s.stopRedis()
	s.redis.FlushAll()
	s.startRedis()
	w.AwaitLog("msg=republished")
	checkClicks(t, client, "u1", 20)

	s.stopKafka()
	eventually(t, "failed requests to Kafka to be counted", func() error {
		if metric(t, own, `highwater_source_errors_total`) == 0 {
			return fmt.Errorf("none")
		}
		return nil
	})
	checkClicks(t, client, "u1", 20) // reading goes on
	s.startKafka()
	s.sendClicks("u1", 10)
	s.awaitCommitted(w)
	checkClicks(t, client, "u1", 30)

	// All at once, and the worker is told to stop: the batch in hand is left to the next start, and still counts once.
	s.stopRedis()
	s.sendClicks("u1", 10)
	eventually(t, "a plan that is not committed", func() error {
		if in, err := s.inspect(); err != nil || in.Pending == 0 {
			return fmt.Errorf("%d pending plans (%w)", in.Pending, err)
		}
		return nil
	})
	stopped(t, w)
	s.startRedis()
	w = s.worker()
	w.AwaitLog("running a plan that was found without its commit")
	if at := s.awaitCommitted(w); at.Counters.Events != 40 || at.Counters.DeadLetter+at.Counters.Late != 0 {
		t.Errorf("counters %+v, want 40 events", at.Counters)
	}
	checkClicks(t, client, "u1", 40)
	stopped(t, w)
	stopped(t, p)
}

// TestOutage_ConnectionsBreak breaks every tenth connection on which a script is called, half of them before the call is carried out and half before it is answered. Each batch is retried until all of it is confirmed: no value is
// lost, and nothing that was there already is taken for another's.
func TestOutage_ConnectionsBreak(t *testing.T) {
	t.Parallel()
	p := exampleProject(t, "ads")
	p.Batch.Interval, p.Batch.MaxRecords = 20*time.Millisecond, 500
	_, gz := examples.Events("ads")
	rows, w := exampleRows(t, "ads", p), e2e.NewWorld(p, 1)
	for _, e := range e2e.Events(t, gz, p.Sources[0]) {
		w.Tell(e)
	}
	var calls, broken atomic.Int64
	m := redistest.Embedded(t, func(peer *server.Peer, command string, _ ...string) bool {
		n := calls.Add(1)
		if command != "EVALSHA" || n%10 != 0 {
			return false
		}
		broken.Add(1)
		peer.Close()
		return n%20 == 0
	})
	pl := startPipeline(t, p, pipelineOptions{redis: m})
	pl.load(rowsOf(rows))
	pl.drain()
	checkMarks(t, pl, w, true)
	if n := w.Check(t, pl.client, true); n == 0 || broken.Load() < 10 {
		t.Errorf("%d values were compared after %d broken connections", n, broken.Load())
	}
	if n := metric(t, pl.client, `highwater_sink_errors_total\{.*\}`); n == 0 {
		t.Error("failed attempts are not counted")
	}
}

// metric returns the sum of a process's metrics whose name and labels match.
func metric(t testing.TB, c e2e.Client, name string) (sum float64) {
	t.Helper()
	_, text := c.Get(t, "/metrics")
	for _, m := range regexp.MustCompile(`(?m)^`+name+` (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		var v float64
		if _, err := fmt.Sscan(m[1], &v); err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}
