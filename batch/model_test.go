package batch_test

// Each test here is a trace that a search over all interleavings of a small model of the protocol found, with one rule of it left out: the rule is named where the trace begins, and the test fails without it.

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"highwater/batch"
	"highwater/batch/faults"
	"highwater/features"
	"highwater/windows"
)

// nothing is an empty data directory.
func nothing() directory {
	return directory{state: map[string][]byte{}, timers: map[timerKey]bool{}, logID: "another log"}
}

// cutAt makes a world's project cut its batches at so many records: another history of the same log.
func cutAt(records int64) func(*features.Project) {
	return func(p *features.Project) { p.Batch.MaxRecords = records }
}

// beside returns a world of the same log and the same store, with a directory of its own, whose batches are cut elsewhere.
func beside(t *testing.T, w *world, d directory) *world {
	t.Helper()
	other := newWorld(project(t, cutAt(5)), w.log)
	copy(other.avail, w.avail)
	other.setDirectory(d)
	other.server = w.server
	return other
}

// checkForward wants no stored version ever to have gone back, and the task key never to have gone ahead of one.
func checkForward(t *testing.T, w *world) {
	t.Helper()
	if len(w.ahead) > 0 {
		t.Errorf("as_of said too much: %v", w.ahead[:min(3, len(w.ahead))])
	}
	if len(w.backward) > 0 {
		t.Errorf("stored versions went back: %v", w.backward)
	}
}

func takingOver(o *batch.Options) { o.TakeOver = true }

// isSuperseded reports whether a process ended because another owns its task.
func isSuperseded(err error) bool {
	_, ok := errors.AsType[*batch.SupersededError](err)
	return ok
}

// eachCall plays a trace with something that strikes at its first call, at its second, and so on, until it no longer does, for there is no such call; and wants it to have struck at least so often: else the test has shown nothing.
func eachCall(t *testing.T, least int, play func(at int) (struck bool)) {
	t.Helper()
	at := 1
	for play(at) {
		at++
	}
	if at <= least {
		t.Errorf("it struck at %d calls, want at least %d", at-1, least)
	}
}

// Rule: a republish starts from a state as new as anything published, runs between batches, and begins again where more was lost. At every call a primary fails over that holds one half of the vectors, the other half with the task key, or everything.
func TestModel_AFailoverAtEveryCall(t *testing.T) {
	half := func(n int) func(string) bool { return func(key string) bool { return int(key[len(key)-1])%2 == n } }
	losses := map[string]func(*server){
		"half of the vectors":                    func(s *server) { s.failOver(half(0), false) },
		"the other half and the task key":        func(s *server) { s.failOver(half(1), true) },
		"everything":                             func(s *server) { s.failOver(func(string) bool { return true }, true) },
		"half of the vectors, and then all else": func(s *server) { s.failOver(half(0), false) },
	}
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				eachCall(t, 60, func(at int) bool {
					w, rest, want := halves(t, 12)
					rest()
					again := 0
					w.fail = func(string) error {
						if w.calls == at || name == "half of the vectors, and then all else" && w.calls == at+5 {
							lose(w.server)
							again++
						}
						return nil
					}
					mustRun(t, w)
					done := w.calls < at
					settle(t, w)
					want(w)
					checkGeneration(t, w, 1)
					checkForward(t, w)
					if w.stale > 0 {
						t.Errorf("%d upserts of the only owner were stale", w.stale)
					}
					if t.Failed() {
						t.Fatalf("it failed over at call %d", at)
					}
					return !done
				})
			})
		})
	}
}

// Rule notices-failover: an owner to which nothing comes sees by its heartbeat that a primary is another one, and republishes.
func TestModel_AnIdleOwnerSeesAFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, want := halves(t, 25)
		rest()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.runUntil(ctx) }()
		time.Sleep(time.Minute)
		w.failOver(func(key string) bool { return int(key[len(key)-1])%2 == 0 }, false)
		time.Sleep(10 * time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		want(w)
		checkForward(t, w)
		checkGeneration(t, w, 1)
	})
}

