package windows_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"highwater/testutil/oracle"
	"highwater/windows"
)

func TestShape_Reads(t *testing.T) {
	m := compile(t, append(slices.Clone(clicks),
		windows.Spec{Name: "spend", Aggregate: "sum", Input: windows.Double, Window: windows.Window{Kind: windows.Tumbling, Length: 36 * 3600 * second}},
		windows.Spec{Name: "ratio", Derive: orElse(0, windows.Value{})},
		windows.Spec{Name: "recent", Aggregate: "timestamps", Arg: -1, Window: windows.Window{Kind: windows.Exact, Length: 1500e3}},
		windows.Spec{Name: "seen", Aggregate: "count_distinct", Input: windows.String, Window: windows.Window{Kind: windows.Running, Length: 48 * 3600 * second}, Limit: 7},
		windows.Spec{Name: "ever", Aggregate: "last", Input: windows.Timestamp},
	), 0)
	const want = `clicks_30m: count over sliding 30m by 5s
buys_30m: count over sliding 30m by 5s
spend: sum of double over tumbling 36h
recent: timestamps over exact 1500ms limit 100
seen: count_distinct of string over running 2d limit 7
ever: last of timestamp over lifetime
`
	if got := m.Shape(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestParseShape_ReadsWhatShapeWrote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		specs := drawSpecs(t, 6)
		r := newRun(t, specs, 0)
		for _, ev := range drawStream(t).drawLog(t, 10) {
			r.apply(ev)
		}
		parsed, err := windows.ParseShape(r.m.Shape())
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Shape() != r.m.Shape() {
			t.Fatalf("%q read as %q", r.m.Shape(), parsed.Shape())
		}
		b := r.m.Append(nil, r.e)
		e, err := parsed.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := parsed.Append(nil, e); !slices.Equal(again, b) {
			t.Fatalf("bytes changed: %x, %x", b, again)
		}
		if len(parsed.Compatible(r.m))+len(r.m.Compatible(parsed)) > 0 {
			t.Fatal("a machine is not compatible with its own shape")
		}
	})
}

func TestParseShape_Refuses(t *testing.T) {
	for _, text := range []string{
		"clicks", "clicks:", "clicks: count", "clicks count over lifetime", "c: count over", "c: count over sliding 30m", "c: count over sliding 30m by 7m",
		"c: count over sliding 30 by 5", "c: count over exact 0s", "c: count over exact -1s", "c: count over exact 9999999999999999999d", "c: count over exact 20000000d", "c: count over exact 1sm",
		"c: count of over lifetime", "c: sum over lifetime", "c: sum of string over lifetime", "c: median of double over lifetime", "c: count over lifetime limit x", "c: count over lifetime today",
		"c: count over lifetime\nc: count over lifetime", "c: count over exact 1s limit 99999999999", "\n",
	} {
		if m, err := windows.ParseShape(text); err == nil {
			t.Errorf("%q read as %q", text, m.Shape())
		}
	}
}

func FuzzParseShape(f *testing.F) {
	f.Add("clicks_30m: count over sliding 30m by 5s\nseen: count_distinct of string over running 2d limit 7\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := windows.ParseShape(text)
		if err != nil {
			return
		}
		again, err := windows.ParseShape(m.Shape())
		if err != nil || again.Shape() != m.Shape() {
			t.Fatalf("%q: %v", m.Shape(), err)
		}
	})
}

func TestCompatible_NamesWhatChanged(t *testing.T) {
	const old = "clicks_30m: count over sliding 30m by 5s\ngone: count over lifetime\nbest: max of double over lifetime\nseen: count_distinct of int64 over lifetime limit 5\n"
	const now = "seen: count_distinct of int64 over lifetime limit 6\nadded: count over lifetime\nbest: min of int64 over running 1d\nclicks_30m: count over sliding 1h by 10s\n"
	want := []string{
		"feature seen: limit was 5, is 6: the state cannot hold both",
		"feature best: aggregate was max of double, is min of int64, window was lifetime, is running 1d: the state cannot hold both",
		"feature clicks_30m: window was sliding 30m by 5s, is sliding 1h by 10s: the state cannot hold both",
	}
	var got []string
	for _, err := range parse(t, now).Compatible(parse(t, old)) {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if errs := parse(t, "added: count over lifetime\nclicks_30m: count over sliding 30m by 5s\n").Compatible(parse(t, old)); errs != nil {
		t.Errorf("features added, removed and moved: %v", errs)
	}
}

func parse(t testing.TB, shape string) *windows.Machine {
	t.Helper()
	m, err := windows.ParseShape(shape)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A view loses features, gains some and puts them in another order, in the middle of a log: those that stayed know everything, the new ones what came since.
func TestUpgrade_KeepsWhatStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawSpecs(t, 6)
		all = slices.DeleteFunc(all, func(s windows.Spec) bool { return s.Aggregate == "" })
		s := drawStream(t)
		before, after := drawSome(t, all, "before"), drawSome(t, all, "after")
		old := newRun(t, before, 0)
		for _, ev := range s.drawLog(t, 12) {
			old.apply(ev)
		}
		old.advance(t, s.newest, s.watermark())
		r := newRun(t, after, 0)
		if errs := r.m.Compatible(old.m); errs != nil {
			t.Fatal(errs)
		}
		r.e = reopen(t, r.m, r.m.Upgrade(old.m, old.e))
		r.frontier, r.watermark = old.frontier, old.watermark
		for _, ev := range old.events {
			r.events = append(r.events, retake(ev, before, after))
		}
		r.advance(t, s.newest, s.watermark())
		for _, ev := range s.drawLog(t, 12) {
			r.apply(ev)
		}
		res := r.advance(t, s.newest, s.watermark())
		if d := oracle.Diff(after, oracle.Values(after, r.events, s.newest, s.watermark()), res.Values); d != "" {
			t.Fatal(d)
		}
	})
}

// drawSome draws some of specs, in any order.
func drawSome(t *rapid.T, specs []windows.Spec, name string) []windows.Spec {
	some := rapid.Permutation(specs).Draw(t, name)
	return some[:rapid.IntRange(1, len(some)).Draw(t, name+" count")]
}

// retake says of an event that features before took which of features after know it.
func retake(ev windows.Event, before, after []windows.Spec) windows.Event {
	var takes uint64
	for i, s := range after {
		j := slices.IndexFunc(before, func(b windows.Spec) bool { return b.Name == s.Name })
		if j >= 0 && ev.Takes[0]>>j&1 != 0 {
			takes |= 1 << i
		}
	}
	ev.Takes = []uint64{takes}
	return ev
}
