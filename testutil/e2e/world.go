package e2e

import (
	"maps"
	"slices"
	"testing"

	"highwater/features"
	"highwater/testutil/oracle"
	"highwater/windows"
)

// World is what a project has seen, and what its features must therefore be: it is told every event in the order in which the producer sends them, and computes all else anew by the words of design.md §4. It knows
// nothing of batches, plans or stores: with clock: event, how the log was cut must not show (I6). One goroutine uses it.
type World struct {
	Project *features.Project
	Events  int64 // that it was told of
	Late    int64 // of those, behind their partition's watermark

	parts [][]partition        // by source
	views []map[string]*Entity // by view, by canonical text
}

// partition is what a world has seen of one.
type partition struct {
	next   int64 // offset
	newest int64 // µs: the greatest event time; windows.NoTime before the first
}

// Entity is one entity of a view, with the events that the view takes.
type Entity struct {
	Keys   []windows.Value // one a join key
	events []windows.Event
}

// NewWorld returns a world in which nothing has happened yet. Each source's topic has that many partitions.
func NewWorld(p *features.Project, partitions int) *World {
	w := &World{Project: p}
	for range p.Sources {
		parts := make([]partition, partitions)
		for i := range parts {
			parts[i].newest = windows.NoTime
		}
		w.parts = append(w.parts, parts)
	}
	for range p.Views {
		w.views = append(w.views, map[string]*Entity{})
	}
	return w
}

// Grow adds partitions to a source's topic: what comes from now on is spread over all of them.
func (w *World) Grow(source, more int) {
	for range more {
		w.parts[source] = append(w.parts[source], partition{newest: windows.NoTime})
	}
}

// MakeAgain empties a source's topic: another log begins, and what was counted stays counted.
func (w *World) MakeAgain(source int) {
	for i := range w.parts[source] {
		w.parts[source][i] = partition{newest: windows.NoTime}
	}
}

// Tell tells of the next event of the only source.
func (w *World) Tell(e Event) { w.TellOf(0, e) }

// TellOf tells of the next event of a source, by its place among Project.Sources.
func (w *World) TellOf(source int, e Event) {
	s := w.Project.Sources[source]
	n := Partition(e.Key, len(w.parts[source]))
	p := &w.parts[source][n]
	offset := p.next
	p.next++
	w.Events++
	if p.newest != windows.NoTime && e.Time < p.newest-s.MaxLateness.Microseconds() {
		w.Late++
		return
	}
	p.newest = max(p.newest, e.Time)
	for i, v := range w.Project.Views {
		if v.Source == s {
			w.take(i, v, e, int32(n), offset)
		}
	}
}

// take gives an event to a view, unless its filter is against it or a key is missing.
func (w *World) take(view int, v *features.View, e Event, partition int32, offset int64) {
	if v.Where != nil && !v.Where(e.Fields).Bool() {
		return
	}
	var keys []windows.Value
	for _, k := range v.Keys {
		if key := e.Fields[k]; key.IsNull() || key == windows.StringOf("") {
			return
		} else {
			keys = append(keys, key)
		}
	}
	text, _ := features.AppendEntity(nil, keys...)
	entity := w.views[view][string(text)]
	if entity == nil {
		entity = &Entity{Keys: keys}
		w.views[view][string(text)] = entity
	}
	ev := windows.Event{Time: e.Time, Partition: partition, Offset: offset, Takes: make([]uint64, (len(v.Features)+63)/64)}
	for i, f := range v.Features {
		if f.Where == nil || f.Where(e.Fields).Bool() {
			ev.Takes[i/64] |= 1 << (i % 64)
		}
	}
	for _, c := range v.Columns {
		ev.Args = append(ev.Args, e.Fields[c])
	}
	entity.events = append(entity.events, ev)
}

// Frontier returns the greatest event time seen, in µs.
func (w *World) Frontier() int64 {
	frontier := int64(windows.NoTime)
	for _, p := range slices.Concat(w.parts...) {
		frontier = max(frontier, p.newest)
	}
	return frontier
}

// Watermark returns the least over the partitions of their greatest event time less max_lateness, in µs; windows.NoTime while one of them is empty. final leaves the empty ones out, as dev's last plan does.
func (w *World) Watermark(final bool) int64 {
	least := int64(windows.Never)
	for i, parts := range w.parts {
		for _, p := range parts {
			switch {
			case p.newest != windows.NoTime:
				least = min(least, p.newest-w.Project.Sources[i].MaxLateness.Microseconds())
			case !final:
				return windows.NoTime
			}
		}
	}
	return least
}

