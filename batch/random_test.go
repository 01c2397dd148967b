package batch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/redis/go-redis/v9"

	"highwater/batch"
	"highwater/batch/faults"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	"highwater/store/online/embedded"
	"highwater/store/state"
	"highwater/testutil/oracle"
	"highwater/testutil/random"
	"highwater/testutil/redistest"
	"highwater/windows"
)

// rig runs a random case: the driver with its real state, Pebble on a disk whose power fails, and the world's log and store. Its clock is synctest's.
type rig struct {
	c       random.Case
	project *features.Project
	world   *world
	disk    *vfs.MemFS
	rng     *rand.Rand
	arrived chan struct{}
	redis   [2]*embedded.Redis         // the second is for the clean execution; nil where the world's store is used
	linger  time.Duration              // how long a process goes on once it has drained: what only heartbeats find out is mended meanwhile
	bug     func(*rig, *batch.Options) // a deliberate one, for the test of the shrinker

	mu        sync.Mutex // guards published
	published []batch.Output

	processes, gone int // how many ran, and of those how many ended early
	raised          int // whether the generation rose
	fired           []string
}

func newRig(c random.Case) (*rig, error) {
	p, err := c.Project()
	if err != nil {
		return nil, errNoCase
	}
	w := newWorldOf(p, c.Records())
	w.parts = c.Partitions()
	for i := range w.avail {
		w.avail[i] = 0
	}
	return &rig{c: c, project: p, world: w, disk: vfs.NewCrashableMem(), arrived: make(chan struct{}, 1), linger: 15 * time.Second, rng: rand.New(rand.NewPCG(c.Seed, 21))}, nil
}

// errNoCase is a case that the shrinker should not have made.
var errNoCase = errors.New("no case")

// errAgain ends a process that is to be started again.
var errAgain = errors.New("told to stop")

// run runs the case to its end: every event has come, and every process but the last has met its fate.
func (g *rig) run() error {
	begun, complete := time.Now(), make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), g.longest())
	defer cancel()
	go func() {
		defer close(complete)
		for _, e := range g.c.Events {
			sleepUntil(ctx, begun.Add(e.At))
			g.world.mu.Lock()
			g.world.avail[g.c.Place(e)]++
			g.world.mu.Unlock()
			select {
			case g.arrived <- struct{}{}:
			default: // a hint is waiting
			}
		}
	}()
	for _, l := range g.c.Lives {
		sleepUntil(ctx, time.Now().Add(l.After))
		if err := g.live(ctx, l, complete); err != nil && !isFate(err) {
			return fmt.Errorf("process %d: %w", g.processes, err)
		} else if err != nil {
			g.gone++
		}
	}
	for _, linger := range []time.Duration{g.linger, 0} { // a process that is stopped may leave a plan to the next
		g.linger = linger
		if err := g.live(ctx, random.Life{}, complete); err != nil {
			return fmt.Errorf("process %d, which was left alone: %w", g.processes, err)
		}
	}
	return nil
}

// longest is how long the case may take, in the bubble.
func (g *rig) longest() time.Duration {
	d := time.Hour
	for _, e := range g.c.Events {
		d = max(d, e.At+time.Hour)
	}
	for _, l := range g.c.Lives {
		d += l.After + time.Minute
		for _, f := range l.Faults {
			d += 2 * f.For
		}
	}
	return d
}

