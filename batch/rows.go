package batch

import (
	"slices"
	"strings"

	"highwater/features"
	"highwater/windows"
)

// viewRows are a batch's events as one view takes them: filtered, keyed, and grouped by entity. It is reused from batch to batch, so that an event costs no allocation.
type viewRows struct {
	view    *features.View
	words   int // of takes, a row
	columns int // of args, a row

	ids   map[string]int32 // entity text → entity
	texts []string         // by entity

	// In the order of the log, as they came.
	rows  []row
	takes []uint64        // words a row
	args  []windows.Value // columns a row; strings share the records' bytes

	// After group: the entities by text, and the rows by entity in that order, each entity's in the order of the log.
	sorted  []int32 // entities, by text
	starts  []int32 // by place in sorted: the entity's first element in grouped; one more at the end
	grouped []row

	keyless int64
	key     []byte          // scratch
	keys    []windows.Value // scratch
}

// row is one event of a view, but for its takes and args.
type row struct {
	time, offset int64
	partition    int32
	entity       int32
	at           int32 // which row it was in the order of the log: where its takes and args are
}

func newViewRows(v *features.View) *viewRows {
	return &viewRows{view: v, words: (len(v.Features) + 63) / 64, columns: len(v.Columns), ids: map[string]int32{}, keys: make([]windows.Value, len(v.Keys))}
}

func (r *viewRows) reset() {
	clear(r.ids)
	clear(r.texts)
	clear(r.args)
	r.texts, r.args = r.texts[:0], r.args[:0]
	r.rows, r.takes = r.rows[:0], r.takes[:0]
	r.keyless = 0
}

// add takes one event, if the view's filter lets it in and it has the view's key.
func (r *viewRows) add(fields []windows.Value, eventTime, offset int64, partition int32) {
	v := r.view
	if v.Where != nil && !v.Where(fields).Bool() {
		return
	}
	for i, k := range v.Keys {
		r.keys[i] = fields[k]
	}
	var ok bool
	if r.key, ok = features.AppendEntity(r.key[:0], r.keys...); !ok {
		r.keyless++
		return
	}
	id, known := r.ids[string(r.key)]
	if !known {
		id = int32(len(r.texts))
		text := string(r.key)
		r.ids[text] = id
		r.texts = append(r.texts, text)
	}
	r.rows = append(r.rows, row{time: eventTime, offset: offset, partition: partition, entity: id, at: int32(len(r.rows))})
	for w := range r.words {
		r.takes = append(r.takes, r.takesWord(fields, w))
	}
	for _, c := range v.Columns {
		r.args = append(r.args, fields[c])
	}
}

// takesWord says which of the 64 features from 64·w on let the event in. A null condition is false.
func (r *viewRows) takesWord(fields []windows.Value, w int) uint64 {
	var word uint64
	for i, f := range r.view.Features[64*w : min(64*w+64, len(r.view.Features))] {
		if f.Where == nil || f.Where(fields).Bool() {
			word |= 1 << i
		}
	}
	return word
}

// group orders the entities by text and the rows by entity, so that transform reads straight through them: a counting sort, which keeps the order of the log within each.
func (r *viewRows) group() {
	n := len(r.texts)
	r.sorted = r.sorted[:0]
	for i := range n {
		r.sorted = append(r.sorted, int32(i))
	}
	slices.SortFunc(r.sorted, func(a, b int32) int { return strings.Compare(r.texts[a], r.texts[b]) })
	count := make([]int32, n) // by entity: its rows; then, where its next one goes
	for i := range r.rows {
		count[r.rows[i].entity]++
	}
	r.starts = append(r.starts[:0], 0)
	for place, entity := range r.sorted {
		start := r.starts[place]
		r.starts = append(r.starts, start+count[entity])
		count[entity] = start
	}
	r.grouped = slices.Grow(r.grouped[:0], len(r.rows))[:len(r.rows)]
	for i := range r.rows {
		e := r.rows[i].entity
		r.grouped[count[e]] = r.rows[i]
		count[e]++
	}
}

// of returns the rows of the entity at a place in sorted, in the order of the log.
func (r *viewRows) of(place int32) []row { return r.grouped[r.starts[place]:r.starts[place+1]] }

// event fills ev with a row.
func (r *viewRows) event(row *row, ev *windows.Event) {
	ev.Time, ev.Offset, ev.Partition = row.time, row.offset, row.partition
	at := int(row.at)
	ev.Takes = r.takes[at*r.words : (at+1)*r.words]
	ev.Args = r.args[at*r.columns : (at+1)*r.columns]
}
