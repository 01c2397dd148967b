package windows

import "slices"

// track is what features of equal windows share: which tiles there are.
type track struct {
	span     span
	features []feature // by column
}

// feature is one aggregate of a view.
type feature struct {
	index     int // in the view
	arg       int // in Event.Args; −1 for none
	aggregate aggregate
}

// tiles is a track's content: a table with one row a tile, oldest first, and one column a feature. At least one partial of every row is not empty.
type tiles struct {
	index    []int64   // tile numbers, ascending
	partials []partial // row by row
}

// apply adds ev to the partials of the features that take it.
func (tr *track) apply(ts *tiles, ev *Event, watermark int64, t *Tally) {
	tile := tr.span.tile(ev.Time)
	closed := tr.span.clock == byWatermark && tr.span.shows(tile) <= watermark
	row := -1
	for column := range tr.features {
		f := &tr.features[column]
		if !f.takes(ev) {
			continue
		}
		if closed {
			t.Late[f.index]++
			continue
		}
		v, ok := f.argument(ev)
		if !ok {
			continue
		}
		if row < 0 {
			row = ts.row(tile, len(tr.features))
		}
		f.aggregate.add(&ts.partials[row+column], v, ev.key())
	}
}

func (f *feature) takes(ev *Event) bool {
	return ev.Takes[f.index/64]>>(f.index%64)&1 != 0
}

// argument returns what f aggregates of ev; ok is false where that is null.
func (f *feature) argument(ev *Event) (v Value, ok bool) {
	if f.arg < 0 {
		return Value{}, true
	}
	v = ev.Args[f.arg]
	return v, !v.IsNull()
}

func (ev *Event) key() eventKey { return eventKey{ev.Time, place{ev.Partition, ev.Offset}} }

// row returns where in partials the tile's row begins, making it if there is none.
func (ts *tiles) row(tile int64, columns int) int {
	n := len(ts.index)
	if n > 0 && ts.index[n-1] == tile { // nearly every event
		return (n - 1) * columns
	}
	i, found := slices.BinarySearch(ts.index, tile)
	if !found {
		ts.index = slices.Insert(ts.index, i, tile)
		ts.partials = slices.Grow(ts.partials, columns)[:(n+1)*columns]
		copy(ts.partials[(i+1)*columns:], ts.partials[i*columns:n*columns])
		clear(ts.partials[i*columns : (i+1)*columns])
	}
	return i * columns
}

// forget drops the tiles that will never count again.
func (tr *track) forget(ts *tiles, now int64) {
	if n := tr.span.past(ts.index, now); n > 0 {
		ts.index = slices.Delete(ts.index, 0, n)
		ts.partials = slices.Delete(ts.partials, 0, n*len(tr.features))
	}
}

// values sets the values of the track's features now. acc is the accumulator to use.
func (tr *track) values(ts *tiles, now int64, values []Value, acc *partial, t *Tally) {
	lo, hi := tr.span.counting(ts.index, now)
	columns := len(tr.features)
	for column := range tr.features {
		f := &tr.features[column]
		*acc = partial{}
		for i := lo*columns + column; i < hi*columns; i += columns {
			f.aggregate.merge(acc, &ts.partials[i])
		}
		v, why := f.aggregate.result(acc)
		values[f.index] = v
		t.note(f.index, why)
	}
}
