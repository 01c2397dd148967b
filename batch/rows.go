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

	// One element a row, in the order of the log.
	entity    []int32
	time      []int64
	offset    []int64
	partition []int32
	takes     []uint64        // words a row
	args      []windows.Value // columns a row; strings share the records' bytes

	// After group: entities by text, and for each its rows in the order of the log.
	sorted []int32 // entities, by text
	starts []int32 // by entity: its first element in order; one more at the end
	order  []int32 // rows, grouped by entity

	keyless int64
	key     []byte          // scratch
	keys    []windows.Value // scratch
}

func newViewRows(v *features.View) *viewRows {
	return &viewRows{view: v, words: (len(v.Features) + 63) / 64, columns: len(v.Columns), ids: map[string]int32{}, keys: make([]windows.Value, len(v.Keys))}
}

func (r *viewRows) reset() {
	clear(r.ids)
	clear(r.texts)
	clear(r.args)
	r.texts, r.args = r.texts[:0], r.args[:0]
	r.entity, r.time, r.offset, r.partition, r.takes = r.entity[:0], r.time[:0], r.offset[:0], r.partition[:0], r.takes[:0]
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
	r.entity = append(r.entity, id)
	r.time = append(r.time, eventTime)
	r.offset = append(r.offset, offset)
	r.partition = append(r.partition, partition)
	for w := 0; w < r.words; w++ {
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

// group orders the rows by entity, and the entities by text: a counting sort that keeps the order of the log within each.
func (r *viewRows) group() {
	n := len(r.texts)
	r.starts = append(r.starts[:0], make([]int32, n+1)...)
	for _, e := range r.entity {
		r.starts[e+1]++
	}
	for i := range n {
		r.starts[i+1] += r.starts[i]
	}
	next := append([]int32(nil), r.starts[:n]...)
	r.order = slices.Grow(r.order[:0], len(r.entity))[:len(r.entity)]
	for row, e := range r.entity {
		r.order[next[e]] = int32(row)
		next[e]++
	}
	r.sorted = r.sorted[:0]
	for i := range n {
		r.sorted = append(r.sorted, int32(i))
	}
	slices.SortFunc(r.sorted, func(a, b int32) int { return strings.Compare(r.texts[a], r.texts[b]) })
}

// of returns the rows of an entity, in the order of the log.
func (r *viewRows) of(entity int32) []int32 { return r.order[r.starts[entity]:r.starts[entity+1]] }

// event fills ev with a row.
func (r *viewRows) event(row int32, ev *windows.Event) {
	ev.Time, ev.Offset, ev.Partition = r.time[row], r.offset[row], r.partition[row]
	ev.Takes = r.takes[int(row)*r.words : (int(row)+1)*r.words]
	ev.Args = r.args[int(row)*r.columns : (int(row)+1)*r.columns]
}
