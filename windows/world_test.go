package windows_test

import (
	"fmt"
	"math"
	"slices"
	"unsafe"

	"pgregory.net/rapid"

	"highwater/windows"
)

// The columns of every event in these tests: Args[i] is of kind columns[i], or null.
var columns = []windows.Kind{windows.Bool, windows.Int64, windows.Double, windows.String, windows.Timestamp}

// compile compiles specs that must be right.
func compile(t rapid.TB, specs []windows.Spec, ttl int64) *windows.Machine {
	t.Helper()
	m, err := windows.Compile(specs, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// reopen returns e as it comes back from its bytes, which must be canonical.
func reopen(t rapid.TB, m *windows.Machine, e *windows.Entity) *windows.Entity {
	t.Helper()
	b := m.Append(nil, e)
	lent := slices.Clone(b)
	back, err := m.Decode(lent)
	if err != nil {
		t.Fatalf("decode what Append wrote: %v", err)
	}
	for i := range lent {
		lent[i] = 0xAA // the buffer goes away
	}
	if again := m.Append(nil, back); !slices.Equal(again, b) {
		t.Fatalf("bytes changed by reopening:\n%x\n%x", b, again)
	}
	return back
}

func drawWindow(t *rapid.T) windows.Window {
	w := windows.Window{Kind: windows.WindowKind(rapid.IntRange(0, 4).Draw(t, "window kind"))}
	if w.Kind == windows.Lifetime {
		return w
	}
	w.Length = rapid.SampledFrom([]int64{1, 4, 6, 12}).Draw(t, "length")
	if w.Kind == windows.Sliding {
		divisors := []int64{1, 2, w.Length}
		w.Resolution = rapid.SampledFrom(divisors).Filter(func(r int64) bool { return w.Length%r == 0 }).Draw(t, "resolution")
	}
	return w
}

// drawSpecs draws a view: aggregates of all sorts, and expressions over them, some reading one declared after them.
func drawSpecs(t *rapid.T, most int) []windows.Spec {
	var specs []windows.Spec
	for i := range rapid.IntRange(1, most).Draw(t, "features") {
		info := rapid.SampledFrom(windows.Aggregates()).Draw(t, "aggregate")
		s := windows.Spec{Name: fmt.Sprintf("f%d", i), Aggregate: info.Name, Arg: -1, Window: drawWindow(t)}
		if info.Argument == windows.ArgumentRequired || info.Argument == windows.ArgumentOptional && rapid.Bool().Draw(t, "of a field") {
			s.Input = rapid.SampledFrom(info.Inputs).Draw(t, "input")
			s.Arg = slices.Index(columns, s.Input)
		}
		if info.DefaultLimit(s.Window.Kind) > 0 {
			s.Limit = rapid.IntRange(1, 4).Draw(t, "limit")
		}
		specs = append(specs, s)
	}
	if rapid.Bool().Draw(t, "expressions") {
		n := len(specs)
		specs = append(specs,
			windows.Spec{Name: "x", Derive: orElse(n+1, windows.TimeOf(1)), DeriveKind: windows.Bool, After: []int{n + 1}},
			windows.Spec{Name: "y", Derive: orElse(0, windows.TimeOf(2)), DeriveKind: windows.Bool})
	}
	return specs
}

// orElse is an expression: feature i, or v where that is null.
func orElse(i int, v windows.Value) func([]windows.Value) windows.Value {
	return func(row []windows.Value) windows.Value {
		if row[i].IsNull() {
			return v
		}
		return row[i]
	}
}

// rounds reports whether specs have floating-point state, which depends on the order of arrival.
func rounds(specs []windows.Spec) bool {
	return slices.ContainsFunc(specs, func(s windows.Spec) bool {
		return s.Input == windows.Double && (s.Aggregate == "sum" || s.Aggregate == "mean") || s.Aggregate == "variance" || s.Aggregate == "stddev"
	})
}

// stream draws a log that no event of is behind the watermark, event after event.
type stream struct {
	lateness int64
	newest   int64 // the greatest event time so far
	offsets  [3]int64
}

func drawStream(t *rapid.T) *stream {
	return &stream{
		lateness: rapid.Int64Range(0, 15).Draw(t, "lateness"),
		newest:   rapid.SampledFrom([]int64{-30, -1, 0, 1_000_000}).Draw(t, "start"),
	}
}

func (s *stream) watermark() int64 { return s.newest - s.lateness }

func (s *stream) draw(t *rapid.T) windows.Event {
	ahead := rapid.SampledFrom([]int64{0, 0, 1, 2, 5, 40}).Draw(t, "ahead")
	e := windows.Event{
		Time:      s.newest + ahead - rapid.Int64Range(0, s.lateness).Draw(t, "behind"),
		Partition: int32(rapid.IntRange(0, 2).Draw(t, "partition")),
		Takes:     []uint64{rapid.Uint64().Draw(t, "takes") | rapid.Uint64().Draw(t, "takes too")},
	}
	e.Time = max(e.Time, s.watermark())
	s.newest = max(s.newest, e.Time)
	e.Offset = s.offsets[e.Partition]
	s.offsets[e.Partition]++
	for _, k := range columns {
		e.Args = append(e.Args, drawValue(t, k))
	}
	return e
}

func (s *stream) drawLog(t *rapid.T, most int) []windows.Event {
	var log []windows.Event
	for range rapid.IntRange(0, most).Draw(t, "events") {
		log = append(log, s.draw(t))
	}
	return log
}

// drawValue draws a value of a kind from a few, so that they meet again, or null.
func drawValue(t *rapid.T, k windows.Kind) windows.Value {
	n := rapid.Int64Range(-3, 6).Draw(t, "value")
	if n == 6 {
		return windows.Value{}
	}
	switch k {
	case windows.Bool:
		return windows.BoolOf(n > 0)
	case windows.Double:
		return windows.DoubleOf(math.Copysign(float64(n)/3, float64(n)-0.5)) // −0 among them
	case windows.String:
		return windows.StringOf([]string{"", "a", "b", "ab", "\x00", "ü", "ba", "bb", "c"}[n+3])
	case windows.Timestamp:
		return windows.TimeOf(n * 1e6)
	}
	if n == 5 {
		return windows.IntOf(math.MaxInt64 - 1)
	}
	return windows.IntOf(n)
}

// lend makes ev's strings share a buffer, and returns a function that overwrites it, as a decoder does with the next record.
func lend(ev windows.Event) (lent windows.Event, spoil func()) {
	ev.Takes, ev.Args = slices.Clone(ev.Takes), slices.Clone(ev.Args)
	var buffers [][]byte
	for i, v := range ev.Args {
		if v.Kind() == windows.String && v.Str() != "" {
			b := []byte(v.Str())
			ev.Args[i] = windows.StringOf(unsafe.String(&b[0], len(b)))
			buffers = append(buffers, b)
		}
	}
	return ev, func() {
		clear(ev.Takes)
		clear(ev.Args)
		for _, b := range buffers {
			copy(b, "!!!!!!!!")
		}
	}
}
