package model

import "fmt"

// upsert is the vectors' script, for one vector (§5). refused says that the call came later than tombstones live; it counts as confirmed all the same.
func (m *machine) upsert(w *World, entity int8, v Vector, reading int8) (refused bool) {
	if m.late(w, reading) {
		return true
	}
	old := m.vector(w, entity)
	switch {
	case !old.exists(), old.Version.less(v.Version):
	case old.Version == v.Version:
		same := old.Value == v.Value && old.Frontier == v.Frontier && old.Definitions == v.Definitions
		if !same && m.EqualStays {
			m.fail(Divergent, fmt.Sprintf("%s is stored as %s; the same version comes with %s", name(entity), *old, v))
		}
		if !same && !m.EqualStays {
			m.fail(Rewritten, fmt.Sprintf("%s was stored as %s, and is written over with %s", name(entity), *old, v))
		}
		return false
	case m.NewerOnly:
		return false
	}
	m.checkForward(w, entity, v)
	if v.Value == tombstone {
		v.Expires = w.Clock + m.Expiry
	}
	*old = v
	w.Greatest[entity] = newest(w.Greatest[entity], v.Version)
	return false
}

// late reports whether a call with that clock reading is refused.
func (m *machine) late(w *World, reading int8) bool {
	return m.RefusesLate && m.Expiry > 0 && w.Clock >= reading+m.Expiry
}

// confirm is the task key's script: it moves the key from prev to k, and says whether it is there now (§5). It may not be, where the key is missing or behind, or does not know a primary: then vectors may have been lost with what is missing.
func (m *machine) confirm(w *World, prev Version, k TaskKey) (held bool) {
	key := m.key(w)
	switch {
	case m.Withhold && w.Doubted:
		return false
	case m.KeyByVersion && !key.Version.less(k.Version):
		return true
	case m.Withhold && m.KeyByVersion && key.Version != prev:
		return false
	}
	m.moveKey(w, k)
	return true
}

// moveKey moves the task key, and what is planned up with it.
func (m *machine) moveKey(w *World, k TaskKey) {
	key := m.key(w)
	k.Planned, k.Log, k.Owner, k.Swept = newest(key.Planned, k.Version), key.Log, key.Owner, key.Swept
	*key = k
}

// superseded reports whether another owner has claimed the task since i did: every call about the task key tells. Owners that share a plan log do not supersede each other.
func (m *machine) superseded(w *World, i int8) bool {
	return m.LastClaimOwns && !m.SharedPlans && m.key(w).Owner != i
}

// expire takes away the tombstones whose time is over.
func (w *World) expire() {
	for s := range w.Primaries {
		for e := range w.Primaries[s].Vectors {
			for _, v := range []*Vector{&w.Primaries[s].Vectors[e], &w.Replicas[s].Vectors[e]} {
				if v.Value == tombstone && v.Expires <= w.Clock {
					*v = Vector{}
				}
			}
		}
	}
}