func sleepUntil(ctx context.Context, at time.Time) {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// isFate reports whether an error is one that a case had in store.
func isFate(err error) bool {
	_, injected := errors.AsType[*faults.Error](err)
	return injected || errors.Is(err, faults.ErrKilled) || errors.Is(err, errAgain)
}

// live is the life of one process.
func (g *rig) live(outer context.Context, l random.Life, complete <-chan struct{}) error {
	g.processes++
	s, err := state.Open("data", g.project, state.Options{FS: g.disk, MemTableBytes: 256 << 10, BlockCacheBytes: 1 << 20})
	if err != nil {
		return err
	}
	var redis *online.Store
	if g.redis[0] != nil {
		if redis, err = g.openRedis(); err != nil {
			return errors.Join(err, s.Close())
		}
		defer redis.Close()
	}
	inject := faults.New(l.Faults, func() {})
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	drained := make(chan struct{})
	var stopper sync.WaitGroup
	stopper.Go(func() {
		select {
		case <-drained:
			sleepUntil(ctx, time.Now().Add(g.linger))
			cancel(nil)
		case <-ctx.Done():
		}
	})
	err = g.world.runUntil(ctx, func(o *batch.Options) {
		store := &mishaps{Sink: o.Sinks[0], rig: g, life: l, stop: func() { cancel(errAgain) }}
		if redis != nil {
			store.Sink, o.Key = redis, redis
			o.Announce = func(ctx context.Context) error { return redis.WriteCatalogue(ctx, g.project.Catalogue(1)) }
		}
		o.Source, o.Plans, o.State = inject.Source(&hinting{o.Source, g.arrived}), inject.Plans(s.Plans()), inject.State(s)
		o.Sinks, o.Key, o.Announce = []batch.Sink{inject.Sink(store)}, inject.TaskKey(o.Key), inject.Announce(o.Announce)
		o.Rebind, o.Complete, o.Owner = s.Rebind, complete, fmt.Sprint("process ", g.processes)
		o.OnDrained = func() { close(drained) }
		if g.bug != nil {
			g.bug(g, o)
		}
	})
	why := context.Cause(ctx)
	cancel(nil)
	stopper.Wait()
	for _, f := range inject.Fired() {
		g.fired = append(g.fired, f.String())
	}
	if errors.Is(err, faults.ErrKilled) {
		g.disk = g.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: g.rng.IntN(4) * 33, RNG: g.rng})
	}
	if closing := s.Close(); closing != nil {
		err = errors.Join(err, closing)
	}
	switch {
	case outer.Err() != nil:
		return fmt.Errorf("the task does not come to its end within %v", g.longest())
	case err == nil && why == errAgain:
		return errAgain
	}
	return err
}

// hinting is a source that says when something has come.
type hinting struct {
	batch.Source
	arrived <-chan struct{}
}

func (s *hinting) Arrived() <-chan struct{} { return s.arrived }

// mishaps is the store, to which happens what a life has in store for it.
type mishaps struct {
	batch.Sink
	*rig
	life  random.Life
	stop  func()
	calls int // guarded by the rig's mu
}

func (m *mishaps) Publish(ctx context.Context, out *batch.Output) (batch.Outcome, error) {
	o, err := m.Sink.Publish(ctx, out)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	m.remember(out)
	if m.calls == m.life.Stop {
		m.stop()
	}
	if m.calls == (m.life.Lose+1)/2 && m.redis[0] != nil {
		err = errors.Join(err, m.redis[0].Snapshot())
	}
	if m.calls == m.life.Lose {
		err = errors.Join(err, m.lose())
	}
	if m.calls == m.life.Stray {
		stray := m.published[m.rng.IntN(len(m.published))]
		late, lateErr := m.Sink.Publish(ctx, &stray)
		o.Divergent = append(o.Divergent, late.Divergent...)
		err = errors.Join(err, lateErr)
	}
	return o, err
}

// remember keeps a copy of a call. The caller holds mu.
func (g *rig) remember(out *batch.Output) {
	call := batch.Output{Version: out.Version, Clock: out.Clock, Vectors: slices.Clone(out.Vectors)}
	for i := range call.Vectors {
		call.Vectors[i].Values = slices.Clone(call.Vectors[i].Values)
	}
	g.published = append(g.published, call)
}

