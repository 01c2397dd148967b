package windows_test

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"highwater/testutil/oracle"
	"highwater/windows"
)

var lifetime = windows.Window{}

// of is a feature over the first argument.
func of(aggregate string, kind windows.Kind, w windows.Window, limit int) windows.Spec {
	return windows.Spec{Name: "f", Aggregate: aggregate, Input: kind, Window: w, Limit: limit}
}

// feed applies one event a value at times 0, 1, 2 …, and advances to the last.
func feed(t testing.TB, s windows.Spec, values ...windows.Value) (windows.Value, *windows.Tally) {
	t.Helper()
	m := compile(t, []windows.Spec{s}, 0)
	e, tally := m.New(), m.NewTally()
	for i, v := range values {
		m.Apply(e, &windows.Event{Time: int64(i), Offset: int64(i), Takes: []uint64{1}, Args: []windows.Value{v}}, windows.NoTime, tally)
	}
	return m.Advance(e, int64(len(values)), 0, nil, tally).Values[0], tally
}

func ints(values ...int64) []windows.Value {
	var vs []windows.Value
	for _, v := range values {
		vs = append(vs, windows.IntOf(v))
	}
	return vs
}

func doubles(values ...float64) []windows.Value {
	var vs []windows.Value
	for _, v := range values {
		vs = append(vs, windows.DoubleOf(v))
	}
	return vs
}