// Rule: what is found planned runs before a republish does. The process dies with a batch half published, and a primary fails over before the next start.
func TestModel_AFailoverWhileTheOwnerIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eachCall(t, 60, func(at int) bool {
			w, rest, want := halves(t, 13)
			rest()
			w.crashAt = at
			done := w.run(t) == nil
			w.crashAt = 0
			w.failOver(func(key string) bool { return int(key[len(key)-1])%2 == 0 }, at%2 == 0)
			mustRun(t, w)
			settle(t, w)
			want(w)
			checkGeneration(t, w, w.position.Version.Generation) // 2 where not even the directory knew whose the first was
			if w.stale > 0 {
				t.Errorf("%d upserts of the only owner were stale: older vectors were republished over newer ones", w.stale)
			}
			if t.Failed() {
				t.Fatalf("%v", w.trace)
			}
			return !done
		})
	})
}

// Rule: a generation is one more than the greatest ever claimed, and it is claimed before its first vector. A restored directory dies at every call; then the same copy is restored again, and its batches are cut elsewhere.
func TestModel_RestoredTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eachCall(t, 40, func(at int) bool {
			w, rest, want := halves(t, 14)
			mustRun(t, w)
			yesterday := w.copyDirectory()
			rest()
			mustRun(t, w)
			w.setDirectory(yesterday)
			w.project, w.calls, w.crashAt = project(t, cutAt(5)), 0, at
			done := w.run(t) == nil
			w.crashAt = 0
			w.setDirectory(yesterday)
			w.project = project(t, cutAt(3))
			mustRun(t, w, takingOver)
			settle(t, w)
			want(w)
			checkForward(t, w)
			checkGeneration(t, w, w.position.Version.Generation)
			if w.position.Version.Generation < 2 {
				t.Error("no generation began")
			}
			if t.Failed() {
				t.Fatalf("%v", w.trace)
			}
			return !done
		})
	})
}

// Rule: what is claimed is remembered beside the task key too. The task key is lost after a restore was claimed, and the same copy is restored again.
func TestModel_RestoredTwiceAndTheTaskKeyLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, want := halves(t, 15)
		mustRun(t, w)
		yesterday := w.copyDirectory()
		rest()
		mustRun(t, w)
		w.setDirectory(yesterday)
		mustRun(t, w)
		checkGeneration(t, w, 2)
		w.failOver(func(string) bool { return false }, true)
		w.setDirectory(yesterday)
		w.project = project(t, cutAt(3))
		mustRun(t, w)
		settle(t, w)
		want(w)
		checkForward(t, w)
		checkGeneration(t, w, 3)
	})
}

// Rule: an upsert writes over older versions alone, so that calls of a dead process which are applied late change nothing: neither within a generation, nor across the beginning of one.
func TestModel_StrayCallsAreAppliedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, want := halves(t, 16)
		mustRun(t, w)
		yesterday := w.copyDirectory()
		rest()
		mustRun(t, w)
		w.setDirectory(yesterday)
		w.project = project(t, cutAt(5))
		straying := rand.New(rand.NewPCG(16, 16))
		w.fail = func(call string) error {
			if call == "after publish" || call == "after raise" || call == "after claim" || call == "after restore" || call == "after sweep" {
				w.storeMu.Lock()
				defer w.storeMu.Unlock()
				var o batch.Outcome
				late := w.applied[straying.IntN(len(w.applied))]
				w.server.apply(&late, &o)
				if len(o.Divergent) > 0 {
					t.Errorf("%s: a stray call found other bytes under its versions: %v", call, o.Divergent)
				}
			}
			return nil
		}
		mustRun(t, w)
		settle(t, w)
		for _, late := range slices.Clone(w.applied) {
			w.server.apply(&late, new(batch.Outcome))
		}
		want(w)
		checkForward(t, w)
		checkGeneration(t, w, 2)
	})
}

