package batch_test

// Every crash point. A scenario is run with a death at each call of the driver's, before it and after it; then each directory and store that such a death has left is recovered from, with a death at each call of that; and so on,
// until no crash leaves anything that was not seen before. Whatever was left then goes on to the end: to the oracle's values, and to the bytes of a clean execution of the recorded plans in an empty directory.

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/batch"
	"highwater/batch/faults"
	"highwater/features"
)

// scenario is a task at a moment from which it is to come to its end, whatever happens on the way.
type scenario struct {
	begin     func(t *testing.T, c crashes) *world
	configure func(w *world, o *batch.Options)
	runs      []string // calls that are made in it, and not in all of them: the scenario is worth nothing without
}

// protocol are the calls that every batch makes, whatever the scenario. With the task key withheld it is not confirmed.
var protocol = []string{"plan", "read", "planned", "publish", "commit"}

// effects are the calls that change what a process leaves.
var effects = []string{"plan", "publish", "commit", "raise", "claim", "announce", "planned", "confirmed", "restoring", "restore", "sweep", "beat"}

// crashes is the log and the definitions that scenarios are played on.
type crashes struct {
	project *features.Project
	log     [][]batch.Record
	events  [][]event
}

// epoch is when synctest's bubbles begin, in ms.
const epoch = 946_684_800_000

func newCrashes(t *testing.T, clock features.Clock, seed uint64, n int) crashes {
	c := crashes{project: project(t, func(p *features.Project) { p.Clock, p.Batch.MaxRecords = clock, 5 })}
	c.log, c.events = randomLogFrom(rand.New(rand.NewPCG(seed, seed)), 2, n, epoch-100_000)
	return c
}

// world returns a world of which part of the log has not come yet, in percent.
func (c crashes) world(yet int) *world {
	w := newWorld(c.project, c.log)
	for i := range w.avail {
		w.avail[i] = w.avail[i] * (100 - yet) / 100
	}
	return w
}

func (c crashes) rest(w *world) {
	for i := range w.avail {
		w.avail[i] = len(c.log[i])
	}
}

// half is a world that has read half of the log, and then finds the rest.
func (c crashes) half(t *testing.T) *world {
	w := c.world(50)
	mustRun(t, w)
	c.rest(w)
	return w
}

var scenarios = map[string]scenario{
	"a log": {
		begin: func(_ *testing.T, c crashes) *world { return c.world(0) },
		runs:  []string{"confirmed"},
	},
	"a directory that was restored from an older copy": {
		begin: func(t *testing.T, c crashes) *world {
			w := c.world(60)
			mustRun(t, w)
			yesterday := w.copyDirectory()
			for i := range w.avail {
				w.avail[i] = (w.avail[i] + len(c.log[i]) + 1) / 2
			}
			mustRun(t, w)
			c.rest(w)
			w.setDirectory(yesterday)
			w.project = project(t, func(p *features.Project) { p.Clock, p.Batch.MaxRecords = c.project.Clock, 4 })
			return w
		},
		runs: []string{"raise", "claim", "restoring", "scan", "restore", "sweep"},
	},
	"an empty directory": {
		begin: func(t *testing.T, c crashes) *world {
			w := c.half(t)
			w.setDirectory(nothing())
			w.stored["users\x00nobody the state knows"] = stored{version: features.Version{Generation: 1, Sequence: 1}, bytes: "an orphan"}
			return w
		},
		configure: func(_ *world, o *batch.Options) { o.TakeOver = true }, // whoever died a moment ago has not said so
		runs:      []string{"raise", "sweep"},
	},
	"a store that came back empty": {
		begin: func(t *testing.T, c crashes) *world {
			w := c.half(t)
			w.failOver(func(string) bool { return true }, true)
			return w
		},
		runs: []string{"restoring", "scan", "restore"},
	},
	"a primary that failed over and lost half of the vectors": {
		begin: func(t *testing.T, c crashes) *world {
			w := c.half(t)
			w.failOver(func(key string) bool { return int(key[len(key)-1])%2 == 0 }, false)
			return w
		},
		runs: []string{"restoring", "scan", "restore"},
	},
	"a reset from the beginning": {
		begin: func(t *testing.T, c crashes) *world { return c.half(t) },
		configure: func(w *world, o *batch.Options) {
			if len(w.raised) == 0 {
				o.Reset = &batch.Reset{From: batch.FromEarliest}
			}
		},
		runs: []string{"raise", "restoring", "sweep"},
	},
	"a reset from here": {
		begin: func(t *testing.T, c crashes) *world { return c.half(t) },
		configure: func(w *world, o *batch.Options) {
			if len(w.raised) == 0 {
				o.Reset = &batch.Reset{From: batch.FromHere}
			}
		},
		runs: []string{"raise", "restoring", "scan", "restore", "sweep"},
	},
}