func TestAggregates_WorkedByHand(t *testing.T) {
	null, week := windows.Value{}, windows.Window{Kind: windows.Exact, Length: 7 * 24 * 3600e6}
	text := func(s string) windows.Value { return windows.StringOf(s) }
	for _, c := range []struct {
		name            string
		spec            windows.Spec
		values          []windows.Value
		want            windows.Value
		overflow, limit int64
	}{
		{"an int64 sum passes over its bounds and comes back", of("sum", windows.Int64, lifetime, 0), ints(math.MaxInt64, 1, -1), windows.IntOf(math.MaxInt64), 0, 0},
		{"an int64 sum that overflows is null", of("sum", windows.Int64, lifetime, 0), ints(math.MinInt64, -1), null, 1, 0},
		{"a double sum that overflows is null", of("sum", windows.Double, lifetime, 0), doubles(math.MaxFloat64, math.MaxFloat64), null, 1, 0},
		{"∞ − ∞ is null too", of("sum", windows.Double, lifetime, 0), doubles(math.MaxFloat64, math.MaxFloat64, -math.MaxFloat64, -math.MaxFloat64, -math.MaxFloat64), null, 1, 0},
		{"a double sum of nothing is a double", of("sum", windows.Double, lifetime, 0), nil, windows.DoubleOf(0), 0, 0},
		{"an int64 mean cannot overflow", of("mean", windows.Int64, lifetime, 0), ints(math.MaxInt64, math.MaxInt64), windows.DoubleOf(math.MaxInt64), 0, 0},
		{"a double mean whose total is infinite is null", of("mean", windows.Double, lifetime, 0), doubles(math.MaxFloat64, math.MaxFloat64), null, 1, 0},
		{"the variance of one value is 0", of("variance", windows.Double, lifetime, 0), doubles(3), windows.DoubleOf(0), 0, 0},
		{"variance keeps small differences of large values", of("variance", windows.Double, lifetime, 0), doubles(1e9+4, 1e9+7, 1e9+13, 1e9+16), windows.DoubleOf(22.5), 0, 0},
		{"stddev is its root", of("stddev", windows.Int64, lifetime, 0), ints(2, 4, 4, 4, 5, 5, 7, 9), windows.DoubleOf(2), 0, 0},
		{"a variance beyond a double is null", of("variance", windows.Double, lifetime, 0), doubles(1e200, -1e200), null, 1, 0},
		{"min knows no −0", of("min", windows.Double, lifetime, 0), doubles(math.Copysign(0, -1)), windows.DoubleOf(0), 0, 0},
		{"max of strings is by bytes", of("max", windows.String, lifetime, 0), []windows.Value{text("Z"), text("a"), text("é"), text("z")}, text("é"), 0, 0},
		{"an empty string is a value", of("min", windows.String, lifetime, 0), []windows.Value{text("a"), text("")}, text(""), 0, 0},
		{"min of bools is all of them", of("min", windows.Bool, lifetime, 0), []windows.Value{windows.BoolOf(true), windows.BoolOf(false)}, windows.BoolOf(false), 0, 0},
		{"nulls are skipped", of("last", windows.Int64, lifetime, 0), []windows.Value{windows.IntOf(1), null}, windows.IntOf(1), 0, 0},
		{"count of a field counts what is not null", of("count", windows.Int64, lifetime, 0), []windows.Value{windows.IntOf(1), null}, windows.IntOf(1), 0, 0},
		{"count counts events", of("count", windows.Null, lifetime, 0), []windows.Value{windows.IntOf(1), null}, windows.IntOf(2), 0, 0},
		{"count_distinct up to its limit", of("count_distinct", windows.Int64, lifetime, 2), ints(5, -5, 5), windows.IntOf(2), 0, 0},
		{"count_distinct beyond it", of("count_distinct", windows.Int64, lifetime, 2), ints(5, -5, 6, 5), null, 0, 1},
		{"0 and −0 are one value", of("count_distinct", windows.Double, lifetime, 9), doubles(0, math.Copysign(0, -1)), windows.IntOf(1), 0, 0},
		{"count_distinct of nothing is null", of("count_distinct", windows.Int64, lifetime, 2), nil, null, 0, 0},
		{"an exact window at its limit", of("count", windows.Null, week, 2), ints(1, 1), windows.IntOf(2), 0, 0},
		{"an exact window beyond its limit", of("count", windows.Null, week, 2), ints(1, 1, 1), null, 0, 1},
		{"exact timestamps at their limit are the newest", of("timestamps", windows.Null, week, 2), ints(1, 1, 1), windows.TimesOf([]int64{1, 2}), 0, 0},
		{"so are those of a lifetime", of("timestamps", windows.Null, lifetime, 2), ints(1, 1, 1), windows.TimesOf([]int64{1, 2}), 0, 0},
		{"timestamps of nothing are null", of("timestamps", windows.Null, lifetime, 2), nil, null, 0, 0},
	} {
		got, tally := feed(t, c.spec, c.values...)
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, oracle.Text(got), oracle.Text(c.want))
		}
		if tally.Overflow[0] != c.overflow || tally.Limit[0] != c.limit {
			t.Errorf("%s: counted %d overflows and %d limits, want %d and %d", c.name, tally.Overflow[0], tally.Limit[0], c.overflow, c.limit)
		}
	}
}

// An exact window over its limit is null only until enough events have left.
func TestExactWindow_ComesBackUnderItsLimit(t *testing.T) {
	m := compile(t, []windows.Spec{of("sum", windows.Int64, windows.Window{Kind: windows.Exact, Length: 10}, 2)}, 0)
	e := m.New()
	for _, at := range []int64{5, 1, 3, 2, 4} {
		m.Apply(e, &windows.Event{Time: at, Offset: at, Takes: []uint64{1}, Args: ints(at)}, 0, nil)
	}
	for _, c := range []struct {
		frontier, next int64
		want           windows.Value
	}{
		{5, 13, windows.Value{}}, {12, 13, windows.Value{}}, {13, 14, windows.IntOf(9)}, {14, 15, windows.IntOf(5)}, {15, windows.Never, windows.IntOf(0)},
	} {
		r := m.Advance(e, c.frontier, 0, nil, nil)
		if r.Values[0] != c.want || r.Frontier != c.next {
			t.Errorf("at %d: %s until %d, want %s until %d", c.frontier, oracle.Text(r.Values[0]), r.Frontier, oracle.Text(c.want), c.next)
		}
	}
}

