package state_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"highwater/batch"
	"highwater/store/state"
	"highwater/windows"
)

// cutter is a disk whose power is cut, in copies, before one in every so many of its writes; of what was not synced by then a random part is lost. Where every is 0, it is cut before and after each sync, and all that was not synced is lost.
type cutter struct {
	mem              *vfs.MemFS
	every            int
	synced           atomic.Bool   // the last write was a sync
	planned, commits atomic.Uint64 // acknowledged so far

	mu   sync.Mutex // guards what follows
	rng  *rand.Rand
	cuts []cut
}

type cut struct {
	fs               *vfs.MemFS
	before           string // the write that did not happen any more
	planned, commits uint64 // acknowledged before the cut
}

func newCutter(seed uint64, every int) *cutter {
	return &cutter{mem: vfs.NewCrashableMem(), every: every, rng: seeded(seed)}
}

func (c *cutter) fs() vfs.FS {
	return errorfs.Wrap(c.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData
		if before := fmt.Sprintf("operation %d on %s", op.Kind, op.Path); c.every > 0 {
			c.cut(before)
		} else if c.synced.Swap(sync) || sync {
			c.cutAll(before)
		}
		return nil
	}))
}

func (c *cutter) cut(before string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rng.IntN(c.every) == 0 {
		c.keep(before, vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(4) * 33, RNG: c.rng})
	}
}

func (c *cutter) cutAll(before string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(before, vfs.CrashCloneCfg{})
}

// keep keeps what the power cut leaves. c.mu is held.
func (c *cutter) keep(before string, cfg vfs.CrashCloneCfg) {
	at := cut{before: before, planned: c.planned.Load(), commits: c.commits.Load()} // before the copy: what is acknowledged in between may be in it
	at.fs = c.mem.CrashClone(cfg)
	c.cuts = append(c.cuts, at)
}

func (c *cutter) all() []cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.cuts)
}

// TestCrash_PositionAndStateMoveTogether is I5, and I1's part of it: the power is cut while plans are appended and batches committed. What comes up is exactly one of the commits, none older than the last that was acknowledged,
// and no acknowledged plan is missing.
func TestCrash_PositionAndStateMoveTogether(t *testing.T) {
	const batches = 40
	cuts := cutWhileCommitting(t, newCutter(1, 5), batches)
	if len(cuts) < batches/2 {
		t.Fatalf("the power was cut %d times only", len(cuts))
	}
}

// TestCrash_AtEverySync cuts the power before and after each sync of plans and commits; what was not synced by then is gone, all of it.
func TestCrash_AtEverySync(t *testing.T) {
	const batches = 12
	if cuts := cutWhileCommitting(t, newCutter(1, 0), batches); len(cuts) < 4*batches { // a plan and a commit each, before and after
		t.Fatalf("the power was cut %d times only", len(cuts))
	}
}