// left is what is left of a process: a world, and how it came to that.
type left struct {
	*world
	trace  []string
	deaths int
}

// explorer looks for a way to die that the next start does not get over.
type explorer struct {
	crashes
	scenario
	deepest int // how many deaths one after the other; 0 for until nothing new is left
	metrics *batch.Metrics
	seen    map[[32]byte]bool
	clean   map[string]map[string]string // the bytes of clean executions, by what was executed
	runs    int
	struck  [2]map[faults.Point]int // how many deaths struck at each point: in the first run, and in recoveries
	missed  int                     // deaths that did not: another goroutine was quicker this time
}

func newExplorer(t *testing.T, clock features.Clock, events int, s scenario) *explorer {
	return &explorer{crashes: newCrashes(t, clock, 2, events), scenario: s, metrics: batch.NewMetrics(prometheus.NewRegistry()), seen: map[[32]byte]bool{}, clean: map[string]map[string]string{},
		struck: [2]map[faults.Point]int{{}, {}}}
}

// HIGHWATER_CRASHES=all plays it on a longer log, and with the event clock until nothing new is left, however many deaths that takes.
func TestCrash_AtEveryPointAndAgainInEveryRecovery(t *testing.T) {
	events, deepest := 8, map[features.Clock]int{features.EventClock: 2, features.WallClock: 2} // with the wall clock every reading is another one: something new is always left
	if os.Getenv("HIGHWATER_CRASHES") == "all" {
		events, deepest[features.EventClock] = 16, 0
	}
	for clock := range deepest {
		for name, s := range scenarios {
			t.Run(fmt.Sprintf("%s, clock %s", name, clock), func(t *testing.T) {
				t.Parallel()
				e := newExplorer(t, clock, events, s)
				e.deepest = deepest[clock]
				var w *world
				synctest.Test(t, func(t *testing.T) { w = s.begin(t, e.crashes) })
				e.explore(t, left{world: w})
				e.checkStruck(t)
				t.Logf("%d runs, %d different things left; %d deaths missed their moment", e.runs, len(e.seen), e.missed)
			})
		}
	}
}

func (e *explorer) explore(t *testing.T, first left) {
	for queue := []left{first}; len(queue) > 0 && !t.Failed(); queue = queue[1:] {
		at := queue[0]
		end, passed, died := e.run(t, at, nil)
		if died {
			t.Fatalf("%s: it died by itself", at.trace)
		}
		e.check(t, end)
		if at.deaths == 0 {
			for _, call := range e.scenario.runs {
				if passed[faults.Point(call+".after")] == 0 {
					t.Errorf("%s was not called", call)
				}
			}
		}
		if e.deepest > 0 && at.deaths == e.deepest {
			continue
		}
		for _, point := range e.points(at) {
			for n := 1; n <= passed[point] && !t.Failed(); n++ {
				dead, _, died := e.run(t, at, []faults.Fault{{At: point, Nth: n, Act: faults.Kill}})
				if !died {
					e.missed++
					e.check(t, dead)
					continue
				}
				e.struck[min(at.deaths, 1)][point]++
				if print := dead.fingerprint(); !e.seen[print] {
					e.seen[print] = true
					queue = append(queue, dead)
				}
			}
		}
	}
}

