package random

import (
	"fmt"
	"maps"
	"slices"

	"highwater/batch"
	"highwater/features"
	"highwater/testutil/oracle"
	"highwater/windows"
)

// Model says what a task's position and vectors must be after some plans over a case's log. It reads the plans' cuts and clock readings, and computes all else anew by the words of design.md §3 and §4:
// no tiles, no timers, no state, no versions.
type Model struct {
	Frontier, Watermark int64 // µs
	Counters            batch.Counters

	c       Case
	project *features.Project
	log     [][]Event
	newest  []int64 // by partition: the greatest event time, windows.NoTime before the first
	next    []int64
	clock   int64
	version features.Version
	views   []map[string][]windows.Event // by view, by entity: what it took, late events without the features that they are late for
}

// NewModel returns the model of a case before its first plan. p is the case's project.
func NewModel(c Case, p *features.Project) *Model {
	m := &Model{Frontier: windows.NoTime, Watermark: windows.NoTime, c: c, project: p, log: c.Log(), version: features.Version{Generation: 1}}
	m.Counters = batch.Counters{Reasons: map[string]int64{}, Keyless: map[string]int64{}, LateFeature: map[string]int64{}}
	for range m.log {
		m.newest, m.next = append(m.newest, windows.NoTime), append(m.next, 0)
	}
	for range p.Views {
		m.views = append(m.views, map[string][]windows.Event{})
	}
	return m
}

// Execute executes the next plan. An error is a plan that cannot be the next one.
func (m *Model) Execute(p *batch.Plan) error {
	if m.version.Generation < p.Version.Generation {
		m.version = features.Version{Generation: p.Version.Generation}
	}
	if p.Version != (features.Version{Generation: m.version.Generation, Sequence: m.version.Sequence + 1}) || p.Clock < m.clock || len(p.Slices) != len(m.log) {
		return fmt.Errorf("plan %s, clock %d, %d slices: the one before is %s, clock %d, of %d partitions", p.Version, p.Clock, len(p.Slices), m.version, m.clock, len(m.log))
	}
	m.version, m.clock = p.Version, p.Clock
	m.Counters.Batches++
	before := m.Watermark
	for i, s := range p.Slices {
		if s.Start != m.next[i] || s.End < s.Start || s.End > int64(len(m.log[i])) {
			return fmt.Errorf("plan %s reads %s from %d to %d: the last one ended at %d, the log at %d", p.Version, s.Partition, s.Start, s.End, m.next[i], len(m.log[i]))
		}
		for ; m.next[i] < s.End; m.next[i]++ {
			m.read(p, i, m.next[i], before)
		}
	}
	m.mark(p)
	return nil
}

// read reads the record at an offset of a partition.
func (m *Model) read(p *batch.Plan, part int, offset, watermark int64) {
	e := m.log[part][offset]
	s := m.project.Sources[e.Source]
	reading := p.Clock
	if m.c.Clock == features.EventClock {
		reading = e.Stamp
	}
	switch {
	case e.Bad != "":
		m.reject(e.Bad)
		return
	case reading > 0 && e.Time > reading+MaxFuture.Microseconds():
		m.reject(batch.ReasonAbsurd)
		return
	}
	m.Counters.Events++
	if m.newest[part] != windows.NoTime && e.Time < m.newest[part]-s.MaxLateness.Microseconds() {
		m.Counters.Late++
		m.Counters.Reasons[string(batch.ReasonLate)]++
		return
	}
	m.newest[part] = max(m.newest[part], e.Time)
	row := e.Row(m.c.Sources[e.Source])
	for i, v := range m.project.Views {
		if v.Source == s && (v.Where == nil || v.Where(row).Bool()) {
			m.take(i, v, e, row, offset, watermark)
		}
	}
}

func (m *Model) reject(why batch.Reason) {
	m.Counters.DeadLetter++
	m.Counters.Reasons[string(why)]++
}

