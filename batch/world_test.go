package batch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/features"
	"highwater/windows"
)

// world is everything outside a task's process: the log, the directory, the store. It survives the process, which can be made to die at any call.
type world struct {
	mu      sync.Mutex
	project *features.Project
	parts   []batch.Partition
	log     [][]batch.Record // by partition
	avail   []int            // how much of each the broker has so far

	// The directory.
	plans    []*batch.Plan
	state    map[string][]byte // view \x00 entity → bytes of windows, published and timers
	timers   map[timerKey]bool
	position *batch.Position

	// The store.
	stored map[string]stored
	key    *batch.Key
	dead   []batch.DeadLetter

	calls     int
	crashAt   int // the call at which the process dies; 0 for never
	died      bool
	trace     []string
	stale     int
	announced int
	fail      func(call string) error // a fault: the call fails, and is retried
}

type stored struct {
	version   features.Version
	bytes     string
	tombstone bool
	vector    features.Vector
}

type timerKey struct {
	clock batch.TimerClock
	at    int64
	view  string
	text  string
}

var errDead = errors.New("the process is dead")

func newWorld(p *features.Project, log [][]batch.Record) *world {
	w := &world{project: p, log: log, state: map[string][]byte{}, timers: map[timerKey]bool{}, stored: map[string]stored{}}
	s := p.Sources[0]
	for i := range log {
		w.parts = append(w.parts, batch.Partition{Source: s.Name, Topic: s.Topic, Number: int32(i)})
		w.avail = append(w.avail, len(log[i]))
	}
	return w
}

// step is a point at which the process may die. Once it is dead, nothing that it does has an effect any more.
func (w *world) step(call string) error {
	w.calls++
	if w.calls == w.crashAt {
		w.died = true
		w.trace = append(w.trace, "died: "+call)
	}
	if w.died {
		return batch.Permanent(errDead)
	}
	if w.fail != nil {
		return w.fail(call)
	}
	return nil
}

// effect runs apply between two such points: a process may die before a call has taken effect, or after, without having heard of it.
func (w *world) effect(call string, apply func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.step("before " + call); err != nil {
		return err
	}
	if err := apply(); err != nil {
		return err
	}
	return w.step("after " + call)
}

// run starts a process on the world and lets it run until everything is committed, or it dies.
func (w *world) run(t testing.TB, configure ...func(*batch.Options)) error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return w.runUntil(ctx, append(configure, func(o *batch.Options) { o.OnDrained = cancel })...)
}

// runUntil starts a process on the world and lets it run until ctx ends, or it dies.
func (w *world) runUntil(ctx context.Context, configure ...func(*batch.Options)) error {
	return w.runTask(ctx, func(*batch.Task) {}, configure...)
}

// runTask is runUntil, and hands out the task before it runs.
func (w *world) runTask(ctx context.Context, made func(*batch.Task), configure ...func(*batch.Options)) error {
	w.died = false
	complete := make(chan struct{})
	close(complete)
	o := batch.Options{
		Project:     w.project,
		Definitions: func(string) (*features.Project, error) { return w.project, nil },
		Rebind:      func(*features.Project) error { return nil },
		Decoder:     decode.New,
		Source:      &source{world: w}, Plans: planLog{w}, State: &memory{world: w}, Sinks: []batch.Sink{store{w}}, Key: store{w}, Announce: func(context.Context) error { w.announced++; return nil },
		Now: time.Now, TombstoneTTL: 7 * 24 * time.Hour, Metrics: batch.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Complete: complete,
	}
	for _, c := range configure {
		c(&o)
	}
	task, err := batch.New(o)
	if err != nil {
		return err
	}
	made(task)
	return task.Run(ctx)
}

// source hands out the world's log.
type source struct {
	*world
	next []int64
}

func (s *source) Partitions() []batch.Partition { return s.parts }

func (s *source) Start(_ context.Context, next []int64) error {
	for i := range next {
		next[i] = max(next[i], 0)
	}
	s.next = slices.Clone(next)
	return nil
}

func (s *source) Cut(maxOffsets, _ int64) (batch.Cut, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := batch.Cut{Ends: slices.Clone(s.next)}
	for moved := true; moved && c.Offsets < maxOffsets; {
		moved = false
		for i := range c.Ends {
			if c.Offsets < maxOffsets && c.Ends[i] < int64(s.avail[i]) {
				c.Ends[i]++
				c.Offsets++
				moved = true
			}
		}
	}
	c.Full = c.Offsets == maxOffsets
	return c, nil
}

