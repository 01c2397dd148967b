package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/testutil/e2e"
)

func TestReady_EachReasonIsNamed(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for name, c := range map[string]struct {
		health  batch.Health
		waiting string
		want    []string // reason: part of the detail
	}{
		"all well":         {batch.Health{Running: true, Behind: 900_000, Backlog: 9}, "", nil},
		"no task yet":      {batch.Health{}, "", []string{"starting: the task is starting"}},
		"waiting":          {batch.Health{}, "waiting for redis: connection refused", []string{"starting: the task is starting; waiting for redis: connection refused"}},
		"behind":           {batch.Health{Running: true, Behind: 1_050_000, Backlog: 10.5}, "", []string{"behind: 1050000 records are waiting, which is 10.5 batches: more than 10"}},
		"republishing":     {batch.Health{Running: true, Republish: &batch.Republishing{Why: "the task key is missing", Written: 10, Of: 100}}, "", []string{"republishing: vectors are written again, 10 of 100: the task key is missing"}},
		"one thing, twice": {batch.Health{Running: true, Troubles: []batch.Trouble{{What: "task_key", Err: "later", Since: ago(time.Second)}, {What: "redis", Err: "READONLY", Since: ago(time.Minute), Attempts: 12}}}, "", []string{"redis: redis: READONLY (12 attempts failed in 1m0s)"}},
		"everything": {batch.Health{Running: true, Behind: 5_000_000, Backlog: 50, Troubles: []batch.Trouble{{What: "kafka", Err: "no broker"}, {What: "state", Err: "the disk is full"}, {What: "dead_letter", Err: "denied"}, {What: "heartbeat", Err: "timeout"}}}, "",
			[]string{"dead_letter: dead_letter: denied", "disk: state: the disk is full", "kafka: kafka: no broker", "redis: heartbeat: timeout", "behind: 5000000"}},
	} {
		reasons := taskReasons(c.health, c.waiting, 10)
		if len(reasons) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, reasons, c.want)
			continue
		}
		for i, r := range reasons {
			if have := r.Reason + ": " + r.Detail; !strings.HasPrefix(have, c.want[i]) {
				t.Errorf("%s: %q, want %q", name, have, c.want[i])
			}
		}
	}
}

// TestReady_FollowsTheWorkersDay takes Redis and Kafka from a worker and gives them back: it is alive all along, and ready only while both are there.
func TestReady_FollowsTheWorkersDay(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.WallClock, 50*time.Millisecond))
	w := s.worker()
	own := e2e.Client{Base: "http://" + e2e.Log(w.AwaitLog("worker starting"), "worker starting", "addr")}
	awaitReady(t, own, `"reason":"starting","detail":"the task is starting; waiting for redis: `, `"reason":"redis"`)
	s.startRedis()
	awaitReady(t, own, `"reason":"starting","detail":"the task is starting; waiting for kafka"`)
	s.startKafka()
	awaitReady(t, own)
	s.sendClicks("u1", 3)
	s.awaitCommitted(w)
	awaitReady(t, own)
	s.stopKafka()
	awaitReady(t, own, `"reason":"kafka"`)
	s.startKafka()
	awaitReady(t, own)
	s.stopRedis()
	awaitReady(t, own, `"reason":"redis"`)
	s.startRedis()
	awaitReady(t, own)
	stopped(t, w)
}

// awaitReady waits until /readyz says exactly that: not ready, with all of the reasons, or ready where there are none.
func awaitReady(t *testing.T, c e2e.Client, reasons ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("/readyz to say %q", reasons), func() error {
		if status, text := c.Get(t, "/healthz"); status != http.StatusOK {
			t.Fatalf("it is not alive: %d %s", status, text)
		}
		status, text := c.Get(t, "/readyz")
		err := fmt.Errorf("status %d: %s", status, text)
		if len(reasons) == 0 {
			if status != http.StatusOK || !strings.Contains(string(text), `{"status":"ready"`) {
				return err
			}
			return nil
		}
		for _, r := range reasons {
			if status != http.StatusServiceUnavailable || !strings.Contains(string(text), r) {
				return errors.Join(err, fmt.Errorf("%s is not among its reasons", r))
			}
		}
		return nil
	})
}