// cutWhileCommitting appends plans and commits batches, and looks at what each power cut has left.
func cutWhileCommitting(t *testing.T, power *cutter, batches uint64) []cut {
	t.Helper()
	p := users(t)
	s := mustOpen(t, power.fs(), p)
	left := [][]string{dump(t, s)} // by sequence
	for n := uint64(1); n <= batches; n++ {
		mustAppend(t, s, planOf(p, n))
		power.planned.Store(n)
		commit(t, s, p, n, names(30)[n%5:10+n%20]...)
		power.commits.Store(n)
		left = append(left, dump(t, s))
	}
	cuts := power.all()
	for i, c := range cuts {
		after, err := state.Open("data", p, state.Options{FS: c.fs})
		if err != nil {
			t.Fatalf("cut %d, before %s: open: %v", i, c.before, err)
		}
		pos, _ := after.Position()
		if pos.Version.Sequence < c.commits {
			t.Errorf("cut %d, before %s: batch %d was acknowledged, the position is at %d", i, c.before, c.commits, pos.Version.Sequence)
		}
		if got, want := dump(t, after), left[pos.Version.Sequence]; !slices.Equal(got, want) {
			t.Errorf("cut %d, before %s: at sequence %d the directory holds\n%s\nwant\n%s", i, c.before, pos.Version.Sequence, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if plans := sequences(t, after, 0); len(plans) < int(c.planned) || len(plans) < int(pos.Version.Sequence) {
			t.Errorf("cut %d, before %s: plans %v, want them up to %d and the position %d", i, c.before, plans, c.planned, pos.Version.Sequence)
		}
		mustClose(t, after)
	}
	return cuts
}

// TestCrash_WhileCreated cuts the power before each write that makes a directory, several times over with other parts lost: it opens again all the same.
func TestCrash_WhileCreated(t *testing.T) {
	p := users(t)
	for seed := range uint64(4) {
		power := newCutter(seed, 1)
		s := mustOpen(t, power.fs(), p)
		for i, c := range power.all() {
			after, err := state.Open("data", p, state.Options{FS: c.fs})
			if err != nil {
				t.Fatalf("seed %d, cut %d, before %s: %v", seed, i, c.before, err)
			}
			commit(t, after, p, 1, "u1")
			mustClose(t, after)
		}
		// The directory and its log, once Open has returned, are there to stay.
		after := mustOpen(t, power.mem.CrashClone(vfs.CrashCloneCfg{}), p)
		if got, want := after.Plans().ID(), s.Plans().ID(); got != want {
			t.Errorf("after a power cut the plan log is called %s, before it %s", got, want)
		}
	}
}

// mortal is a process that may be told to end.
type mortal struct{ last chan string }

func newMortal() *mortal { return &mortal{last: make(chan string, 64)} }

// fatal is an Options.Fatal: it notes the last words, and does nothing ever after, with whatever locks it holds, as the dead do.
func (m *mortal) fatal(message string) {
	m.last <- message
	select {}
}

// attempt runs f on a goroutine of its own until it returns, or the process is told to end: then f is left where it hangs, finished is false, and the error is the last words.
func (m *mortal) attempt(f func() error) (finished bool, err error) {
	done := make(chan error, 1)
	go func() {
		done <- f()
	}()
	select {
	case err := <-done:
		return true, err
	case message := <-m.last:
		return false, errors.New(message)
	}
}

// TestFaults_SyncFails makes every write to the log fail from some moment on: the process is told to end, nothing is acknowledged, and what comes up afterwards is a commit from before.
func TestFaults_SyncFails(t *testing.T) {
	p := users(t)
	var faulty atomic.Bool
	mem := vfs.NewCrashableMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if faulty.Load() && strings.HasSuffix(op.Path, ".log") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errorfs.ErrInjected
		}
		return nil
	}))
	life := newMortal()
	s, err := state.Open("data", p, state.Options{FS: fs, Fatal: life.fatal})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, p, 1, "u1", "u2")
	want := dump(t, s)
	faulty.Store(true)
	finished, err := life.attempt(func() error {
		c := s.Begin()
		err := upsert(c, 0, []string{"u1", "u3"}, func(e *batch.Entity) { click(p, e, start, 1) })
		return errors.Join(err, c.Commit(context.Background(), at(2)))
	})
	if finished || !strings.Contains(err.Error(), "refused to make the state durable") || !strings.Contains(err.Error(), "injected error") {
		t.Fatalf("a commit that could not be synced ended with %v, and not the process", err)
	}
	after := mustOpen(t, mem.CrashClone(vfs.CrashCloneCfg{}), p) // s itself is past closing: its locks died with the goroutine
	if got := dump(t, after); !slices.Equal(got, want) {
		t.Errorf("after the failed commit the directory holds %q, want %q", got, want)
	}
	commit(t, after, p, 2, "u1")
}

