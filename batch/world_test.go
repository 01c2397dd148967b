package batch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
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
	logID    string
	raised   []raised
	topicIDs []string

	topic *topic // where the plans are kept instead, for two worlds to share; nil for the directory

	*server

	calls     int
	crashAt   int // the call at which the process dies; 0 for never
	died      bool
	trace     []string
	stale     int
	announced int
	fail      func(call string) error // a fault: the call fails, and is retried

	pauseAt int           // the call at which the process stops to move, as in a virtual machine that is put to sleep; 0 for never
	paused  chan struct{} // closed when it has
	frozen  chan struct{} // closed when it goes on; nil where it moves
}

// raised is a generation as the directory was told to begin it.
type raised struct {
	position batch.Position
	empty    bool
}

// topic is a plan log outside any directory.
type topic struct {
	mu    sync.Mutex // guards plans
	plans []*batch.Plan
}

// share puts a world's plan log into a topic.
func (w *world) share(t *topic) { w.topic, w.logID = t, "plan topic" }

// server is the store. Two worlds may share one: two directories on one task.
type server struct {
	storeMu   sync.Mutex // guards what follows, where worlds share it
	stored    map[string]stored
	key       *batch.Key
	restoring bool   // the key bears the mark of a republish
	claimed   uint32 // what the store remembers beside the key
	owner     string // of the key; a higher one, compared as text, is a later one
	claims    int
	beat      *batch.Heartbeat
	dead      []batch.DeadLetter

	primaries int // rises with each failover, from 1
	known     int // the primaries that the key knows
	doubted   int // the primaries when vectors were first missed; 0 for no doubt

	greatest map[string]features.Version // by key, the greatest version that was ever stored there, and was not lost by the store
	backward []string                    // keys that went back below it
	ahead    []string                    // vectors that were missing or older than the state knew them published when the task key was moved
	applied  []batch.Output              // every call that was applied, for those that come twice
	ttl      time.Duration               // how long tombstones live
}

type stored struct {
	version   features.Version
	bytes     string
	tombstone bool
	vector    features.Vector
	expires   time.Time // a tombstone
}

type timerKey struct {
	clock batch.TimerClock
	at    int64
	view  string
	text  string
}

var errDead = errors.New("the process is dead")

func newWorld(p *features.Project, log [][]batch.Record) *world {
	w := newWorldOf(p, log)
	s := p.Sources[0]
	for i := range log {
		w.parts = append(w.parts, batch.Partition{Source: s.Name, Topic: s.Topic, Number: int32(i)})
	}
	return w
}

// newWorldOf is a world whose partitions are yet to be named.
func newWorldOf(p *features.Project, log [][]batch.Record) *world {
	w := &world{project: p, log: log, state: map[string][]byte{}, timers: map[timerKey]bool{}, server: &server{stored: map[string]stored{}, greatest: map[string]features.Version{}, primaries: 1, known: 1, ttl: 7 * 24 * time.Hour}, logID: "log"}
	for i := range log {
		w.avail = append(w.avail, len(log[i]))
		w.topicIDs = append(w.topicIDs, "topic")
	}
	return w
}

// setFail begins a fault, or ends it, while a process runs.
func (w *world) setFail(fail func(call string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = fail
}

// step is a point at which the process may die. Once it is dead, nothing that it does has an effect any more.
func (w *world) step(call string) error {
	w.calls++
	if w.calls == w.crashAt {
		w.died = true
		w.trace = append(w.trace, "died: "+call)
	}
	if w.calls == w.pauseAt {
		w.frozen = make(chan struct{})
		close(w.paused)
	}
	w.thawed()
	if w.died {
		return batch.Permanent(errDead)
	}
	if w.fail != nil {
		return w.fail(call)
	}
	return nil
}

// thawed waits, with the lock let go, for as long as the process does not move.
func (w *world) thawed() {
	for w.frozen != nil {
		frozen := w.frozen
		w.mu.Unlock()
		<-frozen
		w.mu.Lock()
	}
}

// moves waits for as long as the process does not move, and reports whether it is alive.
func (w *world) moves() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.thawed()
	return !w.died
}