// Rule: tombstones live longer than any call may come late, and an owner whose calls were refused publishes all again. It sleeps at every call, for longer than tombstones live, and goes on.
func TestModel_AnOwnerSleepsForLongerThanTombstonesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		risen := 0
		eachCall(t, 60, func(at int) bool {
			log, events := randomLog(rand.New(rand.NewPCG(17, 17)), 2, 40)
			w := newWorld(project(t), log)
			w.pauseAt, w.paused = at, make(chan struct{})
			ended := make(chan error, 1)
			go func() { ended <- w.runRaised(t) }()
			select {
			case err := <-ended:
				if err != nil {
					t.Fatal(err)
				}
				return false
			case <-w.paused:
			}
			time.Sleep(w.ttl + time.Hour)
			w.wake()
			if err := <-ended; err != nil {
				t.Fatalf("it slept at call %d: %v", at, err)
			}
			settle(t, w)
			risen += len(w.raised)
			want := expectLater(w, events)
			checkStore(t, w, want)
			checkForward(t, w)
			checkGeneration(t, w, uint32(1+len(w.raised)))
			if t.Failed() {
				t.Fatalf("it slept at call %d", at)
			}
			return true
		})
		if risen == 0 {
			t.Error("no tombstone was ever refused")
		}
	})
}

// runRaised is run, and begins a new generation where the task asks for one.
func (w *world) runRaised(t *testing.T) error {
	err := w.run(t)
	if changed, ok := errors.AsType[*batch.ChangedError](err); ok && changed.Raise {
		return w.run(t, func(o *batch.Options) { o.Reset = &batch.Reset{From: batch.FromHere} })
	}
	return err
}

// expectLater is what a store must hold after tombstones have expired: one that has, says as much as none does.
func expectLater(w *world, events [][]event) map[string][]windows.Value {
	frontier, watermark := marksOf(events)
	want := expect(w.project, events, frontier, watermark)
	for key, values := range want {
		if v, held := w.stored[key]; values == nil && (!held || v.tombstone) {
			delete(want, key)
			delete(w.stored, key)
		}
	}
	return want
}

// Rule: a republish whose upserts were refused begins again, under a newer reading. The store has lost everything; its owner sleeps at every call of the republish, for longer than tombstones live, and goes on.
func TestModel_AnOwnerSleepsDuringARepublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, events := randomLog(rand.New(rand.NewPCG(17, 17)), 2, 40)
		eachCall(t, 10, func(at int) bool {
			w := newWorld(project(t), log)
			mustRun(t, w)
			w.failOver(func(string) bool { return true }, true)
			w.calls, w.pauseAt, w.paused = 0, at, make(chan struct{})
			ended := make(chan error, 1)
			go func() { ended <- w.runRaised(t) }()
			var err error
			asleep := false
			select {
			case err = <-ended:
			case <-w.paused:
				asleep = true
				time.Sleep(w.ttl + time.Hour)
				w.wake()
				err = <-ended
			}
			if err != nil {
				t.Fatalf("it slept at call %d: %v", at, err)
			}
			checkForward(t, w)
			checkStore(t, w, expectLater(w, events))
			if t.Failed() {
				t.Fatalf("it slept at call %d", at)
			}
			return asleep
		})
	})
}

// Rule: what may have been lost is republished whatever the start finds, and before anything else is noticed: here the heartbeats see nothing, and nothing new comes.
func TestModel_AStartFindsOutWhatWasLost(t *testing.T) {
	losses := []struct {
		why   string
		lose  func(w, before *world)
		reset *batch.Reset
	}{
		{"the task key is missing", func(w, _ *world) { w.failOver(func(string) bool { return true }, true) }, nil},
		{"a primary has failed over", func(w, _ *world) {
			w.failOver(func(key string) bool { return int(key[len(key)-1])%2 == 0 }, false)
		}, nil},
		{"generation 2 begins", func(*world, *world) {}, &batch.Reset{From: batch.FromHere}},
		{"the task key stands at", func(w, before *world) { w.server = before.server }, nil},
	}
	for _, l := range losses {
		t.Run(l.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, rest, want := halves(t, 21)
				mustRun(t, w)
				before := w.copyWorld()
				rest()
				mustRun(t, w)
				l.lose(w, before)
				var said strings.Builder
				blind := faults.New([]faults.Fault{{At: "key_read.before", Nth: 3, Act: faults.Fail, For: time.Hour}}, nil) // the start has read it twice
				mustRun(t, w, injected(blind), func(o *batch.Options) { o.Reset, o.Log = l.reset, slog.New(slog.NewTextHandler(&said, nil)) })
				want(w)
				checkForward(t, w)
				if w.key == nil || w.key.Version != w.position.Version {
					t.Errorf("the task key is %+v, the directory at %s", w.key, w.position.Version)
				}
				if !strings.Contains(said.String(), l.why) || strings.Count(said.String(), "vectors may be missing") != 1 {
					t.Errorf("it said\n%s", &said)
				}
			})
		})
	}
}

