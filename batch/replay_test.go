package batch_test

import (
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/features"
)

// recorded hands plans to a replay.
func recorded(plans []*batch.Plan) iter.Seq2[*batch.Plan, error] {
	return func(yield func(*batch.Plan, error) bool) {
		for _, p := range plans {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// replayOn executes plans on a world, as `highwater replay` does.
func replayOn(t *testing.T, w *world, plans []*batch.Plan, opening batch.Opening) error {
	t.Helper()
	return batch.Replay(t.Context(), batch.ReplayOptions{
		Plans: recorded(plans), Opening: opening,
		Definitions: func(string) (*features.Project, error) { return w.project, nil }, Rebind: func(*features.Project) error { return nil },
		Decoder: decode.New, Source: &source{world: w}, State: &memory{world: w}, Sinks: []batch.Sink{&store{world: w}},
		TombstoneTTL: w.ttl, Log: slog.New(slog.DiscardHandler),
	})
}

func sameWorld(t *testing.T, got, want *world) {
	t.Helper()
	if fmt.Sprint(*got.position) != fmt.Sprint(*want.position) {
		t.Errorf("the position is\n%+v\nwant\n%+v", *got.position, *want.position)
	}
	if !maps.EqualFunc(got.state, want.state, slices.Equal) || !maps.Equal(got.timers, want.timers) {
		t.Error("the states' bytes differ")
	}
	bytes := func(w *world) map[string]string {
		all := map[string]string{}
		for k, s := range w.stored {
			all[k] = s.bytes
		}
		return all
	}
	if a, b := bytes(got), bytes(want); len(b) == 0 || !maps.Equal(a, b) {
		t.Errorf("the vectors differ: %v\nwant %v", a, b)
	}
}

// A replay from nothing, or from any state on the way, leaves the bytes that the task has left, and touches neither the task key nor the heartbeat (I2, I4, I6).
func TestReplay_EndsAsTheTaskDid(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			log, _ := randomLog(rand.New(rand.NewPCG(seed, 7)), 2, 60)
			w := newWorld(project(t), log)
			mustRun(t, w, func(o *batch.Options) { o.Project.Batch.MaxRecords = 7 })
			for from := range len(w.plans) {
				clean := newWorld(w.project, log)
				if err := replayOn(t, clean, w.plans[:from], batch.Opening{}); err != nil {
					t.Fatal(err)
				}
				if err := replayOn(t, clean, w.plans[from:], batch.Opening{}); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				sameWorld(t, clean, w)
				if clean.key != nil || clean.beat != nil || clean.claims > 0 || clean.announced > 0 || len(clean.plans) > 0 {
					t.Errorf("the replay did more than execute plans: %+v", clean.server)
				}
			}
		})
	}
}

// Where a generation went on from the state of the one before it, a replay goes through its opening.
func TestReplay_AcrossAnOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, _ := halves(t, 5)
		small := func(o *batch.Options) { o.Project.Batch.MaxRecords = 5 }
		mustRun(t, w, small)
		yesterday := w.copyDirectory()
		rest()
		mustRun(t, w, small)
		void := w.plans[len(yesterday.plans):]
		w.setDirectory(yesterday)
		mustRun(t, w, small)
		if w.position.Version.Generation != 2 || len(void) == 0 {
			t.Fatalf("no generation began: %+v", w.position)
		}
		clean := newWorld(w.project, w.log)
		if err := replayOn(t, clean, w.plans, w.position.Opening); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(*clean.position) != fmt.Sprint(*w.position) {
			t.Errorf("the position is\n%+v\nwant\n%+v", *clean.position, *w.position)
		}
		for k, s := range clean.stored {
			if s.version.Generation == 2 && s.bytes != w.stored[k].bytes {
				t.Errorf("%q is %s, want %s", k, s.bytes, w.stored[k].bytes)
			}
		}
		mixed := append(slices.Clone(yesterday.plans), void...)
		mixed = append(mixed, w.plans[len(yesterday.plans):]...)
		if err := replayOn(t, newWorld(w.project, w.log), mixed, w.position.Opening); err == nil || !strings.Contains(err.Error(), "does not follow on") {
			t.Errorf("void plans were taken: %v", err)
		}
	})
}

// What cannot be the same log, or not all of it, is refused before anything is read.
func TestReplay_Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := randomLog(rand.New(rand.NewPCG(1, 7)), 2, 60)
		w := newWorld(project(t), log)
		mustRun(t, w, func(o *batch.Options) { o.Project.Batch.MaxRecords = 7 })
		half := newWorld(w.project, log)
		if err := replayOn(t, half, w.plans[:3], batch.Opening{}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what, want string
			world      func(w *world)
			plans      []*batch.Plan
		}{
			{"a gap", "does not follow on from", func(*world) {}, append(slices.Clone(w.plans[:2]), w.plans[3:]...)},
			{"no beginning", "does not follow on from", func(*world) {}, w.plans[1:]},
			{"another topic", "deleted and made again", func(w *world) {
				p := *half.position
				p.Partitions = slices.Clone(p.Partitions)
				for i := range p.Partitions {
					p.Partitions[i].TopicID = "another"
				}
				w.position, w.state, w.timers = &p, maps.Clone(half.state), maps.Clone(half.timers)
			}, w.plans[3:]},
			{"a state that stands elsewhere", "the state stands at", func(w *world) {
				p := *half.position
				p.Partitions = slices.Clone(p.Partitions)
				p.Partitions[0].Next++
				w.position = &p
			}, w.plans[3:]},
			{"a shorter log", "this is not the log", func(w *world) { w.avail[1] = 3 }, w.plans},
		} {
			other := newWorld(w.project, log)
			c.world(other)
			if err := replayOn(t, other, c.plans, batch.Opening{}); err == nil || !strings.Contains(err.Error(), c.want) || len(other.stored) > 0 {
				t.Errorf("%s: %v, and %d vectors written; want an error that says %q", c.what, err, len(other.stored), c.want)
			}
		}
	})
}

// By the wall clock too: what a plan takes from the clock is in the plan, whenever it is run again, and what it takes from the plans before it is in the state.
func TestReplay_ByTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := runClockDay(t, func(_ *clockDay, come func(seconds int)) {
			come(20)
			time.Sleep(90 * time.Second) // idle: the clock alone moves frontier and watermark
			come(20)
		})
		if len(d.plans) < 10 {
			t.Fatalf("%d plans", len(d.plans))
		}
		time.Sleep(time.Hour)
		for from := range len(d.plans) {
			clean := newWorld(d.project, d.log)
			clean.avail = slices.Clone(d.avail)
			for _, part := range [][]*batch.Plan{d.plans[:from], d.plans[from:]} {
				if err := replayOn(t, clean, part, batch.Opening{}); err != nil {
					t.Fatal(err)
				}
			}
			sameWorld(t, clean, d.world)
		}
	})
}
