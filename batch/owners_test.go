package batch_test

// Two owners of one task that share its plan log, as two workers will through a plan topic: each has a directory of its own, and whose plan is the first for a sequence is the one that both execute. Whatever one of them sleeps through,
// the store ends as if there had been one.

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"highwater/batch"
	"highwater/features"
)

// owners are two worlds that share a log, a plan log and a store.
type owners struct{ first, second *world }

// couples are what the two owners' directories hold when they begin.
var couples = map[string]func(t *testing.T, c crashes) owners{
	"two empty directories": func(t *testing.T, c crashes) owners {
		w := c.world(0)
		w.share(&topic{})
		return owners{w, c.coOwner(t, w)}
	},
	"a directory that has been at it, and an empty one": func(t *testing.T, c crashes) owners {
		w := c.halfShared(t)
		return owners{w, c.coOwner(t, w)}
	},
	"an empty directory, and one that has been at it": func(t *testing.T, c crashes) owners {
		w := c.halfShared(t)
		return owners{c.coOwner(t, w), w}
	},
	"a directory that has been at it, and a copy of it": func(t *testing.T, c crashes) owners {
		w := c.halfShared(t)
		second := c.coOwner(t, w)
		second.setDirectory(w.copyDirectory())
		return owners{w, second}
	},
}

// halfShared is half, under a plan log that can be shared.
func (c crashes) halfShared(t *testing.T) *world {
	w := c.world(50)
	w.share(&topic{})
	mustRun(t, w, sharing)
	c.rest(w)
	return w
}

// sharing is how an owner is started that shares its plan log.
func sharing(o *batch.Options) { o.Owner = "" }

// coOwner returns an owner with an empty directory beside w, which would cut its batches elsewhere.
func (c crashes) coOwner(t *testing.T, w *world) *world {
	second := newWorld(project(t, func(p *features.Project) { p.Clock, p.Batch.MaxRecords = c.project.Clock, 3 }), c.log)
	second.share(w.topic)
	second.server = w.server
	return second
}

// sleeper is an owner that runs, and may have fallen asleep.
type sleeper struct {
	*world
	asleep bool
	ended  chan error
}

// begin runs an owner until it has come to its end, or to its nth call, at which it falls asleep; 0 for none.
func begin(w *world, n int, configure ...func(*batch.Options)) *sleeper {
	w.calls, w.pauseAt, w.paused = 0, n, make(chan struct{})
	s := &sleeper{world: w, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		s.ended <- w.runUntil(ctx, append(configure, sharing, func(o *batch.Options) { o.OnDrained = cancel })...)
	}()
	select {
	case err := <-s.ended:
		s.ended <- err
	case <-w.paused:
		s.asleep = true
	}
	return s
}

// end wakes an owner that sleeps, and waits for its end.
func (s *sleeper) end(t *testing.T) {
	t.Helper()
	if s.asleep {
		s.wake()
	}
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
	s.pauseAt = 0
}

// night is what the two owners sleep through.
type night struct {
	first, second int  // the calls at which they fall asleep, the second once the first sleeps; 0 for not at all
	secondWakes   bool // first
}

// spend plays a night. It tells who slept.
func (n night) spend(t *testing.T, o owners) (first, second bool) {
	synctest.Test(t, func(t *testing.T) {
		a := begin(o.first, n.first)
		b := begin(o.second, n.second)
		first, second = a.asleep, b.asleep
		if n.secondWakes {
			a, b = b, a
		}
		a.end(t)
		b.end(t)
	})
	return first, second
}