// lose lets the store fail over, and lose some of its vectors, maybe with the task key.
func (g *rig) lose() error {
	if g.redis[0] != nil {
		if g.rng.IntN(2) == 0 {
			return g.redis[0].Rollback()
		}
		g.redis[0].Empty()
		return nil
	}
	half := g.rng.IntN(3)
	g.world.failOver(func(key string) bool { return half == 2 || int(key[len(key)-1])%2 == half }, g.rng.IntN(2) == 0)
	return nil
}

// openRedis opens the embedded Redis as one process does.
func (g *rig) openRedis() (*online.Store, error) {
	return online.Open(context.Background(), online.Options{Project: g.project.Name, Addrs: []string{g.redis[0].Addr()}, TombstoneTTL: g.world.ttl})
}

// vector is one that the store holds.
type vector struct {
	tombstone bool
	values    []windows.Value
	bytes     string
}

// stored returns the vectors that the store holds, and the version of the task key, zero for none.
func (g *rig) stored() (vectors map[string]vector, at features.Version, err error) {
	vectors = map[string]vector{}
	if g.redis[0] == nil {
		for key, v := range g.world.stored {
			vectors[key] = vector{v.tombstone, v.vector.Values, v.bytes}
		}
		if g.world.key != nil {
			at = g.world.key.Version
		}
		return vectors, at, nil
	}
	client := redis.NewClient(&redis.Options{Addr: g.redis[0].Addr(), DisableIdentity: true})
	reader, err := online.NewReader(online.Options{Project: g.project.Name, Addrs: []string{g.redis[0].Addr()}})
	if err != nil {
		return nil, at, errors.Join(err, client.Close())
	}
	defer func() { err = errors.Join(err, client.Close(), reader.Close()) }()
	for key, text := range redistest.Vectors(context.Background(), client, g.project.Name) {
		_, view, entity, _ := keys.ParseVector(key)
		got, err := reader.Fetch(context.Background(), []features.VectorKey{{View: view, Entity: entity}})
		if err != nil {
			return nil, at, err
		}
		vectors[view+"\x00"+entity] = vector{got.Vectors[0].Tombstone, got.Vectors[0].Values, text}
		at = got.Mark.Version
	}
	return vectors, at, nil
}

// read opens the state as it was left.
func (g *rig) read(f func(*state.Store) error) error {
	s, err := state.Open("data", g.project, state.Options{FS: g.disk})
	if err != nil {
		return err
	}
	return errors.Join(f(s), s.Close())
}

// check compares everything that is left with the model, and with a clean execution of the recorded plans.
func (g *rig) check() error {
	var plans []*batch.Plan
	var position batch.Position
	err := g.read(func(s *state.Store) (err error) {
		position = batch.Position{Frontier: windows.NoTime, Watermark: windows.NoTime}
		if p, found := s.Position(); found {
			position = p
		}
		plans, err = s.Plans().After(context.Background(), features.Version{})
		return err
	})
	if err != nil {
		return err
	}
	m := random.NewModel(g.c, g.project)
	for _, p := range lineage(plans, position) {
		if err := m.Execute(p); err != nil {
			return err
		}
	}
	switch {
	case !m.Done():
		return errors.New("the plans do not cover the log")
	case position.Frontier != m.Frontier || position.Watermark != m.Watermark:
		return fmt.Errorf("frontier %d and watermark %d, want %d and %d", position.Frontier, position.Watermark, m.Frontier, m.Watermark)
	case len(plans) > 0 && position.Version != plans[len(plans)-1].Version:
		return fmt.Errorf("position %s, the last plan is %s", position.Version, plans[len(plans)-1].Version)
	case len(g.world.backward) > 0:
		return fmt.Errorf("stored versions went back: %v", g.world.backward)
	}
	vectors, at, err := g.stored()
	if err != nil {
		return err
	}
	if len(vectors) > 0 && at != position.Version {
		return fmt.Errorf("the task key is at %s, the position at %s", at, position.Version)
	}
	if diff := m.DiffCounters(position.Counters); diff != "" && len(plans) > 0 {
		return errors.New(diff)
	}
	if err := g.checkVectors(vectors, m.Vectors()); err != nil {
		return err
	}
	if position.Version.Generation > 1 {
		g.raised++
		if position.Opening.Parent != (features.Version{}) || !slices.ContainsFunc(g.c.Lives, func(l random.Life) bool { return l.Lose > 0 }) {
			return fmt.Errorf("the generation rose: %s", position.Opening.Why)
		}
		return nil // a clean execution knows nothing of why
	}
	return g.checkBytes()
}