// checkStruck wants processes to have died at every call that the scenario is about, before it and after it, in the first run and again in recoveries, and enough to have been left behind by them: else the test is green and has shown nothing.
func (e *explorer) checkStruck(t *testing.T) {
	t.Helper()
	deaths := 0
	for again, when := range []string{"in the first run", "in a recovery"} {
		for _, n := range e.struck[again] {
			deaths += n
		}
		for _, call := range append(slices.Clone(protocol), e.scenario.runs...) {
			if again == 1 && e.deepest > 0 && !slices.Contains(effects, call) {
				continue // nobody dies there again: see points
			}
			for _, point := range []faults.Point{faults.Point(call + ".before"), faults.Point(call + ".after")} {
				if e.struck[again][point] == 0 {
					t.Errorf("no process died %s at %s", when, point)
				}
			}
		}
	}
	if deaths < 250 || len(e.seen) < 15 { // about 300 and 18 where there is least
		t.Errorf("only %d processes died, and left %d different things", deaths, len(e.seen))
	}
	if e.missed > deaths/20 {
		t.Errorf("%d deaths missed their moment, and %d did not", e.missed, deaths)
	}
}

// points are where a process that finds this left dies. What a second death leaves differs only by what the calls with an effect have done, unless everything is to be tried.
func (e *explorer) points(at left) []faults.Point {
	if at.deaths == 0 || e.deepest == 0 {
		return faults.Points()
	}
	var points []faults.Point
	for _, call := range effects {
		points = append(points, faults.Point(call+".before"), faults.Point(call+".after"))
	}
	return points
}

// run starts a process on what is left and lets it run to its end, and a little longer for what goes on in the background; or until the faults listed end it.
func (e *explorer) run(t *testing.T, from left, list []faults.Fault) (to left, passed map[faults.Point]int, died bool) {
	e.runs++
	to = left{world: from.copyWorld(), trace: from.trace, deaths: from.deaths}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Duration(from.deaths+1) * time.Minute) // of the bubble: the clock goes on from death to death
		inject := faults.New(list, to.die)
		ctx, cancel := context.WithCancel(t.Context())
		err := to.runUntil(ctx, func(o *batch.Options) {
			o.OnDrained, o.Metrics = func() { time.AfterFunc(time.Second, cancel) }, e.metrics
			if e.configure != nil {
				e.configure(to.world, o)
			}
		}, injected(inject))
		cancel()
		if died = to.died; died {
			to.trace, to.deaths = append(slices.Clip(to.trace), fmt.Sprint(list[0])), to.deaths+1
		}
		if err != nil && !(died && errors.Is(err, faults.ErrKilled) || errors.Is(err, errDead)) {
			t.Fatalf("%s: %v", to.trace, err)
		}
		passed = inject.Counts()
	})
	return to, passed, died
}

// die ends the world's process: what it does from now on has no effect.
func (w *world) die() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.died = true
}

// injected puts an injector between a task and everything that it is wired with.
func injected(i *faults.Injector) func(*batch.Options) {
	return func(o *batch.Options) {
		o.Source, o.Plans, o.State, o.Key, o.Announce = i.Source(o.Source), i.Plans(o.Plans), i.State(o.State), i.TaskKey(o.Key), i.Announce(o.Announce)
		for n := range o.Sinks {
			o.Sinks[n] = i.Sink(o.Sinks[n])
		}
	}
}

// check holds an end against the oracle, and against a clean execution.
func (e *explorer) check(t *testing.T, end left) {
	t.Helper()
	before := t.Failed()
	w := end.world
	checkForward(t, w)
	checkGeneration(t, w, uint32(1+len(w.raised)))
	swept := maps.Clone(w.stored)
	maps.DeleteFunc(w.stored, func(_ string, v stored) bool { return v.tombstone && strings.HasSuffix(v.bytes, "swept") }) // says as much to a reader as nothing does
	checkStore(t, w, expect(w.project, e.events, w.position.Frontier, w.position.Watermark))
	if clean := e.cleanly(t, w); !maps.Equal(bytesOf(w), clean) {
		t.Errorf("the bytes differ from a clean execution of the recorded plans: %s", difference(bytesOf(w), clean))
	}
	w.stored = swept
	if t.Failed() && !before {
		t.Fatalf("after %q", end.trace)
	}
}

