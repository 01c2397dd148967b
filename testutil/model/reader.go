package model

import "fmt"

// read takes a reader's first read, at any moment: the task key, or, where that rule is left out, the vectors. Its second read changes nothing, so it is no step: checkReader makes it in every world from then on.
func (m *machine) read(w World, to emit) {
	if !m.Readers || w.Reader.Began {
		return
	}
	w.Reader.Began = true
	if m.KeyFirst {
		w.Reader.Key = *m.key(&w)
		to(step("a reader takes the task key, at %d.%d as of %d", w.Reader.Key.Version.Generation, w.Reader.Key.Version.Sequence, w.Reader.Key.Frontier), w)
		return
	}
	for e := range int8(entities) {
		w.Reader.Vectors[e] = *m.vector(&w, e)
	}
	to(step("a reader takes the vectors"), w)
}

// checkReader makes the reader's second read, and judges what it would answer.
func (m *machine) checkReader(w *World) {
	if !w.Reader.Began {
		return
	}
	now := m.key(w)
	key := now
	if m.KeyFirst {
		key = &w.Reader.Key
		if now.Version.less(key.Version) && !w.Lost {
			m.fail(AsOfBack, fmt.Sprintf("a reader was told that vectors hold as of %d; now it is told %d", key.Frontier, now.Frontier))
		}
	}
	if w.Lost && !w.Excused.less(key.Version) {
		return // what Redis has lost shows until it is republished, but nothing newer is promised
	}
	for e := range int8(entities) {
		v := *m.vector(w, e)
		if !m.KeyFirst {
			v = w.Reader.Vectors[e]
		}
		m.checkAnswer(e, v, key, key == now)
	}
}

// checkAnswer judges what a reader with that task key makes of a vector. current says whether the key is the one that is stored.
func (m *machine) checkAnswer(e int8, v Vector, key *TaskKey, current bool) {
	right, known := m.value(e, key.Events, key.Frontier, key.Definitions)
	holds := known && right == v.Value && v.Definitions == key.Definitions
	switch {
	case !v.exists():
	case v.Version.Generation < key.Version.Generation && m.BlindToLower:
		if current && known && right != tombstone {
			m.fail(Missing, fmt.Sprintf("a reader misses %s: the task key is at %s, and %s is of a lower generation", name(e), key.Version, v))
		}
	case v.Version.Generation < key.Version.Generation:
		if v.live() && !holds {
			m.fail(Unknown, fmt.Sprintf("a reader is shown %s as %s, which the state of %s does not know", name(e), v, key.Version))
		}
	case v.Version.Generation > key.Version.Generation && m.SameGeneration:
	case v.Version.Generation == key.Version.Generation && key.Version.less(v.Version):
	case key.Frontier > v.Frontier && !holds:
		m.fail(AsOf, fmt.Sprintf("a reader is told that %s, %s, holds as of %d, the task key's frontier; there it is %d", name(e), v, key.Frontier, right))
	}
}
