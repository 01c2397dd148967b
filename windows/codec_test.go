package windows_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"highwater/windows"
)

const second = int64(1e6)

// clicks is the view of design.md's example: two counts over 30 minutes by 5 seconds.
var clicks = []windows.Spec{
	{Name: "clicks_30m", Aggregate: "count", Arg: -1, Window: windows.Window{Kind: windows.Sliding, Length: 1800 * second, Resolution: 5 * second}},
	{Name: "buys_30m", Aggregate: "count", Arg: -1, Window: windows.Window{Kind: windows.Sliding, Length: 1800 * second, Resolution: 5 * second}},
}

// typical returns an entity of clicks with five tiles.
func typical(m *windows.Machine) *windows.Entity {
	e := m.New()
	base := int64(1_780_000_000) * second
	for i, at := range []int64{0, 3, 70, 71, 300, 900, 901, 1500} {
		ev := windows.Event{Time: base + at*second, Takes: []uint64{1 + uint64(i%3/2)*2}}
		m.Apply(e, &ev, 0, nil)
	}
	return e
}

func TestAppend_ATypicalUserIsSmall(t *testing.T) {
	m := compile(t, clicks, 0)
	if b := m.Append(nil, typical(m)); len(b) > 30 {
		t.Errorf("%d bytes: %x", len(b), b)
	}
}

// every is a view with each aggregate's encoding in it.
func every() []windows.Spec {
	var specs []windows.Spec
	add := func(aggregate string, kind windows.Kind, w windows.Window, limit int) {
		s := windows.Spec{Name: strings.ToLower(aggregate + "_" + kind.String() + "_" + w.Kind.String()), Aggregate: aggregate, Input: kind, Arg: slices.Index(columns, kind), Window: w, Limit: limit}
		specs = append(specs, s)
	}
	sliding, exact := windows.Window{Kind: windows.Sliding, Length: 60, Resolution: 10}, windows.Window{Kind: windows.Exact, Length: 60}
	for _, w := range []windows.Window{sliding, exact, lifetime} {
		for _, info := range windows.Aggregates() {
			if info.Accepts(windows.Null) {
				add(info.Name, windows.Null, w, 3)
			}
			for _, k := range info.Inputs {
				add(info.Name, k, w, 3)
			}
		}
	}
	add("count", windows.Null, windows.Window{Kind: windows.Tumbling, Length: 60}, 0)
	add("count", windows.Null, windows.Window{Kind: windows.Running, Length: 60}, 0)
	return specs
}

// everyEvent is an event that all features of every take.
func everyEvent(at, n int64) windows.Event {
	return windows.Event{Time: at, Partition: int32(n % 3), Offset: n, Takes: []uint64{^uint64(0), ^uint64(0), ^uint64(0)},
		Args: []windows.Value{windows.BoolOf(n%2 == 0), windows.IntOf(n), windows.DoubleOf(float64(n) / 4), windows.StringOf(strings.Repeat("x", int(n%5))), windows.TimeOf(n)}}
}

func everyEntity(m *windows.Machine) *windows.Entity {
	e := m.New()
	for i := range int64(8) {
		ev := everyEvent(i*9-20, i)
		m.Apply(e, &ev, windows.NoTime, nil)
	}
	return e
}