// wake lets a process that was put to sleep move again.
func (w *world) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.frozen)
	w.frozen = nil
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
	redis := &store{world: w}
	o := batch.Options{
		Project:     w.project,
		Definitions: func(string) (*features.Project, error) { return w.project, nil },
		Rebind:      func(*features.Project) error { return nil },
		Decoder:     decode.New,
		Source:      &source{world: w}, Plans: planLog{w}, State: &memory{world: w}, Sinks: []batch.Sink{redis}, Key: redis, Announce: func(context.Context) error { w.announced++; return nil },
		Now: time.Now, TombstoneTTL: w.ttl, Metrics: batch.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Complete: complete, Owner: "worker",
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

func (s *source) TopicIDs() []string { return s.topicIDs }

func (s *source) OffsetsAt(context.Context, int64) ([]int64, error) {
	return nil, errors.New("the world's log has no timestamps to look for")
}

func (s *source) Start(_ context.Context, places []batch.Place) error {
	s.next = nil
	for i := range places {
		places[i].Next = max(places[i].Next, 0)
		s.next = append(s.next, places[i].Next)
	}
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

func (l planLog) ID() string { return l.logID }

func (l planLog) Append(_ context.Context, p *batch.Plan) (*batch.Plan, error) {
	won := p
	err := l.effect("plan", func() error {
		if l.topic == nil {
			l.plans = append(l.plans, p)
			return nil
		}
		l.topic.mu.Lock()
		defer l.topic.mu.Unlock()
		if i := slices.IndexFunc(l.topic.plans, func(there *batch.Plan) bool { return there.Version == p.Version }); i >= 0 {
			won = l.topic.plans[i]
			return nil
		}
		l.topic.plans = append(l.topic.plans, p)
		return nil
	})
	return won, err
}

func (l planLog) After(_ context.Context, v features.Version) ([]*batch.Plan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.step("pending"); err != nil {
		return nil, err
	}
	plans := l.plans
	if l.topic != nil {
		l.topic.mu.Lock()
		defer l.topic.mu.Unlock()
		plans = l.topic.plans
	}
	var after []*batch.Plan
	for _, p := range plans {
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

func (m *memory) Entities(view int) (n int64) {
	_ = m.Scan(context.Background(), view, "", func(*batch.Entity) error { n++; return nil })
	return n
}

func (m *memory) Raise(_ context.Context, p batch.Position, empty bool) error {
	return m.effect("raise", func() error {
		m.world.position, m.world.logID = &p, fmt.Sprintf("log of generation %d, %d", p.Version.Generation, m.claims)
		m.raised = append(slices.Clip(m.raised), raised{p, empty})
		if empty {
			m.world.state, m.world.timers = map[string][]byte{}, map[timerKey]bool{}
		}
		return nil
	})
}

func (m *memory) Scan(_ context.Context, view int, after string, each func(*batch.Entity) error) error {
	name := m.project.Views[view].Name
	for _, k := range slices.Sorted(maps.Keys(m.state)) {
		if len(k) > len(name) && k[:len(name)+1] == name+"\x00" && k[len(name)+1:] > after {
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
	if at := m.position; p.Version != (features.Version{}) && p.Version.Generation < at.Version.Generation {
		p.Version, p.Frontier, p.Watermark, p.Schema = features.Version{Generation: at.Version.Generation}, at.Opening.Frontier, at.Opening.Watermark, m.project.Views[view].Schema.ID
		if p.Tombstone {
			p.Until = at.Opening.Until
		}
	}
	e.Windows, err = m.project.Views[view].Machine.Decode(b[slices.Index(b, '|')+1:])
	return e, err
}

// store is the world's Redis: the version rule, as simply as it can be said.
type store struct {
	*world
	mine string // the owner that this process claimed as
}

func (s *store) Name() string { return "store" }

func (s *store) Publish(_ context.Context, out *batch.Output) (batch.Outcome, error) {
	var o batch.Outcome
	err := s.effect("publish", func() error {
		s.storeMu.Lock()
		defer s.storeMu.Unlock()
		s.apply(out, &o)
		for _, d := range out.DeadLetters {
			d.Value = slices.Clone(d.Value)
			s.dead = append(s.dead, d)
		}
		s.stale += o.Stale
		return nil
	})
	return o, err
}

// apply is one call of the upserts' script: refused where tombstones may have gone that would have held it off.
func (s *server) apply(out *batch.Output, o *batch.Outcome) {
	if time.Now().After(time.UnixMicro(out.Clock).Add(s.ttl - time.Second)) {
		o.Refused += len(out.Vectors)
		return
	}
	call := batch.Output{Version: out.Version, Clock: out.Clock}
	for _, v := range out.Vectors {
		v.Values = slices.Clone(v.Values)
		call.Vectors = append(call.Vectors, v)
		s.upsert(v, o)
	}
	s.applied = append(s.applied, call)
}

func (s *server) upsert(v features.Vector, o *batch.Outcome) {
	key := v.View.Name + "\x00" + v.Entity
	now := stored{version: v.Version, tombstone: v.Tombstone, vector: v, bytes: fmt.Sprint(v.Version, v.Frontier, v.EventTime, v.Tombstone, v.Values), expires: time.Now().Add(s.ttl)}
	old, ok := s.stored[key]
	switch {
	case !ok || old.version.Less(v.Version) || old.tombstone && time.Now().After(old.expires):
		if v.Version.Less(s.greatest[key]) {
			s.backward = append(s.backward, fmt.Sprintf("%q from %s to %s", key, s.greatest[key], v.Version))
		}
		s.stored[key], s.greatest[key] = now, v.Version
		o.Written++
	case old.version != v.Version:
		o.Stale++
	case old.bytes != now.bytes:
		o.Divergent = append(o.Divergent, batch.Divergence{View: v.View.Name, Entity: v.Entity, Version: v.Version})
	default:
		o.Equal++
	}
}

// failOver makes another primary of the store's: one that does not have the vectors for which lost holds, nor, where it is told so, the task key.
func (s *server) failOver(lost func(key string) bool, taskKey bool) {
	s.storeMu.Lock()
	defer s.storeMu.Unlock()
	s.primaries++
	for key := range s.stored {
		if lost(key) {
			delete(s.stored, key)
			delete(s.greatest, key)
		}
	}
	if taskKey {
		s.key = nil
	}
}

// doubt remembers the primaries as they were when vectors were first missed.
func (s *server) doubt() {
	if s.doubted == 0 {
		s.doubted = s.primaries
	}
}

// owned does what an owner may do: not where another has claimed the task since.
func (s *store) owned(call string, log string, generation uint32, apply func()) error {
	return s.effect(call, func() error {
		s.storeMu.Lock()
		defer s.storeMu.Unlock()
		if k := s.key; k != nil && (s.mine < s.owner || generation < k.Planned.Generation || generation == k.Planned.Generation && log != k.Log) {
			return batch.Permanent(&batch.SupersededError{Ours: s.mine, Theirs: s.owner})
		}
		apply()
		return nil
	})
}

func (s *store) Read(context.Context) (batch.Key, bool, error) {
	s.mu.Lock()
	err := s.step("read")
	s.mu.Unlock()
	if err != nil {
		return batch.Key{}, false, err
	}
	s.storeMu.Lock()
	defer s.storeMu.Unlock()
	if s.key == nil {
		s.doubt()
		return batch.Key{Claimed: s.claimed}, false, nil
	}
	k := *s.key
	k.Claimed, k.Owner = max(s.claimed, k.Planned.Generation), s.owner
	if s.mine != "" && s.mine < s.owner {
		return k, true, batch.Permanent(&batch.SupersededError{Ours: s.mine, Theirs: s.owner})
	}
	if s.known != s.primaries {
		s.doubt()
		k.Lost = "a primary has failed over"
	}
	return k, true, nil
}

func (s *store) Owner(context.Context) (batch.Heartbeat, bool, error) {
	s.storeMu.Lock()
	defer s.storeMu.Unlock()
	if s.beat == nil {
		return batch.Heartbeat{}, false, nil
	}
	return *s.beat, true, nil
}

func (s *store) Claim(_ context.Context, c batch.Claim) error {
	s.storeMu.Lock()
	s.claims++
	s.mine = fmt.Sprintf("%04d %s", s.claims, c.Owner)
	if c.Owner == "" {
		s.mine = ""
	}
	s.storeMu.Unlock()
	return s.owned("claim", c.Log, c.Version.Generation, func() {
		s.owner = s.mine
		s.claimed = max(s.claimed, c.Version.Generation)
		s.make(c.Log, c.Version)
	})
}

// make makes the key where there is none, and moves what is planned.
func (s *store) make(log string, planned features.Version) {
	if s.key == nil {
		s.key, s.restoring, s.known = &batch.Key{}, false, s.primaries
	}
	s.owner, s.key.Log = s.mine, log
	if s.key.Planned.Less(planned) {
		s.key.Planned = planned
	}
}

func (s *store) Planned(_ context.Context, v features.Version, log string) error {
	return s.owned("planned", log, v.Generation, func() { s.make(log, v) })
}

func (s *store) Confirmed(_ context.Context, prev features.Version, k batch.Key) (held bool, err error) {
	err = s.owned("confirmed", k.Log, k.Version.Generation, func() {
		if s.key == nil || s.known != s.primaries || s.key.Version != prev && s.key.Version.Less(k.Version) {
			s.doubt()
			return
		}
		held, s.doubted = true, 0
		s.move(k)
	})
	return held, err
}

// move moves the key up.
func (s *store) move(k batch.Key) {
	s.lookAhead(k)
	if s.key.Version.Less(k.Version) {
		k.Swept = s.key.Swept
		s.key = &k
	}
}

// lookAhead notes what a key that is moved to k promises to readers and the store does not hold: as_of would say too much.
func (s *store) lookAhead(k batch.Key) {
	m := &memory{world: s.world}
	for view := range s.project.Views {
		_ = m.Scan(context.Background(), view, "", func(e *batch.Entity) error {
			key := s.project.Views[view].Name + "\x00" + e.Text
			p := e.Published
			if v, held := s.stored[key]; (!held || v.version.Less(p.Version)) && !(p.Tombstone && p.Until <= s.position.Clock) {
				s.ahead = append(s.ahead, fmt.Sprintf("the task key moved to %s while %q was at %s, and not at %s", k.Version, key, v.version, p.Version))
			}
			return nil
		})
	}
}

func (s *store) Restoring(_ context.Context, k batch.Key) error {
	return s.owned("restoring", k.Log, k.Version.Generation, func() {
		s.make(k.Log, k.Version)
		s.restoring = true
	})
}

func (s *store) Restore(_ context.Context, k batch.Key) (held bool, err error) {
	err = s.owned("restore", k.Log, k.Version.Generation, func() {
		if s.doubted > 0 && s.doubted != s.primaries { // more may have been lost
			s.doubted = s.primaries
			return
		}
		if held = s.key != nil && s.restoring; held {
			s.move(k)
			s.restoring = false
			if s.doubted > 0 {
				s.known, s.doubted = s.doubted, 0
			}
		}
	})
	return held, err
}

func (s *store) Sweep(_ context.Context, opening features.Version, _, frontier int64, pace func(int) error) (swept int64, err error) {
	s.storeMu.Lock()
	keys := len(s.stored)
	s.storeMu.Unlock()
	if err := pace(keys); err != nil {
		return 0, err
	}
	err = s.effect("sweep", func() error {
		s.storeMu.Lock()
		defer s.storeMu.Unlock()
		for key, v := range s.stored {
			if v.version.Generation < opening.Generation {
				last := features.Version{Generation: opening.Generation - 1, Sequence: math.MaxUint32} // above all of the generations before, below this one
				if v.version.Less(last) && !v.tombstone {
					s.stored[key] = stored{version: last, tombstone: true, bytes: fmt.Sprint(last, frontier, "swept"), expires: time.Now().Add(s.ttl)}
					s.greatest[key] = last
					swept++
				}
			}
		}
		s.key.Swept = opening.Generation
		return nil
	})
	return swept, err
}

func (s *store) Beat(_ context.Context, b batch.Heartbeat) error {
	alive := s.moves()
	s.storeMu.Lock()
	defer s.storeMu.Unlock()
	if alive {
		s.beat = &b
	}
	return nil
}