// lineage returns the plans that made the state: those of a generation before it are void beyond its parent. A generation rises by itself where the task key was lost before anything was committed: then not even the directory knows whose it was.
func lineage(plans []*batch.Plan, at batch.Position) []*batch.Plan {
	return slices.DeleteFunc(slices.Clone(plans), func(p *batch.Plan) bool {
		return p.Version.Generation < at.Version.Generation && at.Opening.Parent.Less(p.Version)
	})
}

// checkVectors compares the store with what it must hold.
func (g *rig) checkVectors(vectors map[string]vector, want map[string][]windows.Value) error {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		view, _, _ := strings.Cut(key, "\x00")
		got, there := vectors[key]
		if !there {
			return fmt.Errorf("%q is missing", key)
		}
		if got.tombstone != (want[key] == nil) {
			return fmt.Errorf("%q is a tombstone: %t, and must be: %t", key, got.tombstone, want[key] == nil)
		}
		if got.tombstone {
			continue
		}
		if diff := oracle.Diff(random.Specs(g.project.View(view)), want[key], got.values); diff != "" {
			return fmt.Errorf("%q: %s", key, diff)
		}
	}
	if len(vectors) != len(want) {
		return fmt.Errorf("the store holds %d vectors, want %d", len(vectors), len(want))
	}
	return nil
}

