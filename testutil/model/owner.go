package model

// emit is told of a world one step away.
type emit func(Step, World)

// owner takes every step that an owner may take next.
func (m *machine) owner(w World, i int8, to emit) {
	o := &w.Owners[i]
	if !o.Runs {
		return
	}
	if m.superseded(&w, i) {
		m.stop(w, i, to) // its heartbeat tells it, or its next call about the task key; until then it goes on
	}
	if o.Plan == (Plan{}) {
		m.plan(w, i, to)
		m.redefine(w, i, to)
	} else {
		m.batch(w, i, to)
	}
	m.republish(w, i, to)
	m.sweep(w, i, to)
	m.die(w, i, to)
}

// plan makes a plan of every cut that there is, or takes the one that was there first (I2).
func (m *machine) plan(w World, i int8, to emit) {
	o := &w.Owners[i]
	next := Version{o.Version.Generation, o.Version.Sequence + 1}
	if next.Sequence > maxSequence || o.Deployed != o.Definitions {
		return
	}
	if m.SharedPlans && w.Plans[next.Sequence] != (Plan{}) {
		n := w
		n.Owners[i].Plan = w.Plans[next.Sequence]
		to(step("owner %c takes the plan of %d.%d that was there first: events up to %d", who(i), next.Generation, next.Sequence, n.Owners[i].Plan.End), n)
		if m.FirstPlanWins {
			return
		}
	}
	for end := o.Position; end <= w.Available; end++ {
		p := Plan{Version: next, Start: o.Position, End: end, Reading: w.Clock, CaughtUp: m.Wall && end == w.Available, Definitions: o.Definitions}
		if end == o.Position && m.frontier(&w, o.Frontier, p) == o.Frontier && !m.needsReading(&w, o) {
			continue // nothing can change
		}
		n := w
		n.Owners[i].Plan = p
		if m.SharedPlans && m.PlanFirst && w.Plans[next.Sequence] == (Plan{}) {
			n.Plans[next.Sequence] = p
		}
		to(step("owner %c plans %d.%d: events up to %d, at clock reading %d", who(i), next.Generation, next.Sequence, end, w.Clock), n)
	}
}

// needsReading reports whether a republish waits for a newer clock reading, which only a plan has.
func (m *machine) needsReading(w *World, o *Owner) bool {
	return m.mustRepublish(w, o) && m.late(w, o.Reading)
}

// batch takes the steps of the batch in hand, in the order of batch/doc.go: planned, vectors, confirmed, commit.
func (m *machine) batch(w World, i int8, to emit) {
	o := &w.Owners[i]
	v := o.Plan.Version
	if !o.Told {
		n := w
		if m.tellPlanned(&n, i) {
			to(step("owner %c tells the task key that %d.%d is planned", who(i), v.Generation, v.Sequence), n)
		}
		return
	}
	next, changed := m.after(&w, o)
	for e := range int8(entities) {
		if changed&^o.Confirmed&(1<<e) == 0 {
			continue
		}
		x, _ := m.value(e, next.Events, next.Frontier, next.Definitions)
		call := Call{Kind: upsert, Entity: e, Vector: Vector{Version: v, Value: x, Frontier: next.Frontier, Definitions: next.Definitions}, Reading: o.Plan.Reading}
		m.send(w, i, call, func(o *Owner) { o.Confirmed |= 1 << e }, to)
	}
	if changed&^o.Confirmed == 0 && !o.Moved {
		m.move(w, i, next, to)
	}
	if o.Moved {
		n := w
		n.Owners[i].commit(next)
		to(step("owner %c commits %d.%d", who(i), v.Generation, v.Sequence), n)
	}
	m.commitWrongly(w, i, next, to)
}

// tellPlanned moves the task key's planned sequence before the batch publishes; false where the task is another's now.
func (m *machine) tellPlanned(w *World, i int8) bool {
	if m.superseded(w, i) {
		return false
	}
	key, v := m.key(w), w.Owners[i].Plan.Version
	if m.PlannedFirst && (m.ClaimsFirst || key.Version.Generation == v.Generation) {
		key.Planned = newest(key.Planned, v)
	}
	w.Owners[i].Told = true
	return true
}