// Empty returns how many partitions have no event.
func (w *World) Empty() int {
	n := 0
	for _, p := range slices.Concat(w.parts...) {
		if p.newest == windows.NoTime {
			n++
		}
	}
	return n
}

// Entities returns how many entities all views have together.
func (w *World) Entities() int {
	n := 0
	for _, entities := range w.views {
		n += len(entities)
	}
	return n
}

// Expired returns how many entities have outlived their view's ttl: readers see OUTSIDE_MAX_AGE, and the store holds a tombstone.
func (w *World) Expired() int {
	n := 0
	for i, v := range w.Project.Views {
		for _, e := range w.views[i] {
			if oracle.Expired(e.events, v.TTL.Microseconds(), w.Frontier()) {
				n++
			}
		}
	}
	return n
}

// Check asks for every feature of every entity of every view, and compares each with what it must be, as must each as_of, which is the frontier's. It returns how many values it has compared.
func (w *World) Check(tb testing.TB, c Client, final bool) (compared int) {
	tb.Helper()
	const together = 1000
	for i, v := range w.Project.Views {
		for texts := range slices.Chunk(slices.Sorted(maps.Keys(w.views[i])), together) {
			compared += w.check(tb, c, v, pick(w.views[i], texts), w.Watermark(final))
		}
	}
	return compared
}

// CheckAbsent asks for the entities that later knows and w does not: none of them may have a vector yet. It returns how many there are.
func (w *World) CheckAbsent(tb testing.TB, c Client, later *World) (absent int) {
	tb.Helper()
	const together = 1000
	for i, v := range w.Project.Views {
		unknown := slices.DeleteFunc(slices.Sorted(maps.Keys(later.views[i])), func(text string) bool { return w.views[i][text] != nil })
		for texts := range slices.Chunk(unknown, together) {
			for j, row := range c.View(tb, v, pick(later.views[i], texts)) {
				for f, status := range row.Statuses {
					if status != "NOT_FOUND" || !row.Values[f].IsNull() {
						tb.Fatalf("%s of %q, of which no event has come: %s with %s, want NOT_FOUND with null", v.Name, texts[j], status, oracle.Text(row.Values[f]))
					}
				}
			}
		}
		absent += len(unknown)
	}
	return absent
}

func pick(from map[string]*Entity, texts []string) []*Entity {
	picked := make([]*Entity, len(texts))
	for i, text := range texts {
		picked[i] = from[text]
	}
	return picked
}

func (w *World) check(tb testing.TB, c Client, v *features.View, entities []*Entity, watermark int64) (compared int) {
	tb.Helper()
	frontier := w.Frontier()
	specs := make([]windows.Spec, len(v.Features))
	for i, f := range v.Features {
		specs[i] = f.Spec
	}
	for i, row := range c.View(tb, v, entities) {
		e := entities[i]
		status := "PRESENT"
		want := make([]windows.Value, len(specs))
		if oracle.Expired(e.events, v.TTL.Microseconds(), frontier) {
			status = "OUTSIDE_MAX_AGE"
		} else {
			want = oracle.Values(specs, e.events, frontier, watermark)
		}
		for f, feature := range v.Features {
			expected := status
			if status == "PRESENT" && want[f].IsNull() {
				expected = "NULL_VALUE"
			}
			if got := row.Statuses[f]; got != expected {
				tb.Errorf("%s:%s of %s: status %s, want %s", v.Name, feature.Name, texts(e.Keys), got, expected)
			}
			if got := row.Times[f]; got != frontier {
				tb.Errorf("%s:%s of %s: as_of %d µs, want the frontier, %d µs", v.Name, feature.Name, texts(e.Keys), got, frontier)
			}
			compared++
		}
		if diff := oracle.Diff(specs, want, row.Values); diff != "" {
			tb.Errorf("%s of %s: %s", v.Name, texts(e.Keys), diff)
		}
		if tb.Failed() {
			tb.FailNow() // one entity says enough
		}
	}
	return compared
}

func texts(values []windows.Value) []string {
	var all []string
	for _, v := range values {
		all = append(all, oracle.Text(v))
	}
	return all
}
