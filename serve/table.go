package serve

import (
	"context"
	"slices"
	"time"

	"highwater/features"
	"highwater/windows"
)

// mismatchPause is how old a catalogue must be before a vector of another shape makes it be read again: long enough that vectors not yet rewritten cost nothing.
const mismatchPause = time.Second

// Table is the answer to a selection: one row an entity, one column a feature. It is immutable, and safe for concurrent use.
type Table struct {
	Features []Feature // the columns
	Rows     int       // as many as entities were given, in their order
	Vectors  int       // how many distinct vectors were read to answer
	Age      int64     // µs: how long ago the oldest of those found was known to hold; -1 where none was found, and with the event clock, which may tell of history

	sel      *Selection
	unique   []int32 // row × groups: which of the group's distinct entities the row names
	first    []int   // by view: where its vectors begin
	vectors  []features.StoredVector
	verdicts []verdict
	orders   [][]int // by vector: where each feature of the view's schema stands in its values, -1 for nowhere; nil where they are the same
}

// Cell is one value of a table.
type Cell struct {
	Value     windows.Value // null unless the status is Present
	Status    Status
	AsOf      int64 // µs: the instant as of which the value holds; windows.NoTime where the status is NotFound
	EventTime int64 // µs: the newest event of the entity in the feature's view; windows.NoTime where the status is NotFound
}

// Read looks entities up. keys holds the values of sel.JoinKeys, in that order and of those kinds, entity after entity.
func (s *Server) Read(ctx context.Context, sel *Selection, keys []windows.Value) (*Table, error) {
	t, err := s.read(ctx, sel, keys)
	if err != nil || !t.mismatched() {
		return t, err
	}
	newer, err := s.catalogues.newerThan(ctx, sel.from, mismatchPause)
	if err != nil || newer == sel.from {
		return t, nil // what was read holds: its values were found by name
	}
	again, err := newer.resolve(sel.asked)
	if err != nil || !slices.Equal(again.JoinKeys, sel.JoinKeys) {
		return t, nil
	}
	return s.read(ctx, again, keys)
}

func (s *Server) read(ctx context.Context, sel *Selection, keys []windows.Value) (*Table, error) {
	t := &Table{Features: sel.Features, Rows: len(keys) / len(sel.JoinKeys), Age: -1, sel: sel}
	vectorKeys, err := t.keys(keys)
	if err != nil || len(vectorKeys) == 0 {
		return t, err
	}
	fetched, err := s.store.Fetch(ctx, vectorKeys)
	if err != nil {
		return nil, unavailable(err)
	}
	if len(fetched.Vectors) != len(vectorKeys) {
		return nil, corrupt("%d vectors were asked of the store, and it returned %d", len(vectorKeys), len(fetched.Vectors))
	}
	t.Vectors, t.vectors = len(vectorKeys), fetched.Vectors
	return t, t.judge(&fetched.Mark, s.now().UnixMicro())
}

// keys names the vectors to read, each once: view after view, and within a view its distinct entities in order of first mention.
func (t *Table) keys(values []windows.Value) ([]features.VectorKey, error) {
	texts := make([][]string, len(t.sel.groups))
	t.unique = make([]int32, t.Rows*len(t.sel.groups))
	for g := range t.sel.groups {
		var err error
		if texts[g], err = t.distinct(g, values); err != nil {
			return nil, err
		}
	}
	t.first = make([]int, len(t.sel.views))
	var keys []features.VectorKey
	for i, v := range t.sel.views {
		t.first[i] = len(keys)
		keys = slices.Grow(keys, len(texts[v.group]))
		for _, text := range texts[v.group] {
			keys = append(keys, features.VectorKey{View: v.name, Entity: text})
		}
	}
	return keys, nil
}

// distinct returns the canonical texts of the entities that the rows name in group g, each once, and notes which is whose.
func (t *Table) distinct(g int, values []windows.Value) ([]string, error) {
	at := t.sel.groups[g].keys
	texts := make([]string, 0, t.Rows)
	seen := make(map[string]int32, t.Rows)
	parts := make([]windows.Value, len(at))
	var buf []byte
	for row := range t.Rows {
		for i, k := range at {
			parts[i] = values[row*len(t.sel.JoinKeys)+k]
		}
		text, ok := features.AppendEntity(buf[:0], parts...)
		if !ok {
			return nil, invalid("entity %d: a join key is empty", row)
		}
		buf = text
		u, known := seen[string(text)]
		if !known {
			u = int32(len(texts))
			texts = append(texts, string(text))
			seen[texts[u]] = u
		}
		t.unique[row*len(t.sel.groups)+g] = u
	}
	return texts, nil
}

// judge decides, once a vector, how fresh it is and where its values stand.
func (t *Table) judge(mark *features.TaskMark, wall int64) error {
	now := &wall
	if t.sel.from.eventClock {
		now = nil
	}
	t.verdicts = make([]verdict, len(t.vectors))
	for i, v := range t.sel.views {
		end := len(t.vectors)
		if i+1 < len(t.first) {
			end = t.first[i+1]
		}
		for at := t.first[i]; at < end; at++ {
			t.verdicts[at] = judge(&t.vectors[at], mark, v.ttl, now)
			t.age(t.verdicts[at].asOf, now)
			if t.verdicts[at].status != Present {
				continue
			}
			if err := t.align(at, v.view); err != nil {
				return err
			}
		}
	}
	return nil
}

// age notes how old one vector is.
func (t *Table) age(asOf int64, now *int64) {
	if now != nil && asOf != windows.NoTime {
		t.Age = max(t.Age, *now-asOf, 0)
	}
}

// align notes where the features of v stand in a vector that was written in another shape.
func (t *Table) align(at int, v *view) error {
	vector := &t.vectors[at]
	if len(vector.Values) != len(vector.Schema.Features) {
		return corrupt("a vector of feature view %s, version %s, holds %d values, and its schema %s has %d features", v.name, vector.Version, len(vector.Values), vector.SchemaID, len(vector.Schema.Features))
	}
	if vector.SchemaID == v.schema.ID {
		return nil
	}
	if t.orders == nil {
		t.orders = make([][]int, len(t.vectors))
	}
	order := make([]int, len(v.schema.Features))
	for i, f := range v.schema.Features {
		order[i] = slices.Index(vector.Schema.Features, f)
	}
	t.orders[at] = order
	return nil
}

// mismatched reports whether a vector was written in another shape than the catalogue knows.
func (t *Table) mismatched() bool { return t.orders != nil }

// Cell returns the value in a row and a column.
func (t *Table) Cell(row, column int) Cell {
	p := t.sel.column[column]
	at := t.vector(row, p.view)
	d := t.verdicts[at]
	c := Cell{Status: d.status, AsOf: d.asOf, EventTime: d.eventTime}
	if d.status != Present {
		return c
	}
	feature := p.feature
	if t.orders != nil && t.orders[at] != nil {
		feature = t.orders[at][feature]
	}
	if feature < 0 {
		return Cell{Status: NotFound, AsOf: windows.NoTime, EventTime: windows.NoTime}
	}
	c.Value = t.vectors[at].Values[feature]
	if c.Value.IsNull() {
		c.Status = NullValue
	}
	return c
}

// vector returns which vector a row finds in the i-th chosen view.
func (t *Table) vector(row, view int) int {
	g := t.sel.views[view].group
	return t.first[view] + int(t.unique[row*len(t.sel.groups)+g])
}