// Rule: a batch that is confirmed, and a republish that ends, look for a loss themselves. The store fails over under a batch, or loses everything between two slices of a republish, and the heartbeats see nothing.
func TestModel_ALossIsSeenWithoutTheHeartbeat(t *testing.T) {
	all := func(string) bool { return true }
	half := func(key string) bool { return int(key[len(key)-1])%2 == 0 }
	cases := map[string]struct {
		before func(w *world)
		at     string // the call after which it is lost, the first time that it comes
		lose   func(w *world)
	}{
		"under a batch":      {func(*world) {}, "after planned", func(w *world) { w.failOver(half, false) }},
		"under a republish":  {func(w *world) { w.failOver(all, true) }, "after publish", func(w *world) { w.failOver(all, true) }},
		"while it is marked": {func(w *world) { w.failOver(half, false) }, "after publish", func(w *world) { w.failOver(all, false) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, rest, want := halves(t, 22)
				if name == "under a batch" {
					mustRun(t, w)
				}
				rest()
				if name != "under a batch" {
					mustRun(t, w)
				}
				c.before(w)
				lost := false
				w.fail = func(call string) error {
					if call == c.at && (!lost || name == "under a batch") { // of every batch: later ones write again what is lost under the first
						lost = true
						c.lose(w)
					}
					return nil
				}
				blind := faults.New([]faults.Fault{{At: "key_read.before", Nth: 3, Act: faults.Fail, For: time.Hour}}, nil) // the start has read it twice
				mustRun(t, w, injected(blind))
				want(w)
				checkForward(t, w)
				if !lost {
					t.Errorf("nothing was lost: %s never came", c.at)
				}
			})
		})
	}
}

// Rule: whose claim is the latest owns the task; the other stops. One owner sleeps at every call; another starts meanwhile on a copy of its directory as it was, as it is, or on an empty one, and gets to the end; then the first wakes.
func TestModel_AnOwnerWakesBesideAnother(t *testing.T) {
	directories := map[string]func(w *world, before directory) directory{
		"a copy from before": func(_ *world, before directory) directory { return before },
		"a copy of now":      func(w *world, _ directory) directory { return w.copyDirectory() },
		"an empty directory": func(*world, directory) directory { return nothing() },
	}
	for name, of := range directories {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				eachCall(t, 30, func(at int) bool {
					w, rest, want := halves(t, 18)
					mustRun(t, w)
					before := w.copyDirectory()
					rest()
					w.calls, w.pauseAt, w.paused = 0, at, make(chan struct{})
					ended := make(chan error, 1)
					go func() { ended <- w.run(t) }()
					select {
					case err := <-ended:
						if err != nil {
							t.Fatal(err)
						}
						return false
					case <-w.paused:
					}
					other := beside(t, w, of(w, before))
					mustRun(t, other, takingOver)
					w.wake()
					if err := <-ended; err != nil && !isSuperseded(err) {
						t.Fatalf("it slept at call %d: the first owner ended with %v", at, err)
					}
					settleOwner(t, other, w)
					want(other)
					checkForward(t, other)
					if t.Failed() {
						t.Fatalf("it slept at call %d, beside %s", at, name)
					}
					return true
				})
			})
		})
	}
}

