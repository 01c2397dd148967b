package batch_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/batch"
)

// crowded is a disk without room: plans and commits are refused while full is set.
type crowded struct {
	full    atomic.Bool
	refused atomic.Int64
}

func (c *crowded) room() error {
	if c.full.Load() {
		c.refused.Add(1)
		return &batch.FullError{Dir: "/data/state", Free: 1 << 20, Need: 3 << 20}
	}
	return nil
}

type crowdedPlans struct {
	batch.Plans
	*crowded
}

func (c crowdedPlans) Append(ctx context.Context, p *batch.Plan) (*batch.Plan, error) {
	if err := c.room(); err != nil {
		return nil, err
	}
	return c.Plans.Append(ctx, p)
}

type crowdedState struct {
	batch.State
	*crowded
}

func (c crowdedState) Begin() batch.Change { return crowdedChange{c.State.Begin(), c.crowded} }

type crowdedChange struct {
	batch.Change
	*crowded
}

func (c crowdedChange) Commit(ctx context.Context, p batch.Position) error {
	if err := c.room(); err != nil {
		return err
	}
	return c.Change.Commit(ctx, p)
}

// TestRoom_StallsAndGoesOn takes the room away before a plan, and in another run before a commit. The task stalls, says so in its log, its status and its metrics, and goes on by itself; what comes out is what a run with room gives.
func TestRoom_StallsAndGoesOn(t *testing.T) {
	for _, when := range []string{"plan", "commit"} {
		synctest.Test(t, func(t *testing.T) {
			p := project(t)
			log := steadyLog(30, time.Now())
			clean := newWorld(p, [][]batch.Record{log})
			if err := clean.run(t); err != nil {
				t.Fatal(err)
			}
			w := newWorld(p, [][]batch.Record{log})
			disk, said, registry := &crowded{}, &strings.Builder{}, prometheus.NewRegistry()
			disk.full.Store(when == "plan")
			w.fail = func(call string) error {
				if call == "before publish" && when == "commit" && disk.refused.Load() == 0 {
					disk.full.Store(true)
				}
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			var task *batch.Task
			done := make(chan error)
			go func() {
				done <- w.runTask(ctx, func(made *batch.Task) { task = made }, func(o *batch.Options) {
					o.Plans, o.State = crowdedPlans{o.Plans, disk}, crowdedState{o.State, disk}
					o.Metrics, o.Log, o.OnDrained = batch.NewMetrics(registry), slog.New(slog.NewTextHandler(said, nil)), cancel
				})
			}()
			time.Sleep(time.Minute) // in the bubble
			synctest.Wait()
			var status struct{ Stalled map[string]string }
			if err := json.Unmarshal(task.StatusJSON(), &status); err != nil || !strings.Contains(status.Stalled["state"], "the disk under /data/state is full: 1.0 MiB are free, and 3.0 MiB are wanted") {
				t.Errorf("%s: the status shows %v (%v)", when, status.Stalled, err)
			}
			if w.position != nil {
				t.Errorf("%s: without room it committed %v", when, w.position.Version)
			}
			if n := total(t, registry, "highwater_sink_errors_total"); n != float64(disk.refused.Load()) || n < 10 || n > 100 {
				t.Errorf("%s: in a minute %v refusals were counted, of %d", when, n, disk.refused.Load())
			}
			disk.full.Store(false)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if _, stalled := task.Behind(); len(stalled) > 0 {
				t.Errorf("%s: with room it is stalled by %v", when, stalled)
			}
			if !strings.Contains(said.String(), `msg="does not work for now; nothing is lost, retrying"`) {
				t.Errorf("%s: the log does not say what it waits for:\n%s", when, said)
			}
			if got, want := w.position.Counters.Events, clean.position.Counters.Events; got != want || len(w.stored) != len(clean.stored) || w.stale != 0 {
				t.Errorf("%s: %d events and %d vectors, want %d and %d", when, got, len(w.stored), want, len(clean.stored))
			}
			for k, v := range clean.stored {
				if w.stored[k].bytes != v.bytes && w.stored[k].vector.EventTime != v.vector.EventTime {
					t.Errorf("%s: %q is %s, want %s", when, k, w.stored[k].bytes, v.bytes)
				}
			}
		})
	}
}

// TestRoom_StopsWhileItWaits: a task without room stops at once and well when it is told to, and the next one runs the same plan.
func TestRoom_StopsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := project(t)
		w := newWorld(p, [][]batch.Record{steadyLog(30, time.Now())})
		disk := &crowded{}
		w.fail = func(call string) error {
			disk.full.Store(disk.full.Load() || call == "before publish")
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- w.runUntil(ctx, func(o *batch.Options) { o.Plans, o.State = crowdedPlans{o.Plans, disk}, crowdedState{o.State, disk} })
		}()
		time.Sleep(time.Minute) // in the bubble
		cancel()
		start := time.Now()
		if err := <-done; err != nil || time.Since(start) > 10*time.Second {
			t.Errorf("told to stop, it ended with %v after %s", err, time.Since(start))
		}
		plans := len(w.plans)
		w.fail = nil
		if err := w.run(t); err != nil || w.position.Counters.Events != 30 || plans == 0 {
			t.Errorf("the next run: %v, %+v after %d plans", err, w.position.Counters, plans)
		}
	})
}

// total is the sum of a counter over its labels.
func total(t *testing.T, r *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
