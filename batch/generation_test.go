package batch_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"highwater/batch"
	"highwater/features"
)

// directory is what a task keeps on its disk: it can be copied, lost, and put back.
type directory struct {
	plans    []*batch.Plan
	state    map[string][]byte
	timers   map[timerKey]bool
	position *batch.Position
	logID    string
	raised   []raised
}

func (w *world) copyDirectory() directory {
	return directory{slices.Clone(w.plans), maps.Clone(w.state), maps.Clone(w.timers), w.position, w.logID, w.raised}
}

func (w *world) setDirectory(d directory) {
	w.plans, w.state, w.timers, w.position, w.logID, w.raised = slices.Clone(d.plans), maps.Clone(d.state), maps.Clone(d.timers), d.position, d.logID, d.raised
}

// checkGeneration wants the world to be wholly of one generation: the task key in it, every vector that readers see in it, and nothing of a lower one left but tombstones.
func checkGeneration(t *testing.T, w *world, generation uint32) {
	t.Helper()
	if w.position.Version.Generation != generation || w.key == nil || w.key.Version != w.position.Version || w.key.Log != w.logID {
		t.Fatalf("directory at %s (log %s), task key %+v; want both in generation %d, of one log", w.position.Version, w.logID, w.key, generation)
	}
	for k, v := range w.stored {
		if v.version.Generation < generation && !v.tombstone {
			t.Errorf("%q is left at %s", k, v.version)
		}
	}
}

// halves is a world whose second half of the log has not come yet, and what it must hold in the end.
func halves(t *testing.T, seed uint64) (w *world, rest func(), want func(w *world)) {
	t.Helper()
	log, events := randomLog(rand.New(rand.NewPCG(seed, seed)), 2, 40)
	w = newWorld(project(t), log)
	full := slices.Clone(w.avail)
	for i := range w.avail {
		w.avail[i] /= 2
	}
	rest = func() { copy(w.avail, full) }
	return w, rest, func(w *world) {
		t.Helper()
		frontier, watermark := marksOf(events)
		checkStore(t, w, expect(w.project, events, frontier, watermark))
	}
}

func mustRun(t *testing.T, w *world, configure ...func(*batch.Options)) {
	t.Helper()
	if err := w.run(t, configure...); err != nil {
		t.Fatal(err)
	}
}

// settle runs a process until what goes on in the background is over. Its clock is synctest's.
func settle(t *testing.T, w *world) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.runUntil(ctx) }()
	time.Sleep(time.Minute)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestGeneration_ARestoredDirectoryBeginsANewOneByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(10) {
			w, rest, want := halves(t, seed)
			mustRun(t, w)
			yesterday := w.copyDirectory()
			rest()
			mustRun(t, w)
			w.setDirectory(yesterday)
			mustRun(t, w)
			want(w)
			checkGeneration(t, w, 2)
			if !strings.Contains(w.position.Opening.Why, "restored from an older copy") || w.position.Opening.Parent != yesterday.position.Version {
				t.Errorf("the opening says %+v", w.position.Opening)
			}
		}
	})
}

// A restore whose every call may be its last: whenever it is started again, it ends in one generation that is its own.
func TestGeneration_DyingAtEveryCallOfARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, _ := halves(t, 3)
		mustRun(t, w)
		yesterday := w.copyDirectory()
		rest()
		mustRun(t, w)
		stored, key, claims := maps.Clone(w.stored), *w.key, w.claims
		eachCall(t, 40, func(at int) bool {
			_, _, want := halves(t, 3)
			k := key
			w.setDirectory(yesterday)
			w.stored, w.key, w.claimed, w.claims, w.owner, w.calls, w.crashAt = maps.Clone(stored), &k, 1, claims, "", 0, at
			err := w.run(t)
			if err == nil {
				return false
			}
			if !errors.Is(err, errDead) {
				t.Fatal(err)
			}
			w.crashAt = 0
			mustRun(t, w)
			want(w)
			checkGeneration(t, w, 2)
			return true
		})
	})
}

