package windows

import (
	"slices"
	"unsafe"
)

// Entity is the state of one entity of one view: its tiles, kept events and lifetime aggregates, and its newest event time.
// It belongs to the machine that made it, and to one goroutine at a time.
type Entity struct {
	eventTime int64
	tracks    []tiles  // one a track of the machine
	exacts    []events // one an exact feature
}

// EventTime returns the newest event time applied; NoTime for none.
func (e *Entity) EventTime() int64 { return e.eventTime }

// Tally counts, by feature, what an operator wants to know of; each slice has one element a feature.
type Tally struct {
	Late     []int64 // events in a window already closed
	Overflow []int64 // values nulled by arithmetic overflow
	Limit    []int64 // values nulled by their limit
}

// NewTally returns a zero tally for m's features.
func (m *Machine) NewTally() *Tally {
	n := len(m.specs)
	counts := make([]int64, 3*n)
	return &Tally{Late: counts[:n:n], Overflow: counts[n : 2*n : 2*n], Limit: counts[2*n:]}
}

// note counts a value that is null for a reason. A nil tally counts nothing.
func (t *Tally) note(feature int, why fault) {
	switch {
	case why == sound || t == nil:
	case why == overflowed:
		t.Overflow[feature]++
	default:
		t.Limit[feature]++
	}
}

// New returns an entity without events.
func (m *Machine) New() *Entity {
	e := &Entity{eventTime: NoTime}
	if len(m.tracks) > 0 {
		e.tracks = make([]tiles, len(m.tracks))
	}
	if len(m.exacts) > 0 {
		e.exacts = make([]events, len(m.exacts))
	}
	return e
}

// Apply adds one event to e, whose time lies in the years 1 to 9999. watermark is the task's, as last committed: it judges windows already closed, before nulls are skipped.
// ev.Takes needs a bit for every feature, and ev.Args an element for every Spec.Arg, of the Spec's Input kind or null; neither is kept.
func (m *Machine) Apply(e *Entity, ev *Event, watermark int64, t *Tally) {
	e.eventTime = max(e.eventTime, ev.Time)
	for i := range m.tracks {
		m.tracks[i].apply(&e.tracks[i], ev, watermark, t)
	}
	for i := range m.exacts {
		m.exacts[i].apply(&e.exacts[i], ev)
	}
}

// Result is what Advance found.
type Result struct {
	Values    []Value // appended to the dst given; one a feature in declared order; nil when Expired
	Expired   bool    // newest event time + ttl ≤ frontier: what readers see is a tombstone
	Empty     bool    // no tile, event or lifetime aggregate is left
	Frontier  int64   // the next fire time by the frontier; Never for none
	Watermark int64   // the next fire time by the watermark; Never for none
}

// Advance moves e to (frontier, watermark), forgets what no window will need, and returns the features' values then and the next timers.
//
// Neither clock may go back, and the frontier may not be behind an event that was applied. Until a clock reaches its timer, or an event comes, neither Values nor Expired change.
// An expired entity changes silently: its timers fire once a clock, when the last of its tiles can go; until then an event finds them as if it had never expired.
// Strings among the values are the entity's or the machine's own: they stay as they are. t counts the values that an overflow or a limit made null.
func (m *Machine) Advance(e *Entity, frontier, watermark int64, dst []Value, t *Tally) Result {
	r := Result{Frontier: Never, Watermark: Never, Empty: true}
	r.Expired = m.expired(e, frontier)
	for i := range m.tracks {
		tr, ts := &m.tracks[i], &e.tracks[i]
		now := tr.span.now(frontier, watermark)
		tr.forget(ts, now)
		r.wait(tr.span, ts.index, now)
	}
	for i := range m.exacts {
		x, es := &m.exacts[i], &e.exacts[i]
		x.forget(es, frontier)
		r.wait(x.span, es.times, frontier)
	}
	if r.Expired {
		return r
	}
	if m.ttl > 0 && e.eventTime != NoTime {
		r.Frontier = min(r.Frontier, e.eventTime+m.ttl)
	}
	r.Values = m.values(e, frontier, watermark, dst, t)
	return r
}

// wait moves r's timers to when the tiles of one span want to be looked at: when what counts changes or, behind a tombstone, when the last of them has ceased to count.
func (r *Result) wait(s span, tiles []int64, now int64) {
	if len(tiles) == 0 {
		return
	}
	r.Empty = false
	timer := &r.Frontier
	switch s.clock {
	case noClock:
		return
	case byWatermark:
		timer = &r.Watermark
	}
	if !r.Expired {
		*timer = min(*timer, s.next(tiles, now))
		return
	}
	if *timer == Never {
		*timer = NoTime
	}
	*timer = max(*timer, s.last(tiles))
}

func (m *Machine) expired(e *Entity, frontier int64) bool {
	return m.ttl > 0 && e.eventTime != NoTime && e.eventTime+m.ttl <= frontier
}

// Values returns the features at (frontier, watermark), which must be those of e's last Advance, appended to dst; nil where they have expired. It changes nothing.
func (m *Machine) Values(e *Entity, frontier, watermark int64, dst []Value) []Value {
	if m.expired(e, frontier) {
		return nil
	}
	return m.values(e, frontier, watermark, dst, nil)
}

func (m *Machine) values(e *Entity, frontier, watermark int64, dst []Value, t *Tally) []Value {
	n := len(dst)
	dst = slices.Grow(dst, len(m.specs))[:n+len(m.specs)]
	values := dst[n:]
	clear(values)
	acc := new(partial)
	for i := range m.tracks {
		tr := &m.tracks[i]
		tr.values(&e.tracks[i], tr.span.now(frontier, watermark), values, acc, t)
	}
	for i := range m.exacts {
		m.exacts[i].value(&e.exacts[i], frontier, values, acc, t)
	}
	for _, i := range m.derive {
		values[i] = m.specs[i].Derive(values)
	}
	return dst
}

// MemoryBytes estimates what e holds in memory.
func (m *Machine) MemoryBytes(e *Entity) int {
	const (
		word = int(unsafe.Sizeof(int64(0)))
		text = int(unsafe.Sizeof(""))
	)
	n := int(unsafe.Sizeof(Entity{}))
	for i := range e.tracks {
		ts := &e.tracks[i]
		n += int(unsafe.Sizeof(tiles{})) + cap(ts.index)*word + cap(ts.partials)*int(unsafe.Sizeof(partial{}))
		for j := range ts.partials {
			if x := ts.partials[j].more; x != nil {
				n += int(unsafe.Sizeof(more{})) + len(x.str) + cap(x.nums)*word + cap(x.strs)*text
				for _, s := range x.strs {
					n += len(s)
				}
			}
		}
	}
	for i := range e.exacts {
		es := &e.exacts[i]
		n += int(unsafe.Sizeof(events{})) + cap(es.times)*word + cap(es.places)*int(unsafe.Sizeof(place{})) + cap(es.args)*int(unsafe.Sizeof(Value{}))
		for _, v := range es.args {
			n += len(v.str)
		}
	}
	return n
}
