package batch_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"highwater/batch"
)

func TestTask_APlanPendingWhenPartitionsAreAddedIsRunAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, events := randomLog(rand.New(rand.NewPCG(8, 8)), 2, 30)
		clean := newWorld(project(t), log)
		if err := clean.run(t); err != nil {
			t.Fatal(err)
		}
		frontier, watermark := marksOf(events)
		want := expect(clean.project, events, frontier, watermark)
		for at := 1; at <= clean.calls; at++ {
			w := newWorld(clean.project, log)
			w.crashAt = at
			if err := w.run(t); err != nil && !errors.Is(err, errDead) {
				t.Fatal(err)
			}
			w.log = append(w.log[:2:2], nil)
			w.parts = append(w.parts[:2:2], batch.Partition{Source: w.parts[0].Source, Topic: w.parts[0].Topic, Number: 2})
			w.avail = append(w.avail[:2:2], 0)
			w.topicIDs = append(w.topicIDs[:2:2], "topic")
			if err := w.run(t); err != nil {
				t.Fatalf("%s: then a partition was added: %v", w.trace, err)
			}
			checkStore(t, w, want)
			c := newWorld(w.project, w.log)
			c.plans = w.plans
			if err := c.run(t); err != nil {
				t.Fatal(err)
			}
			got, clean := bytesOf(w), bytesOf(c)
			delete(got, "position") // a clean execution knows the partition from its first plan on
			delete(clean, "position")
			if !maps.Equal(got, clean) {
				t.Errorf("%s: the bytes differ from a clean execution of the recorded plans", w.trace)
			}
			if t.Failed() {
				t.FailNow()
			}
		}
	})
}

func TestRepublish_ByHandAfterLongSilenceWaitsForANewerReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := randomLog(rand.New(rand.NewPCG(4, 4)), 1, 40)
		w := newWorld(project(t), log)
		ctx, cancel := context.WithCancel(t.Context())
		drained, batches := make(chan struct{}), make(chan batch.Stats, 100)
		var task *batch.Task
		done := make(chan error)
		go func() {
			done <- w.runTask(ctx, func(made *batch.Task) { task = made }, func(o *batch.Options) {
				o.OnDrained, o.TombstoneTTL = func() { close(drained) }, time.Hour
				o.OnBatch = func(s batch.Stats) { batches <- s }
			})
		}()
		<-drained
		for len(batches) > 0 {
			<-batches
		}
		time.Sleep(3 * time.Hour) // in the bubble
		n, err := task.Republish(t.Context())
		if s := <-batches; s.Trigger != "forced" {
			t.Errorf("the next batch was cut by %s, want forced", s.Trigger)
		}
		w.mu.Lock()
		held := 0
		for _, s := range w.stored {
			if !s.tombstone { // those have expired, after an hour
				held++
			}
		}
		w.mu.Unlock()
		if err != nil || n != int64(held) {
			t.Errorf("republished %d vectors, %v; want the %d that live", n, err, held)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// gone is a source that loses its log in mid-run.
type gone struct {
	*arriving
	err error
}

func (g *gone) Cut(maxOffsets, maxBytes int64) (batch.Cut, error) {
	g.mu.Lock()
	err := g.err
	g.mu.Unlock()
	if err != nil {
		return batch.Cut{}, err
	}
	return g.arriving.Cut(maxOffsets, maxBytes)
}

func TestRun_AnErrorOfTheSourceIsToldAlthoughASinkIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(project(t), [][]batch.Record{steadyLog(30, time.Now())})
		w.avail[0] = 5
		w.fail = func(call string) error {
			if call == "before publish" {
				return errors.New("connection refused")
			}
			return nil
		}
		lost := &batch.LostError{Partition: w.parts[0], Start: 7, End: 9}
		g := &gone{arriving: &arriving{source: &source{world: w}, arrived: make(chan struct{}, 1)}}
		done := make(chan error)
		go func() { done <- w.runUntil(t.Context(), func(o *batch.Options) { o.Source, o.Complete = g, nil }) }()
		time.Sleep(10 * time.Second) // in the bubble: the first batch is at its sink by now
		w.mu.Lock()
		g.err = lost
		w.mu.Unlock()
		g.arrived <- struct{}{}
		start := time.Now()
		if err := <-done; !errors.Is(err, error(lost)) || !strings.Contains(err.Error(), "--accept-loss") {
			t.Fatalf("got %v, want the lost range and the way out", err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %s to be told", took)
		}
	})
}