func (s *source) Arrived() <-chan struct{} { return nil }

func (s *source) Ends(context.Context) ([]batch.End, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ends []batch.End
	for _, n := range s.avail {
		ends = append(ends, batch.End{LogEnd: int64(n), LeaderEpoch: -1})
	}
	return ends, nil
}

func (s *source) Take(_ context.Context, slices []batch.Slice) ([][]batch.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out [][]batch.Record
	for i, sl := range slices {
		if sl.Start != s.next[i] {
			return nil, fmt.Errorf("slice starts at %d, the one before ended at %d", sl.Start, s.next[i])
		}
		out = append(out, s.log[i][sl.Start:sl.End])
		s.next[i] = sl.End
	}
	return out, s.step("take")
}

func (s *source) Committed(context.Context, []int64) {}

// planLog is the world's plans.
type planLog struct{ *world }

func (l planLog) ID() string { return "log" }

func (l planLog) Append(_ context.Context, p *batch.Plan) (*batch.Plan, error) {
	err := l.effect("plan", func() error {
		l.plans = append(l.plans, p)
		return nil
	})
	return p, err
}

func (l planLog) After(_ context.Context, v features.Version) ([]*batch.Plan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var after []*batch.Plan
	for _, p := range l.plans {
		if v.Less(p.Version) {
			after = append(after, p)
		}
	}
	return after, nil
}

// memory is the world's state.
type memory struct {
	*world
}

func (m *memory) Position() (batch.Position, bool) {
	if m.position == nil {
		return batch.Position{Version: features.Version{Generation: 1}, Frontier: windows.NoTime, Watermark: windows.NoTime}, false
	}
	return *m.position, true
}

func (m *memory) viewIndex(name string) int {
	return slices.IndexFunc(m.project.Views, func(v *features.View) bool { return v.Name == name })
}