// Rule: what a directory finds planned is asked again once the task is claimed. A second owner, on a copy of the first's directory, sleeps at every call of its start and its run, while the first goes on to the end; then the second wakes.
func TestModel_ACopySleepsWhileTheFirstGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eachCall(t, 40, func(at int) bool {
			w, rest, want := halves(t, 19)
			mustRun(t, w)
			other := beside(t, w, w.copyDirectory())
			rest()
			copy(other.avail, w.avail)

			begin, ended := make(chan struct{}), make(chan error, 1)
			hold := true
			w.fail = func(call string) error {
				if call == "after claim" && hold {
					hold = false
					w.mu.Unlock()
					<-begin
					w.mu.Lock()
				}
				return nil
			}
			go func() { ended <- w.run(t) }()
			synctest.Wait() // the first owns the task, and has not planned yet
			other.pauseAt, other.paused = at, make(chan struct{})
			second := make(chan error, 1)
			go func() { second <- other.run(t) }()
			var err error
			asleep := false
			select {
			case err = <-second:
			case <-other.paused:
				asleep = true
			}
			close(begin)
			if err := <-ended; err != nil && !isSuperseded(err) {
				t.Fatalf("it slept at call %d: the first owner ended with %v", at, err)
			}
			if !asleep {
				if err != nil {
					t.Fatal(err)
				}
				return false
			}
			other.wake()
			if err := <-second; err != nil && !isSuperseded(err) {
				t.Fatalf("it slept at call %d: the second owner ended with %v", at, err)
			}
			settleOwner(t, other, w)
			want(other)
			checkForward(t, other)
			if t.Failed() {
				t.Fatalf("it slept at call %d", at)
			}
			return true
		})
	})
}

// settleOwner runs, once more, the one of two directories that owns the task, until it is wholly published.
func settleOwner(t *testing.T, worlds ...*world) {
	t.Helper()
	for _, w := range worlds {
		if w.key.Log == w.logID && w.key.Planned.Generation == w.position.Version.Generation && !w.position.Version.Less(w.key.Planned) {
			settle(t, w)
			checkGeneration(t, w, w.position.Version.Generation)
			return
		}
	}
	t.Errorf("no directory stands where the task key does: %+v", *worlds[0].key)
}

// Rule: a republish ends only where nothing was lost since it began. The store loses everything between two slices of it.
func TestModel_LostAgainDuringARepublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rest, want := halves(t, 20)
		rest()
		mustRun(t, w)
		all := func(string) bool { return true }
		w.failOver(all, true)
		republished := 0
		w.fail = func(call string) error {
			if call == "after publish" {
				if republished++; republished == 1 {
					w.failOver(all, true)
				}
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.runUntil(ctx) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		want(w)
		checkGeneration(t, w, 1)
		if got, want := bytesOf(w), bytesOf(cleanly(t, w)); !maps.Equal(got, want) {
			t.Error("the republished bytes differ from a clean execution of the recorded plans")
		}
	})
}

// Rules plan-first and first-plan-wins: a plan is durable before anything leaves its batch, and is executed as it is by whoever comes next. The process dies at every call; the next one would cut the log elsewhere, and more has come.
func TestModel_APlanIsNeverMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eachCall(t, 30, func(at int) bool {
			w, rest, want := halves(t, 21)
			w.crashAt = at
			done := w.run(t) == nil
			planned := slices.Clone(w.plans)
			w.crashAt, w.project = 0, project(t, cutAt(3))
			rest()
			mustRun(t, w)
			want(w)
			checkForward(t, w)
			checkGeneration(t, w, 1)
			if len(w.plans) < len(planned) || !slices.Equal(planned, w.plans[:len(planned)]) {
				t.Error("plans were made anew")
			}
			if !maps.Equal(bytesOf(w), bytesOf(cleanly(t, w))) {
				t.Error("the bytes differ from a clean execution of the recorded plans")
			}
			if t.Failed() {
				t.Fatalf("%v", w.trace)
			}
			return !done
		})
	})
}

// Rules reading-in-plan and caught-up-in-plan: under the wall clock a batch takes the time, and whether it has caught up, from its plan. The process dies at every call, and before the next start time goes by and records come.
func TestModel_TheWorldGoesOnWhileTheOwnerIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := func(p *features.Project) { p.Clock = features.WallClock }
		eachCall(t, 12, func(at int) bool {
			w := newWorld(project(t, wall), [][]batch.Record{steadyLog(30, time.Now())})
			w.avail[0] = 4
			time.Sleep(4 * time.Second)
			w.crashAt = at
			done := w.run(t) == nil
			w.crashAt = 0
			time.Sleep(7 * time.Second)
			w.avail[0] = 9
			mustRun(t, w) // an equal version with other bytes would stop it
			checkForward(t, w)
			clean := newWorld(w.project, w.log)
			clean.plans, clean.avail[0] = w.plans, w.avail[0]
			mustRun(t, clean)
			if !maps.Equal(bytesOf(w), bytesOf(clean)) {
				t.Error("the bytes differ from a clean execution of the recorded plans")
			}
			if t.Failed() {
				t.Fatalf("%v", w.trace)
			}
			return !done
		})
	})
}