// send sends an upsert: its answer comes; or is lost, so that it is sent again; or the process dies with the call on its way.
func (m *machine) send(w World, i int8, c Call, confirmed func(*Owner), to emit) {
	v := c.Vector
	applied := w
	refused := m.upsert(&applied, c.Entity, v, c.Reading)
	answered := applied
	o := &answered.Owners[i]
	confirmed(o)
	if refused {
		o.Withheld, o.Pass = true, 0
		to(step("owner %c sends %c at %d.%d: refused, too late", who(i), entity(c.Entity), v.Version.Generation, v.Version.Sequence), answered)
		return
	}
	to(step("owner %c sends %c at %d.%d: %d as of %d", who(i), entity(c.Entity), v.Version.Generation, v.Version.Sequence, v.Value, v.Frontier), answered)
	if m.Unanswered && applied != w {
		to(step("owner %c sends %c at %d.%d: %d as of %d; it is applied, and the answer is lost", who(i), entity(c.Entity), v.Version.Generation, v.Version.Sequence, v.Value, v.Frontier), applied)
	}
	if m.Strays && w.Stray.Kind == noCall && w.Left.Crashes > 0 {
		n := w
		m.crash(&n, i)
		n.Stray = c
		to(step("owner %c dies with %c at %d.%d on its way, and starts again", who(i), entity(c.Entity), v.Version.Generation, v.Version.Sequence), n)
	}
}

// move moves the task key after a batch's vectors are confirmed, or withholds it.
func (m *machine) move(w World, i int8, next Directory, to emit) {
	v := next.Version
	n := w
	if m.superseded(&n, i) {
		return
	}
	o := &n.Owners[i]
	o.Moved = true
	if m.Withhold && o.Withheld || !m.confirm(&n, o.Version, keyAt(next)) {
		o.Withheld = true
		to(step("owner %c withholds the task key at %d.%d", who(i), v.Generation, v.Sequence), n)
		return
	}
	to(step("owner %c moves the task key to %d.%d", who(i), v.Generation, v.Sequence), n)
	if m.Strays && w.Stray.Kind == noCall && w.Left.Crashes > 0 {
		n := w
		m.crash(&n, i)
		n.Stray = Call{Kind: confirm, Prev: w.Owners[i].Version, Key: keyAt(next)}
		to(step("owner %c dies with the task key's move to %d.%d on its way, and starts again", who(i), v.Generation, v.Sequence), n)
	}
}

// stop ends an owner that finds that the task is another's now.
func (m *machine) stop(w World, i int8, to emit) {
	w.Owners[i] = Owner{}
	to(step("owner %c finds itself superseded, and stops", who(i)), w)
}

// commit makes the batch's outcome durable, state and position in one write (I5).
func (o *Owner) commit(next Directory) {
	o.Directory = next
	o.Told, o.Confirmed, o.Moved = false, 0, false
}

// commitWrongly commits as it would be without I5: before everything is confirmed, or the position before the state. The process dies right after.
func (m *machine) commitWrongly(w World, i int8, next Directory, to emit) {
	if w.Left.Crashes == 0 {
		return
	}
	if !m.CommitAfterSinks && !w.Owners[i].Moved {
		n := w
		n.Owners[i].commit(next)
		m.crash(&n, i)
		to(step("owner %c commits %d.%d before all is confirmed, dies, and starts again", who(i), next.Version.Generation, next.Version.Sequence), n)
	}
	if !m.OneCommit && w.Owners[i].Moved {
		n := w
		d := &n.Owners[i].Directory
		d.Version, d.Position, d.Plan = next.Version, next.Position, Plan{}
		m.crash(&n, i)
		to(step("owner %c commits the position of %d.%d, dies before the state is written, and starts again", who(i), next.Version.Generation, next.Version.Sequence), n)
	}
}

// redefine begins a new generation under definitions that mean something else, once no plan of those before is pending.
func (m *machine) redefine(w World, i int8, to emit) {
	n := w
	o := &n.Owners[i]
	if o.Deployed == o.Definitions {
		return
	}
	o.Definitions = o.Deployed
	if m.raise(&n, i) {
		to(step("owner %c begins generation %d, under the new definitions", who(i), o.Version.Generation), n)
	}
}