func (m *memory) Due(clock batch.TimerClock, until int64, each func(int, string) error) error {
	var due []timerKey
	for k := range m.timers {
		if k.clock == clock && k.at <= until {
			due = append(due, k)
		}
	}
	sort.Slice(due, func(i, j int) bool {
		return due[i].at < due[j].at || due[i].at == due[j].at && due[i].text < due[j].text
	})
	for _, k := range due {
		if err := each(m.viewIndex(k.view), k.text); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Next(clock batch.TimerClock) (int64, error) {
	next := int64(windows.Never)
	for k := range m.timers {
		if k.clock == clock {
			next = min(next, k.at)
		}
	}
	return next, nil
}

func (m *memory) Begin() batch.Change {
	return &memoryChange{memory: m, puts: map[string]*batch.Entity{}, timers: maps.Clone(m.timers), state: maps.Clone(m.state)}
}

func (m *memory) Scan(_ context.Context, view int, each func(*batch.Entity) error) error {
	name := m.project.Views[view].Name
	for _, k := range slices.Sorted(maps.Keys(m.state)) {
		if len(k) > len(name) && k[:len(name)+1] == name+"\x00" {
			e, err := m.decode(view, k[len(name)+1:], m.state[k])
			if err != nil {
				return err
			}
			if err := each(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// memoryChange works on copies, and puts them in place when it commits.
type memoryChange struct {
	*memory
	puts   map[string]*batch.Entity
	timers map[timerKey]bool
	state  map[string][]byte
}

func (c *memoryChange) Load(view int, texts []string) ([]*batch.Entity, error) {
	var out []*batch.Entity
	v := c.project.Views[view]
	if !slices.IsSorted(texts) {
		return nil, errors.New("texts are not sorted")
	}
	for _, text := range texts {
		bytes, ok := c.memory.state[v.Name+"\x00"+text]
		if !ok {
			out = append(out, &batch.Entity{View: view, Text: text, Windows: v.Machine.New(), Timers: [batch.TimerClocks]int64{windows.Never, windows.Never, windows.Never}})
			continue
		}
		e, err := c.decode(view, text, bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (c *memoryChange) Put(e *batch.Entity) error {
	name := c.project.Views[e.View].Name
	c.dropTimers(e)
	for clock, at := range e.Timers {
		if at != windows.Never {
			c.timers[timerKey{batch.TimerClock(clock), at, name, e.Text}] = true
		}
	}
	c.state[name+"\x00"+e.Text] = c.encode(e)
	return nil
}

func (c *memoryChange) Delete(e *batch.Entity) error {
	c.dropTimers(e)
	delete(c.state, c.project.Views[e.View].Name+"\x00"+e.Text)
	return nil
}

func (c *memoryChange) dropTimers(e *batch.Entity) {
	for k := range c.timers {
		if k.text == e.Text && k.view == c.project.Views[e.View].Name {
			delete(c.timers, k)
		}
	}
}

func (c *memoryChange) Commit(_ context.Context, p batch.Position) error {
	return c.effect("commit", func() error {
		c.memory.world.state, c.memory.world.timers, c.memory.world.position = c.state, c.timers, &p
		return nil
	})
}

func (c *memoryChange) Discard() {}

// encode writes an entity as text before the windows' bytes: published and timers, fixed width.
func (m *memory) encode(e *batch.Entity) []byte {
	p := e.Published
	head := fmt.Sprintf("%s %020d %020d %t %020d %s %020d %020d %020d|", p.Version, p.Frontier, p.Watermark, p.Tombstone, p.Until, p.Schema, e.Timers[0], e.Timers[1], e.Timers[2])
	return m.project.Views[e.View].Machine.Append([]byte(head), e.Windows)
}

func (m *memory) decode(view int, text string, b []byte) (*batch.Entity, error) {
	e := &batch.Entity{View: view, Text: text}
	var version string
	p := &e.Published
	if _, err := fmt.Sscanf(string(b), "%s %d %d %t %d %s %d %d %d|", &version, &p.Frontier, &p.Watermark, &p.Tombstone, &p.Until, &p.Schema, &e.Timers[0], &e.Timers[1], &e.Timers[2]); err != nil {
		return nil, err
	}
	var err error
	if p.Version, err = features.ParseVersion(version); err != nil {
		return nil, err
	}
	e.Windows, err = m.project.Views[view].Machine.Decode(b[slices.Index(b, '|')+1:])
	return e, err
}

// store is the world's Redis: the version rule, as simply as it can be said.
type store struct{ *world }

func (s store) Name() string { return "store" }

func (s store) Publish(_ context.Context, out *batch.Output) (batch.Outcome, error) {
	var o batch.Outcome
	err := s.effect("publish", func() error {
		for _, v := range out.Vectors {
			s.upsert(v, &o)
		}
		for _, d := range out.DeadLetters {
			d.Value = slices.Clone(d.Value)
			s.dead = append(s.dead, d)
		}
		s.stale += o.Stale
		return nil
	})
	return o, err
}

func (s store) upsert(v features.Vector, o *batch.Outcome) {
	key := v.View.Name + "\x00" + v.Entity
	v.Values = slices.Clone(v.Values)
	now := stored{version: v.Version, tombstone: v.Tombstone, vector: v, bytes: fmt.Sprint(v.Version, v.Frontier, v.EventTime, v.Tombstone, v.Values)}
	old, ok := s.stored[key]
	switch {
	case !ok || old.version.Less(v.Version):
		s.stored[key] = now
		o.Written++
	case old.version != v.Version:
		o.Stale++
	case old.bytes != now.bytes:
		o.Divergent = append(o.Divergent, batch.Divergence{View: v.View.Name, Entity: v.Entity, Version: v.Version})
	default:
		o.Equal++
	}
}

func (s store) Read(context.Context) (batch.Key, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		return batch.Key{}, false, nil
	}
	return *s.key, true, nil
}

func (s store) Planned(_ context.Context, v features.Version, log string) error {
	return s.effect("planned", func() error {
		if s.key == nil {
			s.key = &batch.Key{Log: log}
		}
		if s.key.Planned.Less(v) {
			s.key.Planned = v
		}
		return nil
	})
}

func (s store) Confirmed(_ context.Context, prev features.Version, k batch.Key) (held bool, err error) {
	err = s.effect("confirmed", func() error {
		if s.key == nil || s.key.Version != prev && s.key.Version.Less(k.Version) {
			return nil
		}
		held = true
		if s.key.Version.Less(k.Version) {
			s.key = &k
		}
		return nil
	})
	return held, err
}

func (s store) Restore(_ context.Context, k batch.Key) error {
	return s.effect("restore", func() error {
		s.key = &k
		return nil
	})
}

func (s store) Beat(context.Context, batch.Heartbeat) error { return nil }