// The bytes of docs/format/windows.md: a change here is a new format version.
func TestAppend_Golden(t *testing.T) {
	m := compile(t, clicks, 0)
	e := typical(m)
	const want = "01" + // version
		"80bcdbd1dcb9a906" + // event time, 2026-05-28T20:51:40Z
		"05" + // five tiles
		"000100" + // the event time's own: a click
		"770201" + // 120 tiles before it: two clicks, one of them a buy
		"770100" + // 120 before that: a click
		"2d0201" + // 46 before that: two clicks, a buy
		"0d0200" // 14 before that: two clicks
	if got := hex.EncodeToString(m.Append(nil, e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := hex.EncodeToString(m.Append(nil, m.New())); got != "01ffffffffffffffffff0100" {
		t.Errorf("an entity without events: %s", got)
	}
}

func TestDecode_RefusesWhatAppendDidNotWrite(t *testing.T) {
	m := compile(t, every(), 0)
	b := m.Append(nil, everyEntity(m))
	reopen(t, m, everyEntity(m))
	for n := range b {
		if _, err := m.Decode(b[:n]); !errors.Is(err, windows.ErrCorrupt) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
	if _, err := m.Decode(append(slices.Clone(b), 0)); !errors.Is(err, windows.ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
	for i := range b {
		c := slices.Clone(b)
		c[i] ^= 1 << (i % 8)
		checkDecode(t, m, c)
	}
}

// More events, times or members than a limit lets Append write, and tiles that it would have left out.
func TestDecode_RefusesWhatCannotBe(t *testing.T) {
	m := parse(t, "e: count over exact 9us limit 1\ns: count_distinct of int64 over lifetime limit 1\nl: timestamps over lifetime limit 1\n")
	for _, c := range []struct {
		bytes string
		ok    bool
	}{
		{"0100" + "010001000100" + "020000", true},
		{"0100" + "010002" + "00" + "020000", true}, // a set that has outgrown its limit
		{"0100" + "010003" + "00" + "020000", false},
		{"0100" + "010001000200" + "00" + "020000", false},
		{"0100" + "010001000100" + "03000000", false},
		{"0100" + "01000000" + "00", false},                     // a tile without content
		{"0100" + "02" + "00010000" + "00010000" + "00", false}, // two tiles of a lifetime
		{"01ffffffffffffffffff01" + "0100010000" + "00", false}, // a tile, and no event
	} {
		b, err := hex.DecodeString(c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Decode(b); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.bytes, err)
		}
	}
}

// ∞ − ∞ is another NaN on another processor; state knows one.
func TestAppend_KnowsOneNaN(t *testing.T) {
	m := compile(t, []windows.Spec{of("variance", windows.Double, lifetime, 0)}, 0)
	e := m.New()
	for _, f := range []float64{math.MaxFloat64, -math.MaxFloat64, math.MaxFloat64} { // the mean goes by −∞ to NaN
		m.Apply(e, &windows.Event{Takes: []uint64{1}, Args: doubles(f)}, 0, nil)
	}
	b := m.Append(nil, reopen(t, m, e))
	nan := binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.NaN()))
	at := bytes.Index(b, nan)
	if at < 0 {
		t.Fatalf("no NaN in %x", b)
	}
	b[at+7] |= 0x80
	if _, err := m.Decode(b); !errors.Is(err, windows.ErrCorrupt) {
		t.Errorf("another NaN: %v", err)
	}
}

func TestDecode_HostileLengthAllocatesLittle(t *testing.T) {
	small := compile(t, []windows.Spec{of("count_distinct", windows.String, lifetime, 1<<30), of2("timestamps", windows.Window{Kind: windows.Exact, Length: 9}, 1<<30)}, 0)
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x03}
	for _, b := range [][]byte{
		append([]byte{1, 0}, huge...),             // rows
		append([]byte{1, 0, 1, 0}, huge...),       // a set
		append([]byte{1, 0, 1, 0, 1}, huge...),    // a string
		append([]byte{1, 0, 0}, huge...),          // events
		append([]byte{1, 0, 1, 0, 1, 0}, huge...), // events after a set
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := small.Decode(b)
		runtime.ReadMemStats(&after)
		if err == nil || after.TotalAlloc-before.TotalAlloc > 1<<16 {
			t.Errorf("%x: %v, and %d bytes allocated", b, err, after.TotalAlloc-before.TotalAlloc)
		}
	}
}

func of2(aggregate string, w windows.Window, limit int) windows.Spec {
	s := of(aggregate, windows.Null, w, limit)
	s.Name = "g"
	return s
}

// checkDecode decodes bytes from anywhere: they are refused, or are what Append writes, and usable.
func checkDecode(t testing.TB, m *windows.Machine, b []byte) {
	t.Helper()
	e, err := m.Decode(b)
	if err != nil {
		if !errors.Is(err, windows.ErrCorrupt) {
			t.Fatalf("%x: %v", b, err)
		}
		return
	}
	if again := m.Append(nil, e); !slices.Equal(again, b) {
		t.Fatalf("two encodings of one entity:\n%x\n%x", b, again)
	}
	if m.MemoryBytes(e) <= 0 {
		t.Fatal("no memory")
	}
	ev := everyEvent(5, 1)
	m.Apply(e, &ev, 0, m.NewTally())
	m.Advance(e, 50, 50, nil, m.NewTally())
	m.Append(nil, e)
}

// One machine a feature, so that inputs are short: of long ones the fuzzer spends its time on shortening them.
func FuzzDecode(f *testing.F) {
	var machines []*windows.Machine
	for i, s := range every() {
		m := compile(f, []windows.Spec{s}, 30)
		machines = append(machines, m)
		f.Add(byte(i), m.Append(nil, everyEntity(m)))
	}
	f.Add(byte(0), machines[0].Append(nil, machines[0].New()))
	f.Fuzz(func(t *testing.T, i byte, b []byte) { checkDecode(t, machines[int(i)%len(machines)], b) })
}

func TestDecode_AnyBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := compile(t, drawSpecs(t, 3), 0)
		b := append([]byte{1, byte(rapid.IntRange(0, 200).Draw(t, "event time"))}, rapid.SliceOfN(rapid.ByteRange(0, 9), 0, 40).Draw(t, "bytes")...)
		e, err := m.Decode(b)
		if err == nil && !slices.Equal(m.Append(nil, e), b) {
			t.Fatalf("two encodings of one entity: %x and %x", b, m.Append(nil, e))
		}
	})
}

// MemoryBytes is within a factor of what the runtime says that many entities hold.
func TestMemoryBytes_IsNearTheTruth(t *testing.T) {
	const n = 2000
	for name, m := range map[string]*windows.Machine{"clicks": compile(t, clicks, 0), "every aggregate": compile(t, every(), 0)} {
		entities := make([]*windows.Entity, n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		estimate := 0
		for i := range entities {
			if name == "clicks" {
				entities[i] = typical(m)
			} else {
				entities[i] = everyEntity(m)
			}
			estimate += m.MemoryBytes(entities[i])
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		held := int(after.HeapAlloc - before.HeapAlloc)
		runtime.KeepAlive(entities)
		if estimate < held/2 || estimate > held*2 {
			t.Errorf("%s: estimated %d bytes an entity, held %d", name, estimate/n, held/n)
		}
	}
}