func TestGeneration_AnEmptyDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, want := halves(t, 5)
		mustRun(t, w)
		rest()
		mustRun(t, w)
		w.beat.Stopped = false // its owner was killed just now, or lives

		w.setDirectory(nothing())
		before := maps.Clone(w.stored)
		err := w.run(t)
		if superseded, ok := errors.AsType[*batch.SupersededError](err); !ok || !strings.Contains(superseded.Ours, "empty data directory") || !strings.Contains(superseded.Theirs, "alive") {
			t.Fatalf("an empty directory beside a live owner: %v", err)
		}
		if len(w.plans) > 0 || !maps.EqualFunc(before, w.stored, func(a, b stored) bool { return a.bytes == b.bytes }) {
			t.Fatal("something was planned or written all the same")
		}

		time.Sleep(2 * time.Minute) // of synctest's clock
		const orphan = "users\x00nobody the state knows"
		w.stored[orphan] = stored{version: features.Version{Generation: 1, Sequence: 1}, bytes: "an orphan"}
		mustRun(t, w)
		settle(t, w)
		if !w.stored[orphan].tombstone || w.key.Swept != 2 {
			t.Errorf("the orphan was not swept: %+v, swept up to generation %d", w.stored[orphan], w.key.Swept)
		}
		delete(w.stored, orphan)
		want(w)
		checkGeneration(t, w, 2)
	})
}

// Whether an owner lives is not for two clocks to say: one that beats is alive, hours ahead or behind, and one that has ended is dead, also where its clock was ahead.
func TestGeneration_AnOwnerByAnotherClock(t *testing.T) {
	for name, skew := range map[string]time.Duration{"hours behind": -3 * time.Hour, "hours ahead": 3 * time.Hour} {
		for _, alive := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, alive: %v", name, alive), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, rest, want := halves(t, 7)
					mustRun(t, w)
					rest()
					w.beat.Stopped, w.beat.Time = false, time.Now().Add(skew).UnixMicro()
					w.setDirectory(nothing())
					owner, die := context.WithCancel(t.Context())
					defer die()
					go func() {
						for alive {
							select {
							case <-owner.Done():
								return
							case <-time.After(2 * time.Second):
							}
							w.storeMu.Lock()
							w.beat.Time = time.Now().Add(skew).UnixMicro()
							w.storeMu.Unlock()
						}
					}()
					err := w.run(t)
					if superseded, ok := errors.AsType[*batch.SupersededError](err); alive && (!ok || !strings.Contains(superseded.Theirs, "alive just now, by a clock that is 3h0m")) {
						t.Fatalf("an empty directory beside a live owner: %v", err)
					}
					if !alive {
						if err != nil {
							t.Fatal(err)
						}
						want(w)
						checkGeneration(t, w, 2)
					}
				})
			})
		}
	}
}

func TestGeneration_TakeOverNeedsNoDeadOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, want := halves(t, 6)
		mustRun(t, w)
		rest()
		w.beat.Stopped = false
		w.setDirectory(nothing())
		mustRun(t, w, func(o *batch.Options) { o.TakeOver = true })
		want(w)
		checkGeneration(t, w, 2)
	})
}

// A directory that another generation has left behind stops, and names both; told to, it goes on in a third.
func TestGeneration_ASupersededDirectoryStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, want := halves(t, 7)
		mustRun(t, w)
		first := w.copyDirectory()
		rest()
		w.setDirectory(nothing())
		mustRun(t, w)
		checkGeneration(t, w, 2)
		for range 2 {
			w.setDirectory(first)
			err := w.run(t)
			if s, ok := errors.AsType[*batch.SupersededError](err); !ok || !strings.Contains(s.Ours, "generation 1") || !strings.Contains(s.Theirs, "generation 2") {
				t.Fatalf("got %v, want an error that names both generations", err)
			}
			time.Sleep(time.Hour)
		}
		mustRun(t, w, func(o *batch.Options) { o.TakeOver = true })
		want(w)
		checkGeneration(t, w, 3)
	})
}

// Two processes on copies of one directory, at the same sequence: the one that started last owns the task; the other stops at its next call, and says who has it.
func TestGeneration_ACopyBesideALiveOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, want := halves(t, 8)
		mustRun(t, w)
		copied := w.copyDirectory()
		other := newWorld(w.project, w.log)
		copy(other.avail, w.avail)
		other.setDirectory(copied)

		ended := make(chan error, 1)
		go func() {
			ended <- w.runUntil(context.Background(), func(o *batch.Options) { o.Owner, o.Complete = "the first", nil })
		}()
		synctest.Wait() // the first has claimed the task, and waits for records
		other.server = w.server
		err := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			err <- other.runUntil(ctx, func(o *batch.Options) { o.Owner, o.OnDrained = "the second", cancel })
		}()
		if got := <-err; got != nil {
			t.Fatal(got)
		}
		s, ok := errors.AsType[*batch.SupersededError](<-ended)
		if !ok || !strings.Contains(s.Ours, "the first") || !strings.Contains(s.Theirs, "the second") {
			t.Fatalf("the first owner ended with %v", s)
		}
		rest()
		copy(other.avail, w.avail)
		mustRun(t, other)
		want(other)
		checkGeneration(t, other, 1)
	})
}

