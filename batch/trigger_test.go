package batch_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"highwater/batch"
	"highwater/features"
)

// arriving is a source whose records come while the task runs.
type arriving struct {
	*source
	arrived chan struct{}
}

func (a *arriving) Arrived() <-chan struct{} { return a.arrived }

func (a *arriving) come(n int) {
	a.mu.Lock()
	a.avail[0] += n
	a.mu.Unlock()
	select {
	case a.arrived <- struct{}{}:
	default:
	}
}

// live runs a task on a log of one partition whose records come as during says.
func live(t *testing.T, p *features.Project, log []batch.Record, during func(a *arriving, w *world, batches chan batch.Stats), configure ...func(*batch.Options)) {
	w := newWorld(p, [][]batch.Record{log})
	w.avail[0] = 0
	a := &arriving{source: &source{world: w}, arrived: make(chan struct{}, 1)}
	batches := make(chan batch.Stats, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- w.runUntil(ctx, append([]func(*batch.Options){func(o *batch.Options) {
			o.Source, o.Complete = a, nil
			o.OnBatch = func(s batch.Stats) { batches <- s }
		}}, configure...)...)
	}()
	during(a, w, batches)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// steadyLog is n clicks of one user, a second apart, from the given time.
func steadyLog(n int, from time.Time) []batch.Record {
	var log []batch.Record
	for i := range n {
		ts := from.Add(time.Duration(i) * time.Second).UnixMilli()
		value, _ := json.Marshal(event{User: "u1", Kind: "click", Price: 1, TS: ts})
		log = append(log, batch.Record{Offset: int64(i), Time: ts * 1000, Value: value})
	}
	return log
}

func TestTrigger_ASpikeIsCutBySizeATrickleByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := project(t, func(p *features.Project) { p.Batch.MaxRecords = 10 })
		live(t, p, steadyLog(100, time.Now()), func(a *arriving, _ *world, batches chan batch.Stats) {
			start := time.Now()
			a.come(35)
			for range 3 {
				if s := <-batches; s.Trigger != "size" || s.Records != 10 {
					t.Errorf("a spike: cut by %s with %d records, want by size with 10", s.Trigger, s.Records)
				}
			}
			if waited := time.Since(start); waited > 0 {
				t.Errorf("the spike waited %s", waited)
			}
			if s := <-batches; s.Trigger != "interval" || s.Records != 5 {
				t.Errorf("the rest: cut by %s with %d records, want by interval with 5", s.Trigger, s.Records)
			}
			if waited := time.Since(start); waited != 5*time.Second {
				t.Errorf("the rest waited %s, want the interval, 5s", waited)
			}
			for range 3 {
				a.come(1)
				time.Sleep(1700 * time.Millisecond) // in the bubble: no real time passes
			}
			if s := <-batches; s.Trigger != "interval" || s.Records != 3 {
				t.Errorf("a trickle: cut by %s with %d records, want by interval with 3", s.Trigger, s.Records)
			}
		})
	})
}

func TestClock_CountsFallToZeroByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := project(t, func(p *features.Project) { p.Clock = features.WallClock })
		live(t, p, steadyLog(1, time.Now()), func(a *arriving, w *world, batches chan batch.Stats) {
			came := time.Now()
			a.come(1)
			count := func() (int64, bool) {
				w.mu.Lock()
				defer w.mu.Unlock()
				s, ok := w.stored["users\x00u1"]
				if !ok || s.tombstone {
					return 0, ok
				}
				return s.vector.Values[0].Int(), true
			}
			<-batches
			if n, _ := count(); n != 1 {
				t.Fatalf("clicks_20s is %d after the click, want 1", n)
			}
			for n := int64(1); n > 0; n, _ = count() {
				<-batches
			}
			// The window is 20 s in tiles of 2 s, a batch 5 s.
			if took := time.Since(came); took < 20*time.Second || took > 20*time.Second+2*time.Second+5*time.Second {
				t.Errorf("the count fell to 0 after %s, want the window, and at most one tile and one interval more", took)
			}
		})
	})
}

func TestRun_StopsWithinItsGraceAndLeavesAPlanToRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := project(t)
		log := steadyLog(30, time.Now())
		w := newWorld(p, [][]batch.Record{log})
		w.fail = func(call string) error {
			if call == "before publish" {
				return context.DeadlineExceeded
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.runUntil(ctx, func(*batch.Options) {}) }()
		time.Sleep(time.Minute) // in the bubble
		cancel()
		start := time.Now()
		if err := <-done; err != nil {
			t.Fatalf("a task told to stop while its sink is down: %v, want a clean stop", err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("stopping took %s, want at most 10s", took)
		}
		w.fail = nil
		if err := w.run(t); err != nil {
			t.Fatal(err)
		}
		if got := w.position.Counters.Events; got != 30 {
			t.Errorf("%d events were counted, want 30", got)
		}
	})
}

func TestTrigger_DrainsUnderTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := project(t, func(p *features.Project) { p.Clock = features.WallClock })
		w := newWorld(p, [][]batch.Record{steadyLog(20, time.Now().Add(-time.Minute))})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := w.runUntil(ctx, func(o *batch.Options) { o.OnDrained = cancel })
		if err != nil || ctx.Err() != context.Canceled {
			t.Fatalf("not drained within a minute: %v, %v", err, ctx.Err())
		}
		if n := w.position.Counters.Events; n != 20 {
			t.Errorf("%d events were committed, want 20", n)
		}
	})
}