func TestOwners_OneSleepsThroughTheOthersWork(t *testing.T) {
	for _, clock := range []features.Clock{features.EventClock, features.WallClock} {
		for name, couple := range couples {
			t.Run(fmt.Sprintf("%s, clock %s", name, clock), func(t *testing.T) {
				t.Parallel()
				e := newExplorer(t, clock, 8, scenario{})
				play := func(n night) (first, second bool) {
					var o owners
					synctest.Test(t, func(t *testing.T) { o = couple(t, e.crashes) })
					first, second = n.spend(t, o)
					e.checkOwners(t, o)
					if t.Failed() {
						t.Fatalf("the night: %+v", n)
					}
					return first, second
				}
				step, nights := 7, 0 // of nights in which both sleep
				if os.Getenv("HIGHWATER_CRASHES") == "all" {
					step = 1
				}
				eachCall(t, 12, func(i int) bool {
					slept, _ := play(night{first: i})
					for j, both := 1+i%step, slept; both; j += step {
						_, both = play(night{first: i, second: j})
						if both {
							nights++
							play(night{first: i, second: j, secondWakes: true})
						}
					}
					return slept
				})
				if nights < 40 {
					t.Errorf("both slept in only %d nights", nights)
				}
			})
		}
	}
}

// checkOwners wants of two owners' worlds what is wanted of one: the store as a clean execution of the shared plans leaves it, and each directory as one of those that it has executed does.
func (e *explorer) checkOwners(t *testing.T, o owners) {
	t.Helper()
	newest, other := o.first, o.second
	if newest.position.Version.Less(other.position.Version) {
		newest, other = other, newest
	}
	newest.plans = newest.topic.plans
	e.check(t, left{world: newest})
	other.plans = newest.plansBetween(features.Version{}, other.position.Version)
	directory := func(bytes map[string]string) map[string]string {
		bytes = maps.Clone(bytes)
		maps.DeleteFunc(bytes, func(k, _ string) bool { return strings.HasPrefix(k, "stored") })
		return bytes
	}
	if got, want := directory(bytesOf(other)), directory(e.cleanly(t, other)); !maps.Equal(got, want) {
		t.Errorf("the other directory differs from a clean execution of its plans: %s", difference(got, want))
	}
	other.plans, newest.plans = nil, nil
}

// The store loses vectors that one owner has published while the other, asleep, is far behind: the task key, which stands where the first was, is not held to be good again before the other has come as far.
func TestOwners_ALossWhileOneIsBehind(t *testing.T) {
	e := newExplorer(t, features.EventClock, 40, scenario{})
	eachCall(t, 45, func(at int) bool {
		var o owners
		var slept bool
		synctest.Test(t, func(t *testing.T) {
			o = couples["a directory that has been at it, and an empty one"](t, e.crashes)
			first := begin(o.first, at)
			slept = first.asleep
			begin(o.second, 0).end(t)
			o.first.failOver(func(key string) bool { return int(key[len(key)-1])%2 == 0 }, false)
			o.first.setFail(func(call string) error {
				if call == "after restore" {
					(&store{world: o.second}).lookAhead(*o.first.key)
				}
				return nil
			})
			first.end(t)
			mustRun(t, o.first, sharing) // it may have been about to end
		})
		e.checkOwners(t, o)
		if t.Failed() {
			t.Fatalf("it slept at call %d", at)
		}
		return slept
	})
}

// A plan that another owner has made under other definitions is executed under those, however far this owner had come.
func TestOwners_APlanIsExecutedUnderTheDefinitionsThatMadeIt(t *testing.T) {
	c := newCrashes(t, features.EventClock, 2, 8)
	eachCall(t, 20, func(at int) bool {
		var slept bool
		synctest.Test(t, func(t *testing.T) {
			o := couples["two empty directories"](t, c)
			o.second.project.Hash = "those of the other"
			known := map[string]*features.Project{o.first.project.Hash: o.first.project, o.second.project.Hash: o.second.project}
			definitions := func(opts *batch.Options) {
				opts.Definitions = func(hash string) (*features.Project, error) { return known[hash], nil }
			}
			var bound, want []string
			first := begin(o.first, at, definitions, func(opts *batch.Options) {
				opts.Rebind = func(p *features.Project) error {
					bound = append(bound, p.Hash)
					return nil
				}
			})
			slept = first.asleep
			begin(o.second, 0, definitions).end(t)
			first.end(t)
			for _, p := range o.first.topic.plans {
				if !o.first.position.Version.Less(p.Version) {
					want = append(want, p.Definitions)
				}
			}
			if !slices.Equal(bound, want) {
				t.Fatalf("it slept at call %d: the plans were made under %q, and executed under %q", at, want, bound)
			}
		})
		return slept
	})
}
