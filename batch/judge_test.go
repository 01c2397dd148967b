package batch_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"highwater/batch"
	"highwater/features"
)

// record is one event as Kafka holds it.
func record(offset int, e event, recorded time.Time) batch.Record {
	value, _ := json.Marshal(e)
	return batch.Record{Offset: int64(offset), Time: recorded.UnixMicro(), Value: value}
}

func TestJudge_DeadLettersAreCountedByReasonAndMoveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		at := func(d time.Duration) int64 { return start.Add(d).UnixMilli() }
		good := event{User: "u1", Kind: "click", TS: at(0)}
		log := []batch.Record{
			record(0, good, start),
			{Offset: 1, Time: start.UnixMicro(), Value: []byte(`{"ts": 12`)},
			{Offset: 2, Time: start.UnixMicro(), Value: []byte(`{"kind":"click"}`)},
			{Offset: 3, Time: start.UnixMicro(), Value: fmt.Appendf(nil, `{"ts":%d,"price":"dear"}`, at(0))},
			{Offset: 4, Time: start.UnixMicro(), Value: fmt.Appendf(nil, `{"ts":%d,"ts":%d}`, at(0), at(0))},
			{Offset: 5, Time: start.UnixMicro(), Value: fmt.Appendf(nil, `{"ts":%d,"kind":%q}`, at(0), strings.Repeat("x", 2000))},
			record(6, event{User: "u1", Kind: "click", TS: at(time.Hour)}, start), // absurd: an hour ahead of its own record
			record(7, event{User: "u1", Kind: "click", TS: at(20 * time.Second)}, start.Add(20*time.Second)),
			record(8, event{User: "u1", Kind: "click", TS: at(12 * time.Second)}, start.Add(21*time.Second)), // just within 8 s
			record(9, event{User: "u1", Kind: "click", TS: at(12*time.Second) - 1}, start.Add(21*time.Second)),
		}
		w := newWorld(project(t, func(p *features.Project) { p.Sources[0].MaxRecordBytes = 1000 }), [][]batch.Record{log})
		if err := w.run(t); err != nil {
			t.Fatal(err)
		}
		c := w.position.Counters
		want := map[string]int64{"malformed": 1, "no_time": 1, "type": 1, "duplicate": 1, "too_large": 1, "absurd": 1, "late": 1}
		for reason, n := range want {
			if c.Reasons[reason] != n {
				t.Errorf("%s: %d, want %d", reason, c.Reasons[reason], n)
			}
		}
		if c.Events != 4 || c.DeadLetter != 6 || c.Late != 1 {
			t.Errorf("events %d, dead letters %d, late %d; want 4 (the late one was decoded), 6, 1", c.Events, c.DeadLetter, c.Late)
		}
		if got := time.UnixMicro(w.position.Frontier); !got.Equal(time.UnixMilli(at(20 * time.Second))) {
			t.Errorf("the frontier is %s: an absurd event moved it", got)
		}
		if n := w.stored["users\x00u1"].vector.Values[3].Int(); n != 3 {
			t.Errorf("%d clicks in all, want the 3 good ones", n)
		}
		if len(w.dead) != 7 {
			t.Fatalf("the sinks got %d dead letters, want 7", len(w.dead))
		}
		for _, d := range w.dead {
			if d.Detail == "" || (d.Value == nil) != (d.Reason == batch.ReasonTooLarge) {
				t.Errorf("offset %d, %s: detail %q, body of %d bytes", d.Offset, d.Reason, d.Detail, len(d.Value))
			}
		}
	})
}

func TestWatermark_AnEmptyPartitionHoldsItUntilTheFinalPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := [][]batch.Record{steadyLog(60, time.Now()), nil}
		w := newWorld(project(t), log)
		if err := w.run(t); err != nil {
			t.Fatal(err)
		}
		last := w.plans[len(w.plans)-1]
		if !last.Final || last.Offsets() != 0 {
			t.Errorf("the last plan is %+v, want a final one without records", last)
		}
		for _, p := range w.plans[:len(w.plans)-1] {
			if p.Final {
				t.Errorf("plan %s is final too", p.Version)
			}
		}
		if want := log[0][59].Time - 8_000_000; w.position.Watermark != want {
			t.Errorf("the watermark is %d, want %d", w.position.Watermark, want)
		}
		plans := len(w.plans)
		if err := w.run(t); err != nil {
			t.Fatal(err)
		}
		if len(w.plans) != plans {
			t.Error("started again with nothing to do, the task planned all the same")
		}
	})
}

