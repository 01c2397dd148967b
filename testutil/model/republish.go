package model

// mustRepublish reports whether an owner has to write again what it has published: something may be missing from Redis.
func (m *machine) mustRepublish(w *World, o *Owner) bool { return w.Doubted || o.Withheld }

// republish takes the next step of a republish: entity by entity, between batches, from a state as new as anything published.
func (m *machine) republish(w World, i int8, to emit) {
	o := &w.Owners[i]
	if m.FromNewest && m.pending(&w, o) {
		return
	}
	switch {
	case o.Pass == 0:
		if !m.mustRepublish(&w, o) || m.late(&w, o.Reading) || m.superseded(&w, i) {
			return
		}
		n := w
		n.Owners[i].Pass = 1
		to(step("owner %c begins to republish", who(i)), n)
	case o.Pass <= entities:
		e := o.Pass - 1
		if o.Recorded[e] == (Record{}) {
			n := w
			n.Owners[i].Pass++
			to(step("owner %c has nothing of %c to republish", who(i), entity(e)), n)
			return
		}
		m.send(w, i, Call{Kind: upsert, Entity: e, Vector: m.recorded(&o.Directory, e), Reading: o.Reading}, func(o *Owner) { o.Pass++ }, to)
	default:
		m.endRepublish(w, i, to)
	}
}

// pending reports whether there is a plan that the committed state is behind: some of its vectors may be in Redis.
func (m *machine) pending(w *World, o *Owner) bool {
	next := o.Version.Sequence + 1
	return o.Plan != (Plan{}) || m.SharedPlans && next <= maxSequence && w.Plans[next] != (Plan{})
}

// endRepublish lets the task key move again, and moves it to the committed state.
func (m *machine) endRepublish(w World, i int8, to emit) {
	if m.superseded(&w, i) {
		return
	}
	o := &w.Owners[i]
	o.Pass, o.Withheld, w.Doubted, w.Lost = 0, false, false, false
	if key := m.key(&w); !m.KeyByVersion || key.Version.less(o.Version) {
		m.moveKey(&w, keyAt(o.Directory))
	}
	to(step("owner %c has republished; the task key is at %d.%d", who(i), m.key(&w).Version.Generation, m.key(&w).Version.Sequence), w)
}