// TestFaults_ReadsFail makes reads from tables fail: each is an error of what asked for it, and harms nothing.
func TestFaults_ReadsFail(t *testing.T) {
	p := users(t)
	var faulty atomic.Bool
	mem := vfs.NewCrashableMem()
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if faulty.Load() && op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
			return errorfs.ErrInjected
		}
		return nil
	})
	s := mustOpen(t, mem, p)
	commit(t, s, p, 1, names(1000)...)
	want := dump(t, s)
	mustClose(t, s)
	mustClose(t, mustOpen(t, mem, p)) // which moves what the log held to a table

	faulty.Store(true)
	for range 3 {
		mem = mem.CrashClone(vfs.CrashCloneCfg{}) // one that died, in the background too, holds its lock for ever
		life := newMortal()
		finished, err := life.attempt(func() error {
			s, err := state.Open("data", p, state.Options{FS: errorfs.Wrap(mem, inject), Fatal: life.fatal, CacheBytes: 1})
			if err != nil {
				return err
			}
			defer s.Close()
			c := s.Begin()
			defer c.Discard()
			return errors.Join(upsert(c, 0, []string{"u000500"}, func(*batch.Entity) {}), s.Scan(context.Background(), 0, "", func(*batch.Entity) error { return nil }))
		})
		if finished && !errors.Is(err, errorfs.ErrInjected) || !finished && !strings.Contains(err.Error(), errorfs.ErrInjected.Error()) {
			t.Errorf("with a table that cannot be read, finished: %t: %v", finished, err)
		}
	}
	faulty.Store(false)
	s = mustOpen(t, mem.CrashClone(vfs.CrashCloneCfg{}), p)
	if got := dump(t, s); !slices.Equal(got, want) {
		t.Errorf("after the faults %d keys differ from the %d before", len(got), len(want))
	}
}

// TestFaults_CorruptValues gives an error that names the entity, not a wrong vector.
func TestFaults_CorruptValues(t *testing.T) {
	fs := vfs.NewMem()
	p := users(t)
	s := mustOpen(t, fs, p)
	commit(t, s, p, 1, "u1", "u2")
	mustClose(t, s)
	corrupt(t, fs, "s"+"users\x00u2", []byte{1, 0, 0})
	s = mustOpen(t, fs, p)
	c := s.Begin()
	defer c.Discard()
	_, loadErr := c.Load(0, []string{"u2"})
	scanErr := s.Scan(context.Background(), 0, "", func(*batch.Entity) error { return nil })
	for name, err := range map[string]error{"load": loadErr, "scan": scanErr} {
		if err == nil || !strings.Contains(err.Error(), `view users`) || !strings.Contains(err.Error(), `"u2"`) || !errors.Is(err, windows.ErrCorrupt) {
			t.Errorf("%s of a corrupt entity: %v", name, err)
		}
	}
}

// TestDropView_GoesWithTheFirstCommit follows a view that leaves the project and comes back.
func TestDropView_GoesWithTheFirstCommit(t *testing.T) {
	both, one := project("both", view(t, "users", clicks), view(t, "zones", clicks)), project("one", view(t, "users", clicks))
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, fs, both)
	c := s.Begin()
	err := upsert(c, 1, []string{"z1"}, func(e *batch.Entity) { e.Timers[batch.ByFrontier] = start })
	if err := errors.Join(err, c.Commit(context.Background(), at(1))); err != nil {
		t.Fatal(err)
	}
	if err := s.Rebind(one); err != nil {
		t.Fatal(err)
	}
	if next, err := s.Next(batch.ByFrontier); next != windows.Never || err != nil {
		t.Errorf("a timer of a view that is unknown: next %d, error %v", next, err)
	}
	s.Begin().Discard()
	if err := s.Rebind(both); err != nil {
		t.Fatal(err)
	}
	if got := dueOf(t, s, batch.ByFrontier, start); !slices.Equal(got, []due{{1, "z1"}}) {
		t.Errorf("before a commit without the view, its timers are %v", got)
	}
	if err := s.Rebind(one); err != nil {
		t.Fatal(err)
	}
	commit(t, s, one, 2, "u1")
	s = mustOpen(t, fs.CrashClone(vfs.CrashCloneCfg{}), project("again", view(t, "users", clicks), view(t, "zones", reused)))
	if found, counted := entitiesOf(t, s, 1), s.Metrics().Entities["zones"]; len(found) != 0 || counted != 0 {
		t.Errorf("the view came back with %v, counted %d", found, counted)
	}
	if got := dueOf(t, s, batch.ByFrontier, start); len(got) != 0 {
		t.Errorf("the view came back with timers %v", got)
	}
}