func TestGeneration_ARecreatedTopicIsReadFromItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := randomLog(rand.New(rand.NewPCG(9, 9)), 1, 40)
		w := newWorld(project(t), log)
		mustRun(t, w)
		again := slices.Clone(log[0])
		w.log[0] = again[:len(again)/2]
		w.avail[0] = len(w.log[0])
		w.topicIDs[0] = "another topic of that name"
		mustRun(t, w)
		checkGeneration(t, w, 2)
		if got, want := w.position.Counters.Events, int64(len(again)+len(w.log[0])); got != want {
			t.Errorf("%d events were counted, want the %d of the first topic and the %d of the second", got, len(again), len(w.log[0]))
		}
		if p := w.position.Partitions[0]; p.TopicID != w.topicIDs[0] || p.Next != int64(len(w.log[0])) {
			t.Errorf("the task stands at %+v", p)
		}
	})
}

func TestGeneration_AReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, from := range []batch.ResetFrom{batch.FromHere, batch.FromEarliest, batch.FromLatest} {
			w, rest, want := halves(t, 10)
			mustRun(t, w)
			entities := len(w.state)
			mustRun(t, w, func(o *batch.Options) { o.Reset = &batch.Reset{From: from} })
			settle(t, w)
			checkGeneration(t, w, 2)
			live := 0
			for _, v := range w.stored {
				if v.version.Generation == 2 && !v.tombstone {
					live++
				}
			}
			switch from {
			case batch.FromLatest:
				if len(w.state) != 0 || live != 0 {
					t.Errorf("%d entities and %d vectors are left of an emptied state", len(w.state), live)
				}
			default:
				if len(w.state) != entities || live == 0 {
					t.Errorf("%d entities, %d before; %d vectors under the new generation", len(w.state), entities, live)
				}
				rest()
				mustRun(t, w)
				want(w)
				checkGeneration(t, w, 2)
			}
		}
		w, _, _ := halves(t, 10)
		if err := w.run(t, func(o *batch.Options) { o.Reset = &batch.Reset{From: "nowhere"} }); err == nil || !strings.Contains(err.Error(), "nowhere") {
			t.Errorf("a reset from nowhere: %v", err)
		}
	})
}

// Definitions that mean something else: with a plan pending it is executed as it was made, then the task is to be started again, and the generation rises with every vector under it.
func TestGeneration_DefinitionsThatChangedTheirMeaning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := project(t)
		changed, err := features.Parse("shop.yaml", []byte(strings.Replace(definitions, "where: kind == 'click'", "where: kind == 'view'", 1)))
		if err != nil {
			t.Fatal(err)
		}
		if changed.Hash == old.Hash {
			t.Fatal("the definitions did not change")
		}
		known := map[string]*features.Project{old.Hash: old, changed.Hash: changed}
		both := func(o *batch.Options) {
			o.Definitions = func(hash string) (*features.Project, error) {
				if p := known[hash]; p != nil {
					return p, nil
				}
				return nil, fmt.Errorf("no definitions %q", hash)
			}
		}
		clean := newWorld(old, nil)
		clean.log, _ = randomLog(rand.New(rand.NewPCG(11, 11)), 1, 20)
		for at := 1; at < 60; at++ {
			w := newWorld(old, clean.log)
			w.crashAt = at
			if err := w.run(t, both); err == nil {
				break
			}
			pending := len(w.plans) > 0 && (w.position == nil || w.position.Version.Less(w.plans[len(w.plans)-1].Version))
			committed := w.position != nil
			w.crashAt, w.project = 0, changed
			err := w.run(t, both)
			if again, ok := errors.AsType[*batch.ChangedError](err); ok {
				if !pending {
					t.Fatalf("%s: %v, with nothing pending", w.trace, again)
				}
				committed, err = true, w.run(t, both)
			}
			if err != nil {
				t.Fatalf("%s: %v", w.trace, err)
			}
			generation := uint32(1)
			if committed {
				generation = 2
			}
			checkGeneration(t, w, generation)
		}
	})
}
