package model

// value is what a vector holds: the events of the entity in the window that ends at the frontier. known is false where the state knows no event of it.
func (m *machine) value(entity int8, events uint8, frontier, definitions int8) (value int8, known bool) {
	if definitions == 1 && m.Orphans && entity == 1 {
		return 0, false
	}
	last := int8(0)
	for i, e := range m.Log {
		if e.Entity != entity || events&(1<<i) == 0 {
			continue
		}
		known, last = true, max(last, e.Time)
		if e.Time > frontier-m.Window && e.Time <= frontier {
			value++
		}
	}
	switch {
	case known && m.TTL > 0 && last+m.TTL <= frontier:
		return tombstone, true
	case definitions == 1:
		value += 10 // another meaning
	}
	return value, known
}

// prefix is the events before a position.
func prefix(position int8) uint8 { return 1<<position - 1 }

// after is the state once a plan is executed on it: what is committed when all is confirmed. changed holds the entities whose vectors the batch publishes, a bit each.
func (m *machine) after(w *World, o *Owner) (d Directory, changed uint8) {
	d, p := o.Directory, o.Plan
	d.Version, d.Position, d.Plan = p.Version, p.End, Plan{}
	d.Reading, d.Definitions = p.Reading, p.Definitions
	if !m.DefinitionsInPlan {
		d.Definitions = o.Deployed
	}
	d.Events |= prefix(p.End) &^ prefix(p.Start)
	d.Frontier = m.frontier(w, o.Frontier, p)
	for e := range int8(entities) {
		before, had := m.value(e, o.Events, o.Frontier, o.Definitions)
		now, has := m.value(e, d.Events, d.Frontier, d.Definitions)
		if has && (!had || before != now || m.touches(p, e)) {
			changed |= 1 << e
			d.Recorded[e] = Record{d.Version, d.Frontier, d.Definitions}
		}
	}
	return d, changed
}

// frontier is where a plan moves the frontier to (§4).
func (m *machine) frontier(w *World, f int8, p Plan) int8 {
	for _, e := range m.Log[p.Start:p.End] {
		f = max(f, e.Time)
	}
	reading, caughtUp := p.Reading, p.CaughtUp
	if !m.ReadingInPlan {
		reading = w.Clock
	}
	if !m.CaughtUpInPlan {
		caughtUp = p.End == w.Available
	}
	if m.Wall && caughtUp {
		f = max(f, reading)
	}
	return f
}

func (m *machine) touches(p Plan, entity int8) bool {
	for _, e := range m.Log[p.Start:p.End] {
		if e.Entity == entity {
			return true
		}
	}
	return false
}

// recorded is the vector that a republish writes of an entity: what was last published of it (§5).
func (m *machine) recorded(d *Directory, entity int8) Vector {
	r := d.Recorded[entity]
	v := Vector{Version: r.Version, Frontier: r.Frontier, Definitions: r.Definitions}
	v.Value, _ = m.value(entity, d.Events, d.Frontier, d.Definitions)
	if !m.RecordedVersion {
		v.Version = d.Version
	}
	if !m.RecordedFrontier {
		v.Frontier = d.Frontier
	}
	return v
}

// keyAt is the task key of a committed state.
func keyAt(d Directory) TaskKey {
	return TaskKey{Version: d.Version, Frontier: d.Frontier, Events: d.Events, Definitions: d.Definitions}
}