// checkBytes compares the bytes of the store and of the state with those of a clean execution of the recorded plans in an empty directory.
func (g *rig) checkBytes() error {
	c := random.Case{Seed: g.c.Seed}
	clean := &rig{c: c, project: g.project, world: newWorldOf(g.project, g.world.log), disk: vfs.NewCrashableMem(), rng: g.rng}
	clean.world.parts = g.world.parts
	if clean.redis[0] = g.redis[1]; clean.redis[0] != nil {
		clean.redis[0].FlushAll()
	}
	err := g.read(func(from *state.Store) error {
		return clean.read(func(to *state.Store) error { return from.CopyPlans(to) })
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	complete := make(chan struct{})
	close(complete)
	if err := clean.live(ctx, random.Life{}, complete); err != nil {
		return fmt.Errorf("a clean execution of the recorded plans: %w", err)
	}
	got, err := g.bytes()
	if err != nil {
		return err
	}
	want, err := clean.bytes()
	if err != nil {
		return err
	}
	for key := range want {
		if got[key] != want[key] {
			return fmt.Errorf("not as after a clean execution of the recorded plans: %q is\n%q, cleanly\n%q", key, got[key], want[key])
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d keys, %d after a clean execution of the recorded plans", len(got), len(want))
	}
	return nil
}

// bytes is what the store and the state hold.
func (g *rig) bytes() (map[string]string, error) {
	all := map[string]string{}
	vectors, _, err := g.stored()
	if err != nil {
		return nil, err
	}
	for k, v := range vectors {
		all["stored "+k] = v.bytes
	}
	err = g.read(func(s *state.Store) error {
		return s.Dump(func(key, value []byte) error {
			all["state "+string(key)] = string(bytes.Clone(value))
			return nil
		})
	})
	return all, err
}

// runCase runs a case in a bubble of its own. Every other one has the real store, on an embedded Redis.
func runCase(t *testing.T, c random.Case, bug func(*rig, *batch.Options)) (g *rig, err error) {
	t.Helper()
	var servers [2]*embedded.Redis
	if c.Seed%2 == 1 {
		for i := range servers {
			servers[i] = embedded.New(nil)
			if err := servers[i].Start("127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			defer servers[i].Close()
			servers[i].SetTime(time.UnixMicro(random.Start)) // the bubble's
		}
	}
	synctest.Test(t, func(*testing.T) {
		if g, err = newRig(c); err != nil {
			return
		}
		g.bug, g.redis = bug, servers
		if err = g.run(); err == nil {
			err = g.check()
		}
	})
	return g, err
}

// TestRandom runs random cases (see package random), and shrinks one that fails. HIGHWATER_SEED=17 runs one alone; HIGHWATER_SOAK=10m runs new ones for as long.
func TestRandom(t *testing.T) {
	processes, gone, fired, raised := 0, 0, 0, 0
	for seed := range random.Seeds(t, 30, 0.75) {
		g, err := runCase(t, random.Draw(seed), nil)
		if err != nil {
			small, err := shrink(t, random.Draw(seed), err, nil)
			t.Fatalf("%v\nin this case, the smallest found; run it again by HIGHWATER_SEED=%d go test ./batch -run 'TestRandom$'\n%s", err, seed, small)
		}
		processes, gone, fired, raised = processes+g.processes, gone+g.gone, fired+len(g.fired), raised+g.raised
	}
	t.Logf("%d processes, of which %d ended early; %d faults; the generation rose %d times", processes, gone, fired, raised)
}

// shrink returns the smallest case that it finds to fail, and its error.
func shrink(t *testing.T, c random.Case, err error, bug func(*rig, *batch.Options)) (random.Case, error) {
	t.Helper()
	t.Logf("seed %d fails, and is being made smaller: %v", c.Seed, err)
	small := random.Shrink(c, time.Minute, func(c random.Case) bool {
		_, now := runCase(t, c, bug)
		if now == nil || errors.Is(now, errNoCase) || kindOf(now) != kindOf(err) {
			return false
		}
		err = now
		return true
	})
	return small, err
}

// kindOf is an error without what differs from case to case: a smaller case must fail as the greater one does.
func kindOf(err error) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, strings.SplitN(err.Error()+":", ":", 3)[0])
}

// TestRandom_Shrinks plants bugs, and wants the smallest cases that show them: the shrinker is of no use if it does not shrink.
func TestRandom_Shrinks(t *testing.T) {
	for name, bug := range map[string]func(*rig, *batch.Options){
		"timers are lost at a restart": func(g *rig, o *batch.Options) {
			if g.processes > 1 {
				o.State = timeless{o.State}
			}
		},
		"a record is lost on the way": func(_ *rig, o *batch.Options) { o.Source = &lossy{o.Source} },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(0); ; seed++ {
				c := random.Draw(seed)
				if len(c.Events) < 10 || c.Clock != features.EventClock { // the wall clock's cases take longer
					continue
				}
				_, err := runCase(t, c, bug)
				if err == nil {
					continue
				}
				small, err := shrink(t, c, err, bug)
				t.Logf("%v\n%s", err, small)
				if len(small.Events) > 2 || len(small.Views) != 1 || len(small.Views[0].Features) != 1 || len(small.Lives) > 1 || len(small.Sources) != 1 || small.Sources[0].Partitions != 1 {
					t.Errorf("it could be smaller: %d events, %d views, %d processes", len(small.Events), len(small.Views), len(small.Lives)+1)
				}
				return
			}
		})
	}
}

// timeless is a state that has forgotten its timers.
type timeless struct{ batch.State }

func (timeless) Due(batch.TimerClock, int64, func(int, string) error) error { return nil }

// lossy is a source that loses clicks.
type lossy struct{ batch.Source }

func (s *lossy) Take(ctx context.Context, of []batch.Slice) ([][]batch.Record, error) {
	records, err := s.Source.Take(ctx, of)
	for i := range records {
		records[i] = slices.DeleteFunc(slices.Clone(records[i]), func(r batch.Record) bool { return strings.Contains(string(r.Value), "click") })
	}
	return records, err
}
