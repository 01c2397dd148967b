package windows_test

import (
	"testing"

	"highwater/windows"
)

// An event for a tile that is there already costs no allocation, whatever the aggregate, where it brings no new text, set member or tile.
func TestApply_ToAnExistingTileAllocatesNothing(t *testing.T) {
	var specs []windows.Spec
	for _, s := range every() {
		if s.Window.Kind != windows.Exact {
			specs = append(specs, s)
		}
	}
	m := compile(t, specs, 0)
	e, tally := m.New(), m.NewTally()
	events := []windows.Event{everyEvent(3, 1), everyEvent(4, 4), everyEvent(5, 2), everyEvent(5, 3), everyEvent(-15, 1)}
	for range 4 {
		for i := range events {
			m.Apply(e, &events[i], windows.NoTime, tally)
		}
	}
	for i := range events {
		if n := testing.AllocsPerRun(100, func() { m.Apply(e, &events[i], windows.NoTime, tally) }); n != 0 {
			t.Errorf("event %d: %v allocations", i, n)
		}
	}
}

func BenchmarkApply_HotEntity(b *testing.B) {
	m := compile(b, clicks, 0)
	e, tally := typical(m), m.NewTally()
	ev := windows.Event{Time: e.EventTime(), Takes: []uint64{3}}
	b.ReportAllocs()
	for b.Loop() {
		m.Apply(e, &ev, 0, tally)
	}
}

// What a batch does for a user whose state is not in the cache.
func BenchmarkTurn_TypicalUser(b *testing.B) {
	m := compile(b, clicks, 0)
	bytes := m.Append(nil, typical(m))
	tally := m.NewTally()
	var out []byte
	var values []windows.Value
	b.ReportAllocs()
	for b.Loop() {
		e, err := m.Decode(bytes)
		if err != nil {
			b.Fatal(err)
		}
		ev := windows.Event{Time: e.EventTime() + 20*second, Takes: []uint64{1}}
		m.Apply(e, &ev, 0, tally)
		values = m.Advance(e, ev.Time, ev.Time-30*second, values[:0], tally).Values
		out = m.Append(out[:0], e)
	}
}

// The most tiles a default resolution gives, in every row a count and a sum.
func BenchmarkAdvance_FullWindow(b *testing.B) {
	w := clicks[0].Window
	m := compile(b, []windows.Spec{clicks[0], {Name: "spend", Aggregate: "sum", Input: windows.Double, Window: w}}, 0)
	e := m.New()
	for i := range int64(361) {
		m.Apply(e, &windows.Event{Time: i * 5 * second, Takes: []uint64{3}, Args: []windows.Value{windows.DoubleOf(1.5)}}, 0, nil)
	}
	var values []windows.Value
	b.ReportAllocs()
	for b.Loop() {
		values = m.Advance(e, e.EventTime(), 0, values[:0], nil).Values
	}
}
