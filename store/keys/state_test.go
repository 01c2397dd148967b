package keys_test

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"testing"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"

	"pgregory.net/rapid"
)

// TestStateKeys_Golden pins the bytes: a directory written today must be read by every later version.
func TestStateKeys_Golden(t *testing.T) {
	stateLower, stateUpper := keys.StateOf("clicks")
	timerLower, timerUpper := keys.TimersOf(batch.ByWatermark, -1)
	for _, tc := range []struct {
		name string
		key  []byte
		want string // hex; spaces are for people
	}{
		{"position", keys.Position(), "63"},
		{"meta", keys.Meta("format"), "6d 666f726d6174"},
		{"state", keys.AppendState(nil, "clicks", "u1"), "73 636c69636b73 00 7531"},
		{"state, two join keys", keys.AppendState(nil, "clicks", "u\x00\x0142"), "73 636c69636b73 00 75 00 01 3432"},
		{"state of a view, from", stateLower, "73 636c69636b73 00"},
		{"state of a view, to", stateUpper, "73 636c69636b73 01"},
		{"timer by frontier", keys.AppendTimer(nil, batch.ByFrontier, 1_700_000_000_000_000, "clicks", "u1"), "74 00 80060a24181e4000 636c69636b73 00 7531"},
		{"timer by watermark", keys.AppendTimer(nil, batch.ByWatermark, -1, "clicks", "u1"), "74 01 7fffffffffffffff 636c69636b73 00 7531"},
		{"timer by reading", keys.AppendTimer(nil, batch.ByReading, 0, "clicks", "u1"), "74 02 8000000000000000 636c69636b73 00 7531"},
		{"timers of a clock, from", timerLower, "74 01 7fffffffffffffff"},
		{"timers of a clock, to", timerUpper, "74 02"},
		{"plan", keys.AppendPlan(nil, features.Version{Generation: 3, Sequence: 258}), "70 00000003 0000000000000102"},
	} {
		if got, want := hex.EncodeToString(tc.key), strings.ReplaceAll(tc.want, " ", ""); got != want {
			t.Errorf("%s: key %s, want %s", tc.name, got, want)
		}
	}
}

type timer struct {
	clock        batch.TimerClock
	at           int64
	view, entity string
}

var (
	viewNames = rapid.StringMatching(`[a-z][a-z0-9_]{0,6}`)
	texts     = rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOfN(rapid.Byte(), 1, 6).Draw(t, "text")) })
	timers    = rapid.Custom(func(t *rapid.T) timer {
		return timer{
			clock:  batch.TimerClock(rapid.IntRange(0, int(batch.TimerClocks)-1).Draw(t, "clock")),
			at:     rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3, 3), rapid.Just(int64(math.MinInt64))).Draw(t, "at"),
			view:   viewNames.Draw(t, "view"),
			entity: texts.Draw(t, "entity"),
		}
	})
)

func TestStateKeys_SortByViewThenEntity(t *testing.T) { rapid.Check(t, checkStateOrder) }

func checkStateOrder(t *rapid.T) {
	va, ea, vb, eb := viewNames.Draw(t, "va"), texts.Draw(t, "ea"), viewNames.Draw(t, "vb"), texts.Draw(t, "eb")
	a, b := keys.AppendState(nil, va, ea), keys.AppendState(nil, vb, eb)
	if got, want := bytes.Compare(a, b), cmp.Or(strings.Compare(va, vb), strings.Compare(ea, eb)); got != want {
		t.Fatalf("(%q, %q) against (%q, %q): keys compare %d, want %d", va, ea, vb, eb, got, want)
	}
	view, entity, err := keys.ParseState(a)
	if err != nil || string(view) != va || string(entity) != ea {
		t.Fatalf("(%q, %q) read back as (%q, %q), error %v", va, ea, view, entity, err)
	}
	lower, upper := keys.StateOf(va)
	if within, want := bytes.Compare(b, lower) >= 0 && bytes.Compare(b, upper) < 0, va == vb; within != want {
		t.Fatalf("key of view %q within the bounds of view %q: %t", vb, va, within)
	}
}

func TestTimerKeys_SortByClockTimeViewEntity(t *testing.T) { rapid.Check(t, checkTimerOrder) }

func checkTimerOrder(t *rapid.T) {
	a, b := timers.Draw(t, "a"), timers.Draw(t, "b")
	ka, kb := keys.AppendTimer(nil, a.clock, a.at, a.view, a.entity), keys.AppendTimer(nil, b.clock, b.at, b.view, b.entity)
	want := cmp.Or(cmp.Compare(a.clock, b.clock), cmp.Compare(a.at, b.at), strings.Compare(a.view, b.view), strings.Compare(a.entity, b.entity))
	if got := bytes.Compare(ka, kb); got != want {
		t.Fatalf("%+v against %+v: keys compare %d, want %d", a, b, got, want)
	}
	clock, at, view, entity, err := keys.ParseTimer(ka)
	if back := (timer{clock, at, string(view), string(entity)}); err != nil || back != a {
		t.Fatalf("%+v read back as %+v, error %v", a, back, err)
	}
	lower, upper := keys.TimersOf(a.clock, a.at)
	if within, want := bytes.Compare(kb, lower) >= 0 && bytes.Compare(kb, upper) < 0, b.clock == a.clock && b.at >= a.at; within != want {
		t.Fatalf("timer %+v within the bounds from %+v: %t", b, a, within)
	}
}

func TestPlanKeys_SortByVersion(t *testing.T) {
	versions := []features.Version{{}, {Generation: 1}, {Generation: 1, Sequence: 1}, {Generation: 1, Sequence: 255}, {Generation: 1, Sequence: 256}, {Generation: 2, Sequence: 1}, {Generation: 99_999, Sequence: 999_999_999_999_999}}
	var all [][]byte
	for _, v := range versions {
		k := keys.AppendPlan(nil, v)
		if back, err := keys.ParsePlan(k); err != nil || back != v {
			t.Errorf("%v read back as %v, error %v", v, back, err)
		}
		all = append(all, k)
	}
	if !slices.IsSortedFunc(all, bytes.Compare) {
		t.Errorf("keys of ascending versions do not ascend: %x", all)
	}
}

func TestParse_RefusesForeignKeys(t *testing.T) {
	for _, k := range [][]byte{nil, {'s'}, []byte("sclicks"), {'t'}, []byte("t\x00\x80\x00\x00\x00\x00\x00\x00\x00clicks"), []byte("p\x00\x00\x00\x01"), []byte("x")} {
		if _, _, err := keys.ParseState(k); err == nil {
			t.Errorf("ParseState(%q) gave no error", k)
		}
		if _, _, _, _, err := keys.ParseTimer(k); err == nil {
			t.Errorf("ParseTimer(%q) gave no error", k)
		}
		if _, err := keys.ParsePlan(k); err == nil {
			t.Errorf("ParsePlan(%q) gave no error", k)
		}
	}
}