func TestWatermark_IdlePartitionsAreLeftOutUnderTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := project(t, func(p *features.Project) { p.Clock = features.WallClock })
		live(t, p, steadyLog(1, time.Now()), func(a *arriving, w *world, batches chan batch.Stats) {
			start := time.Now()
			a.come(1)
			for {
				<-batches
				w.mu.Lock()
				watermark := w.position.Watermark
				w.mu.Unlock()
				if watermark == start.UnixMicro()-8_000_000 {
					if time.Since(start) > 2*time.Minute {
						t.Fatal("the watermark stands still although the only partition has been idle for two minutes")
					}
					continue
				}
				if quiet := time.Since(start); quiet < time.Minute {
					t.Errorf("the watermark moved by the clock after %s, before idle_after", quiet)
				}
				if want := time.Now().UnixMicro() - 8_000_000; watermark != want {
					t.Errorf("the watermark is %d, want the clock less the lateness, %d", watermark, want)
				}
				return
			}
		})
	})
}

// A plan that is not caught up says nothing of what is still to come: the clock does not move the frontier past it.
func TestFrontier_FollowsTheClockOnlyWhereThePlanIsCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := project(t, func(p *features.Project) { p.Clock, p.Batch.MaxRecords = features.WallClock, 10 })
		log := steadyLog(35, time.Now().Add(-time.Hour))
		w := newWorld(p, [][]batch.Record{log})
		if err := w.run(t); err != nil {
			t.Fatal(err)
		}
		behind := 0
		for _, plan := range w.plans {
			want := log[plan.Slices[0].End-1].Time
			if plan.CaughtUp() {
				want = plan.Clock
			} else {
				behind++
			}
			for _, call := range w.applied {
				for _, v := range call.Vectors {
					if v.Version == plan.Version && v.Frontier != want {
						t.Errorf("plan %s, caught up: %v: %s %s holds at %d, want %d", plan.Version, plan.CaughtUp(), v.View.Name, v.Entity, v.Frontier, want)
					}
				}
			}
		}
		if behind < 3 {
			t.Errorf("%d plans were not caught up, want 3", behind)
		}
	})
}

// An entity whose vector has expired leaves the state once its tombstone is over, though nothing comes any more.
func TestTombstone_TheStateForgetsWhenItEnds(t *testing.T) {
	const tombstone = 5 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		mortal := strings.NewReplacer("      clicks: {aggregate: count}\n", "", "      newest: {aggregate: last, of: price}\n", "").Replace(definitions) // lifetime features stay
		p, err := features.Parse("shop.yaml", []byte(mortal))
		if err != nil {
			t.Fatal(err)
		}
		p.Clock = features.WallClock
		live(t, p, steadyLog(1, time.Now()), func(a *arriving, w *world, batches chan batch.Stats) {
			a.come(1)
			const key = "users\x00u1"
			met := false
			for start := time.Now(); time.Since(start) < 2*tombstone; {
				<-batches
				w.mu.Lock()
				_, found := w.state[key]
				w.mu.Unlock()
				if met = met || found; met && !found {
					if after := time.Since(start); after < tombstone {
						t.Errorf("it was forgotten after %s, before its tombstone's end", after)
					}
					return
				}
			}
			t.Errorf("the entity outlives its tombstone in the state (it was there: %v)", met)
		}, func(o *batch.Options) { o.TombstoneTTL = tombstone })
	})
}

// The same log leaves the same bytes each time, whatever order maps and goroutines take: also of sums that depend on theirs.
func TestTask_LeavesTheSameBytesEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []batch.Record
		for i := range 200 {
			ts := 1_700_000_000_000 + int64(i)*300
			value, _ := json.Marshal(event{User: fmt.Sprintf("u%d", i%3), Kind: "click", Price: 1 / float64(3+i), TS: ts})
			log = append(log, batch.Record{Offset: int64(i), Time: ts * 1000, Value: value})
		}
		var first map[string]string
		for range 5 {
			w := newWorld(project(t), [][]batch.Record{log})
			if err := w.run(t); err != nil {
				t.Fatal(err)
			}
			bytes := bytesOf(w)
			delete(bytes, "position") // its clock reading is the run's
			if first == nil {
				first = bytes
			}
			if !maps.Equal(bytes, first) {
				t.Fatal("two runs over one log differ")
			}
		}
	})
}