// What the table says of an aggregate is what its arithmetic does.
func TestAggregates_TableIsTrue(t *testing.T) {
	emptyIsZero := []string{"count", "sum"}
	for _, info := range windows.Aggregates() {
		if found, ok := windows.Lookup(info.Name); !ok || found.Summary != info.Summary {
			t.Errorf("Lookup does not find %s", info.Name)
		}
		for kind := windows.Null; kind <= windows.Timestamps; kind++ {
			arg := -1
			if kind != windows.Null {
				arg = 0
			}
			_, err := windows.Compile([]windows.Spec{{Name: "f", Aggregate: info.Name, Input: kind, Arg: arg}}, 0)
			if accepts := info.Accepts(kind); accepts != (err == nil) {
				t.Errorf("%s of %s: accepts %v, but Compile says %v", info.Name, kind, accepts, err)
			}
			if err != nil {
				continue
			}
			empty, _ := feed(t, of(info.Name, kind, lifetime, 0))
			if empty != info.Empty(kind) || empty.IsNull() == slices.Contains(emptyIsZero, info.Name) {
				t.Errorf("%s of %s: empty value is %s, the table says %s", info.Name, kind, oracle.Text(empty), oracle.Text(info.Empty(kind)))
			}
			v := map[windows.Kind]windows.Value{windows.Bool: windows.BoolOf(true), windows.Int64: windows.IntOf(1), windows.Double: windows.DoubleOf(1),
				windows.String: windows.StringOf("s"), windows.Timestamp: windows.TimeOf(1)}[kind]
			if got, _ := feed(t, of(info.Name, kind, lifetime, 0), v); got.Kind() != info.Output(kind) {
				t.Errorf("%s of %s is a %s, the table says %s", info.Name, kind, got.Kind(), info.Output(kind))
			}
		}
	}
	if _, ok := windows.Lookup("median"); ok {
		t.Error("Lookup finds what there is not")
	}
	if d, _ := windows.Lookup("timestamps"); d.DefaultLimit(windows.Exact) != 100 || d.DefaultLimit(windows.Lifetime) != 100 {
		t.Error("timestamps hold 100, in every window")
	}
	if d, _ := windows.Lookup("sum"); d.DefaultLimit(windows.Exact) != 10_000 || d.DefaultLimit(windows.Sliding) != 0 {
		t.Error("a sum has a limit of 10,000 in an exact window, and none in others")
	}
}

// Int128 against math/big: sums, encoding, and the nearest double.
func TestInt128_IsExact(t *testing.T) {
	checkInt128(t, []int64{1 << 53, 1})   // what a double leaves out is half its last digit, and a bit more far below
	checkInt128(t, []int64{-1 << 53, -1}) // the same below zero
	rapid.Check(t, func(t *rapid.T) {
		checkInt128(t, rapid.SliceOfN(rapid.Int64(), 0, 20).Draw(t, "terms"))
	})
}

func checkInt128(t rapid.TB, terms []int64) {
	total := new(big.Int)
	for _, v := range terms {
		total.Add(total, big.NewInt(v))
	}
	want := new(big.Int).Lsh(total, 40)
	want.Add(want, total)
	got, nearest, ok := windows.Int128(terms)
	if !ok || got.Cmp(want) != 0 {
		t.Fatalf("got %s, want %s", got, want)
	}
	if f, _ := new(big.Float).SetInt(want).Float64(); f != nearest {
		t.Fatalf("the double nearest to %s is %v, got %v", want, f, nearest)
	}
}

func TestValue_CloneHasItsOwnBytes(t *testing.T) {
	times := []int64{math.MinInt64, -1, 0, 1, math.MaxInt64}
	v := windows.TimesOf(times)
	if got := v.Clone(); got != v || !slices.Equal(got.Times(), times) {
		t.Errorf("got %v, want %v", got.Times(), times)
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if !windows.DoubleOf(f).IsNull() {
			t.Errorf("%v is a value", f)
		}
	}
}
