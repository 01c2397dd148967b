package model

// start is a process's start on its directory: it looks whether the vectors in Redis are of another cut, claims the task, and finds out whether anything must be republished (§5). False where the bounds of the world do not hold what would come.
func (m *machine) start(w *World, i int8) bool {
	o := &w.Owners[i]
	o.Told, o.Confirmed, o.Moved, o.Withheld, o.Pass = false, 0, false, false, 0
	key := m.key(w)
	if m.Rises && m.anotherCut(w, o) && !m.raise(w, i) {
		return false
	}
	key.Owner, key.Log = i, o.Log
	if m.ClaimsFirst {
		key.Planned = newest(key.Planned, o.Version)
	}
	o.Withheld = o.Withheld || m.MendsBehind && key.Version.less(o.Version)
	return true
}

// anotherCut reports whether a directory goes on from another cut than the vectors in Redis were written from: it knows less than was planned, or has another plan log.
func (m *machine) anotherCut(w *World, o *Owner) bool {
	key := m.key(w)
	return !m.SharedPlans && (newest(o.Version, o.Plan.Version).less(key.Planned) || o.Version.Generation == key.Planned.Generation && o.Log != key.Log)
}

// raise begins a new generation, from the state as it stands: whatever was published counts as published under it, and is to be republished.
func (m *machine) raise(w *World, i int8) bool {
	o, key := &w.Owners[i], m.key(w)
	g := o.Version.Generation
	if m.LooksAtKey {
		g = max(g, key.Planned.Generation, key.Version.Generation)
	}
	if g++; g > maxGeneration {
		return false
	}
	o.Version, o.Plan = Version{Generation: g}, Plan{}
	w.Logs++
	o.Log, o.Opening = w.Logs, o.Frontier
	for e := range int8(entities) {
		_, known := m.value(e, o.Events, o.Frontier, o.Definitions)
		if o.Recorded[e] = (Record{}); known {
			o.Recorded[e] = Record{o.Version, o.Frontier, o.Definitions}
		}
	}
	o.Told, o.Confirmed, o.Moved, o.Withheld, o.Pass = false, 0, false, true, 0
	if m.ClaimsFirst {
		key.Planned, key.Log = o.Version, o.Log
	}
	return true
}

// sweep writes a tombstone over every vector that a lower generation has left, once the task key has moved to this one.
func (m *machine) sweep(w World, i int8, to emit) {
	o := &w.Owners[i]
	if g := o.Version.Generation; !m.Sweeps || g == 1 || m.key(&w).Swept >= g || m.mustRepublish(&w, o) || m.superseded(&w, i) || m.late(&w, o.Reading) {
		return
	}
	n := w
	last := Version{o.Version.Generation - 1, lastSequence} // above all of the generations before, below this one
	for e := range int8(entities) {
		if v := m.vector(&n, e); v.live() && v.Version.Generation < o.Version.Generation {
			m.upsert(&n, e, Vector{Version: last, Value: tombstone, Frontier: o.Opening, Definitions: o.Definitions}, o.Reading)
		}
	}
	m.key(&n).Swept = o.Version.Generation
	to(step("owner %c sweeps away what generations below %d have left", who(i), o.Version.Generation), n)
}
