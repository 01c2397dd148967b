package model

import "fmt"

// Kind is what a violation breaks.
type Kind string

// The kinds.
const (
	Divergent   Kind = "divergent"       // one version came with two contents (I4); the stored one stays, and the task stops
	Rewritten   Kind = "rewritten"       // one version was stored with two contents, and nobody was told (I7)
	Backward    Kind = "backward"        // a stored version went back (I7)
	Resurrected Kind = "resurrected"     // an old vector came back behind its tombstone, which had expired
	AsOf        Kind = "as_of"           // a reader is told that a value holds at an instant at which it is another
	AsOfBack    Kind = "as_of went back" // a reader is told an older as_of than before
	Missing     Kind = "missing"         // a reader does not find a vector that the state knows
	Unknown     Kind = "unknown"         // a reader is shown a vector that the state does not know
	End         Kind = "wrong end"       // everything is at rest, and a vector is not the oracle's
	Recorded    Kind = "other bytes"     // everything is at rest, and a vector is not stored as the state has recorded it
	Left        Kind = "left over"       // everything is at rest, and a vector is left that the state does not know
	Stuck       Kind = "stuck"           // nothing can happen any more, and not everything is done
)

// Violation is a promise that a world breaks.
type Violation struct {
	Kind Kind
	What string // for people
}

// fail keeps the first violation of a step.
func (m *machine) fail(k Kind, what string) {
	if m.found == nil {
		m.found = &Violation{k, what}
	}
}

// checkForward judges a vector that is about to be stored.
func (m *machine) checkForward(w *World, e int8, v Vector) {
	if !v.Version.less(w.Greatest[e]) || v.Value == tombstone {
		return
	}
	if m.vector(w, e).exists() {
		m.fail(Backward, fmt.Sprintf("%s was stored at %s, and is written over with %s", name(e), w.Greatest[e], v))
	} else {
		m.fail(Resurrected, fmt.Sprintf("%s was stored at %s and has expired; now it is stored as %s", name(e), w.Greatest[e], v))
	}
}

// atRest reports whether no call is on its way and no owner has anything to do but to plan.
func (m *machine) atRest(w *World) bool {
	for i := range w.Owners {
		o := &w.Owners[i]
		if !o.Runs {
			continue
		}
		unswept := m.Sweeps && o.Version.Generation > 1 && m.key(w).Swept < o.Version.Generation
		if m.pending(w, o) || o.Pass > 0 || m.mustRepublish(w, o) || unswept || o.Deployed != o.Definitions || m.superseded(w, int8(i)) {
			return false
		}
	}
	return w.Stray.Kind == noCall
}

// checkEnd judges a world at rest: the store is the oracle's, vector by vector.
func (m *machine) checkEnd(w *World) {
	if !m.atRest(w) {
		return
	}
	for i := range w.Owners {
		if d := &w.Owners[i].Directory; w.Owners[i].Runs {
			for e := range int8(entities) {
				m.checkStored(w, d, e)
			}
		}
	}
}

func (m *machine) checkStored(w *World, d *Directory, e int8) {
	right, known := m.value(e, prefix(d.Position), d.Frontier, d.Definitions)
	v, r := *m.vector(w, e), d.Recorded[e]
	switch {
	case known && right != tombstone && (v.Value != right || !v.exists()):
		m.fail(End, fmt.Sprintf("%s is stored as %s; after %d events, as of %d, it is %d", name(e), v, d.Position, d.Frontier, right))
	case known && right != tombstone && (v.Version != r.Version || v.Frontier != r.Frontier):
		m.fail(Recorded, fmt.Sprintf("%s is stored as %s; it was published at %s as of %d", name(e), v, r.Version, r.Frontier))
	case known && right == tombstone && v.live():
		m.fail(End, fmt.Sprintf("%s is stored as %s; after %d events, as of %d, its ttl has passed", name(e), v, d.Position, d.Frontier))
	case !known && v.live() && !m.behindTheSweep(v, d):
		m.fail(Left, fmt.Sprintf("%s is stored as %s, and the state does not know it", name(e), v))
	}
}

// behindTheSweep reports whether a vector may be left for good: one of a lower generation, which no reader sees, written after the sweep by a call of a dead process, or by an owner that had not found out yet that it was superseded.
func (m *machine) behindTheSweep(v Vector, d *Directory) bool {
	return m.BlindToLower && v.Version.Generation < d.Version.Generation && (m.Strays || m.Copies > 0)
}

// checkStuck judges a world in which nothing can happen any more.
func (m *machine) checkStuck(w *World) {
	for i := range w.Owners {
		o := &w.Owners[i]
		if o.Version.Sequence == maxSequence || o.Version.Generation == maxGeneration {
			return // the world is too small for what would come next
		}
		if o.Runs && (!m.atRest(w) || int(o.Position) < len(m.Log)) {
			m.fail(Stuck, fmt.Sprintf("owner %c stands at %s, after %d of %d events", who(int8(i)), o.Version, o.Position, len(m.Log)))
		}
	}
}