// Rule commit-after-sinks: nothing is committed that the store has not confirmed. The nth upsert fails for a while; whenever something is committed, the store holds all that was planned up to there.
func TestModel_CommitsNothingThatIsNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eachCall(t, 8, func(nth int) bool {
			w, rest, want := halves(t, 22)
			rest()
			clean := cleanly(t, w) // the same log, cut alike
			upserts, failed := 0, 0
			w.fail = func(call string) error {
				switch call {
				case "before publish":
					if upserts++; upserts >= nth && failed < 5 {
						failed++
						return errors.New("connection refused")
					}
				case "before commit":
					if w.key.Version != w.key.Planned {
						t.Errorf("a commit, while %s is planned and only %s is confirmed", w.key.Planned, w.key.Version)
					}
					if failed > 0 && failed < 5 {
						t.Error("a commit, while upserts fail")
					}
				}
				return nil
			}
			mustRun(t, w)
			want(w)
			if got, want := len(w.plans), len(clean.plans); got != want {
				t.Errorf("%d plans, %d without a fault", got, want)
			}
			if t.Failed() {
				t.Fatalf("upsert %d failed", nth)
			}
			if failed == 0 {
				return false
			}
			return true
		})
	})
}

// Rule withhold: the task key promises nothing that is missing. A primary fails over at every call, with half of the vectors; at every call from then on, what the task key is past the loss for is there.
func TestModel_TheTaskKeyPromisesNothingThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eachCall(t, 60, func(at int) bool {
			w, rest, want := halves(t, 23)
			rest()
			var before features.Version
			w.fail = func(call string) error {
				w.storeMu.Lock()
				key := w.key
				w.storeMu.Unlock()
				if w.calls == at && key != nil {
					before = key.Version
					w.failOver(func(key string) bool { return int(key[len(key)-1])%2 == 0 }, false)
				}
				if key != nil && before.Less(key.Version) && w.calls > at && call != "after commit" { // within a commit the state is one ahead of what it was published from
					promised(t, w, key.Version)
				}
				return nil
			}
			mustRun(t, w)
			done := w.calls < at
			settle(t, w)
			want(w)
			if t.Failed() {
				t.Fatalf("it failed over at call %d", at)
			}
			return !done
		})
	})
}

// promised wants every vector that the committed state has published up to a version to be in the store, as it was published or newer.
func promised(t *testing.T, w *world, upTo features.Version) {
	t.Helper()
	m := &memory{world: w}
	for view := range w.project.Views {
		err := m.Scan(t.Context(), view, "", func(e *batch.Entity) error {
			key := w.project.Views[view].Name + "\x00" + e.Text
			if p := e.Published.Version; p != (features.Version{}) && !upTo.Less(p) && w.stored[key].version.Less(p) {
				t.Errorf("the task key is at %s; %q was published at %s, and is stored at %s", upTo, key, p, w.stored[key].version)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// Rule planned-first: the task key knows what is planned before any of it is published. A process dies at every call; then its directory is put back from before, and the same sequence would be cut elsewhere.
func TestModel_RestoredBeforeAnythingWasConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eachCall(t, 30, func(at int) bool {
			w, rest, want := halves(t, 24)
			mustRun(t, w)
			yesterday := w.copyDirectory()
			rest()
			w.calls, w.crashAt = 0, at
			done := w.run(t) == nil
			w.crashAt = 0
			published := slices.ContainsFunc(w.applied, func(o batch.Output) bool { return yesterday.position.Version.Less(o.Version) })
			w.setDirectory(yesterday)
			w.project = project(t, cutAt(5))
			mustRun(t, w) // an equal version with other bytes would stop it
			settle(t, w)
			want(w)
			checkForward(t, w)
			generation := uint32(1)
			if published {
				generation = 2
			}
			if w.position.Version.Generation < generation {
				t.Errorf("generation %d goes on, although something of a plan that is lost was published", w.position.Version.Generation)
			}
			if t.Failed() {
				t.Fatalf("%v", w.trace)
			}
			return !done
		})
	})
}