// cleanly executes the plans that a world has recorded, and nothing else, in an empty directory, against an empty store: generation after generation, each begun where the world's was. It returns the bytes that this leaves.
func (e *explorer) cleanly(t *testing.T, w *world) map[string]string {
	key := historyOf(w)
	if clean, done := e.clean[key]; done {
		return clean
	}
	c := newWorld(w.project, w.log)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(10 * time.Minute) // of the bubble: no reading is ahead
		from := features.Version{}
		for _, r := range w.raised {
			c.plans = append(c.plans, w.plansBetween(from, r.position.Opening.Parent)...)
			c.execute(t)
			if err := (&memory{world: c}).Raise(t.Context(), r.position, r.empty); err != nil {
				t.Fatal(err)
			}
			from = r.position.Version
		}
		c.plans = append(c.plans, w.plansBetween(from, features.Version{Generation: 1 << 30})...)
		c.execute(t)
	})
	e.clean[key] = bytesOf(c)
	return e.clean[key]
}

// historyOf is what a clean execution of what a world has recorded depends on.
func historyOf(w *world) string {
	history := fmt.Sprint(w.raised)
	for _, p := range w.plans {
		history += fmt.Sprint(*p)
	}
	return history
}

func (w *world) plansBetween(from, to features.Version) []*batch.Plan {
	var plans []*batch.Plan
	for _, p := range w.plans {
		if from.Less(p.Version) && !to.Less(p.Version) {
			plans = append(plans, p)
		}
	}
	return plans
}

// execute runs a process that executes the plans that it finds and makes none.
func (w *world) execute(t *testing.T, configure ...func(*batch.Options)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- w.runUntil(ctx, append(configure, func(o *batch.Options) {
			o.Source, o.Complete = &planless{source: &source{world: w}, done: ctx.Done()}, nil
		})...)
	}()
	time.Sleep(10 * time.Second) // of the bubble
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// planless is a source from which nothing can be planned.
type planless struct {
	*source
	done <-chan struct{}
}

func (s *planless) Cut(int64, int64) (batch.Cut, error) {
	<-s.done
	return batch.Cut{}, context.Canceled
}

// difference names what two worlds differ in.
func difference(got, want map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if w, ok := want[k]; !ok || w != got[k] {
			all = append(all, fmt.Sprintf("%q is\n%q, and not\n%q", k, got[k], w))
		}
	}
	for k := range want {
		if _, ok := got[k]; !ok {
			all = append(all, fmt.Sprintf("%q is missing", k))
		}
	}
	return strings.Join(all, "\n")
}

// copyWorld returns a world of its own that is like this one, with no process on it.
func (w *world) copyWorld() *world {
	c := newWorld(w.project, w.log)
	c.avail = slices.Clone(w.avail)
	c.topicIDs = slices.Clone(w.topicIDs)
	c.setDirectory(w.copyDirectory())
	s := w.server
	s.storeMu.Lock()
	defer s.storeMu.Unlock()
	c.server = &server{stored: maps.Clone(s.stored), key: s.key, restoring: s.restoring, claimed: s.claimed, owner: s.owner, claims: s.claims, beat: s.beat, dead: slices.Clone(s.dead),
		primaries: s.primaries, known: s.known, doubted: s.doubted, greatest: maps.Clone(s.greatest), backward: slices.Clone(s.backward), ahead: slices.Clone(s.ahead), ttl: s.ttl}
	if s.key != nil {
		key := *s.key
		c.key = &key
	}
	return c
}

// fingerprint tells worlds apart by all that a process to come may find in them.
func (w *world) fingerprint() [32]byte {
	var all []string
	if w.position != nil {
		for k, v := range bytesOf(w) {
			all = append(all, k+v)
		}
	}
	slices.Sort(all)
	for _, p := range w.plans {
		plan := *p
		if w.project.Clock == features.EventClock { // the reading guards against calls that come late, and decides about no value
			plan.Clock = 0
		}
		all = append(all, fmt.Sprint(plan))
	}
	if w.key != nil {
		all = append(all, fmt.Sprint(w.key.Planned, w.key.Version, w.key.Frontier, w.key.Watermark, w.key.Log == w.logID, w.key.Swept))
	}
	all = append(all, fmt.Sprint(w.restoring, w.claimed, w.owner == "", w.beat == nil || w.beat.Stopped, w.primaries-w.known, w.doubted, len(w.raised)))
	return sha256.Sum256([]byte(strings.Join(all, "\n")))
}