// take gives an event to a view.
func (m *Model) take(view int, v *features.View, e Event, row []windows.Value, offset, watermark int64) {
	var keys []windows.Value
	for _, k := range v.Entity.JoinKeys {
		key := row[map[string]int{"user": 0, "item": 1}[k.Name]]
		if key.IsNull() || key == windows.StringOf("") {
			m.Counters.Keyless[v.Name]++
			return
		}
		keys = append(keys, key)
	}
	text, _ := features.AppendEntity(nil, keys...)
	ev := windows.Event{Time: e.Time, Partition: int32(e.Partition), Offset: offset, Takes: make([]uint64, (len(v.Features)+63)/64)}
	for i, f := range v.Features {
		switch {
		case f.Spec.Aggregate == "" || f.Where != nil && !f.Where(row).Bool():
		case watermark != windows.NoTime && oracle.Closed(f.Spec.Window, e.Time, watermark):
			m.Counters.LateFeature[v.Name+":"+f.Name]++
		default:
			ev.Takes[i/64] |= 1 << (i % 64)
		}
	}
	for _, c := range v.Columns {
		ev.Args = append(ev.Args, row[c])
	}
	m.views[view][string(text)] = append(m.views[view][string(text)], ev)
}

// mark moves the frontier and the watermark to where a plan and its records have brought them.
func (m *Model) mark(p *batch.Plan) {
	m.Frontier = max(m.Frontier, slices.Max(m.newest))
	caughtUp, idle := true, true
	for _, s := range p.Slices {
		caughtUp = caughtUp && s.End == s.LogEnd
		idle = idle && s.Idle
	}
	if m.c.Clock == features.WallClock && caughtUp {
		m.Frontier = max(m.Frontier, p.Clock)
	}
	least, counted := int64(windows.Never), false
	for i, s := range p.Slices {
		lateness := m.project.Sources[slices.IndexFunc(m.c.Sources, func(c Source) bool { return c.Name == s.Partition.Source })].MaxLateness.Microseconds()
		of := int64(windows.NoTime)
		if m.newest[i] != windows.NoTime {
			of = m.newest[i] - lateness
		}
		switch {
		case m.c.Clock == features.WallClock && idle:
			of = p.Clock - lateness
		case m.c.Clock == features.WallClock && s.Idle, m.c.Clock == features.EventClock && p.Final && m.newest[i] == windows.NoTime:
			continue
		}
		least, counted = min(least, of), true
	}
	if counted {
		m.Watermark = max(m.Watermark, least)
	}
}

// Done reports whether the whole log has been read.
func (m *Model) Done() bool {
	for i := range m.log {
		if m.next[i] < int64(len(m.log[i])) {
			return false
		}
	}
	return true
}

// Vectors returns what the store must hold: by view and entity its values, or nil for a tombstone.
func (m *Model) Vectors() map[string][]windows.Value {
	want := map[string][]windows.Value{}
	for i, v := range m.project.Views {
		specs := Specs(v)
		for text, events := range m.views[i] {
			key := v.Name + "\x00" + text
			want[key] = nil
			if !oracle.Expired(events, v.TTL.Microseconds(), m.Frontier) {
				want[key] = oracle.Values(specs, events, m.Frontier, m.Watermark)
			}
		}
	}
	return want
}

// Specs returns the specs of a view's features.
func Specs(v *features.View) []windows.Spec {
	var specs []windows.Spec
	for _, f := range v.Features {
		specs = append(specs, f.Spec)
	}
	return specs
}

// DiffCounters says in what counters differ from the model's, as far as it counts; "" for nothing.
func (m *Model) DiffCounters(got batch.Counters) string {
	want := m.Counters
	if got.Events != want.Events || got.Batches != want.Batches || got.Late != want.Late || got.DeadLetter != want.DeadLetter ||
		!maps.Equal(got.Reasons, want.Reasons) || !maps.Equal(got.Keyless, want.Keyless) || !maps.Equal(got.LateFeature, want.LateFeature) {
		return fmt.Sprintf("counters %+v, want %+v", got, want)
	}
	return ""
}
