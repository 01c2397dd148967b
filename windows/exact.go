package windows

import (
	"slices"
	"sort"
)

// exact is a feature that keeps the events themselves.
type exact struct {
	feature
	span  span
	limit int  // more than this in the window is null
	keep  int  // how many of the newest are kept: enough to know whether limit is exceeded, now and at every later frontier
	kind  Kind // of the arguments kept; Null where the aggregate needs none
}

// events is an exact feature's content: its newest events, by (time, partition, offset).
type events struct {
	times  []int64 // ascending
	places []place // where kind is not Null
	args   []Value // where kind is not Null
}

// newExact prepares a feature over an exact window.
func newExact(f feature, s Spec) exact {
	x := exact{feature: f, span: spanOf(s.Window), limit: s.Limit, keep: s.Limit + 1, kind: s.Input}
	switch f.aggregate.(type) {
	case timestamps:
		x.limit, x.keep = s.Limit, s.Limit
	case count:
		x.kind = Null
	}
	return x
}

// apply adds ev if the feature takes it and it is among the newest.
func (x *exact) apply(es *events, ev *Event) {
	if !x.takes(ev) {
		return
	}
	v, ok := x.argument(ev)
	if !ok {
		return
	}
	k := ev.key()
	i := len(es.times)
	if i > 0 && !es.key(i-1).before(k) { // not the newest, which nearly every event is
		i = sort.Search(i, func(i int) bool { return k.before(es.key(i)) })
	}
	if len(es.times) >= x.keep {
		if i == 0 {
			return
		}
		es.dropOldest()
		i--
	}
	es.times = slices.Insert(es.times, i, ev.Time)
	if x.kind != Null {
		es.places = slices.Insert(es.places, i, k.place)
		es.args = slices.Insert(es.args, i, v.Clone())
	}
}

// key returns the key of the i-th event, its place zero where places are not kept: events of one time are all alike then.
func (es *events) key(i int) eventKey {
	k := eventKey{time: es.times[i]}
	if es.places != nil {
		k.place = es.places[i]
	}
	return k
}

// dropOldest moves the slices' beginnings on, so that a window at its limit costs no copying per event.
func (es *events) dropOldest() {
	es.times = es.times[1:]
	if es.places != nil {
		es.args[0] = Value{}
		es.places, es.args = es.places[1:], es.args[1:]
	}
}

// forget drops the events that will never count again.
func (x *exact) forget(es *events, now int64) {
	n := x.span.past(es.times, now)
	if n == 0 {
		return
	}
	es.times = slices.Delete(es.times, 0, n)
	if es.places != nil {
		es.places = slices.Delete(es.places, 0, n)
		es.args = slices.Delete(es.args, 0, n)
	}
}

// value sets the feature's value now. acc is the accumulator to use.
func (x *exact) value(es *events, now int64, values []Value, acc *partial, t *Tally) {
	lo, hi := x.span.counting(es.times, now)
	if hi-lo > x.limit {
		values[x.index] = Value{}
		t.note(x.index, outgrown)
		return
	}
	*acc = partial{}
	if g, ok := x.aggregate.(gatherer); ok {
		for _, v := range es.args[lo:hi] {
			g.gather(acc, v)
		}
	} else {
		for i := lo; i < hi; i++ {
			var v Value
			if x.kind != Null {
				v = es.args[i]
			}
			x.aggregate.add(acc, v, es.key(i))
		}
	}
	v, why := x.aggregate.result(acc)
	values[x.index] = v
	t.note(x.index, why)
}
