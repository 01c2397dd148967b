package windows_test

import (
	"math"
	"math/rand"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"highwater/testutil/oracle"
	"highwater/windows"
)

// run is an entity and, beside it, all events that it took: what the oracle computes from.
type run struct {
	m                   *windows.Machine
	specs               []windows.Spec
	ttl                 int64
	e                   *windows.Entity
	events              []windows.Event
	frontier, watermark int64
	tally               *windows.Tally
	late                []int64 // what tally.Late should be
}

func newRun(t rapid.TB, specs []windows.Spec, ttl int64) *run {
	m := compile(t, specs, ttl)
	return &run{m: m, specs: specs, ttl: ttl, e: m.New(), frontier: windows.NoTime, watermark: windows.NoTime, tally: m.NewTally(), late: make([]int64, len(specs))}
}

// apply gives the entity ev, and the oracle what of it is not late.
func (r *run) apply(ev windows.Event) {
	lent, spoil := lend(ev)
	r.m.Apply(r.e, &lent, r.watermark, r.tally)
	spoil()
	ev.Takes = slices.Clone(ev.Takes)
	for i, s := range r.specs {
		if s.Aggregate != "" && ev.Takes[0]>>i&1 != 0 && oracle.Closed(s.Window, ev.Time, r.watermark) {
			ev.Takes[0] &^= 1 << i
			r.late[i]++
		}
	}
	r.events = append(r.events, ev)
}

// advance moves the clocks and compares everything that Advance says with the definitions.
func (r *run) advance(t *rapid.T, frontier, watermark int64) windows.Result {
	r.frontier, r.watermark = frontier, watermark
	res := r.m.Advance(r.e, frontier, watermark, nil, r.tally)
	if want := oracle.Expired(r.events, r.ttl, frontier); res.Expired != want {
		t.Fatalf("at %d: expired %v, want %v", frontier, res.Expired, want)
	}
	if res.Expired != (res.Values == nil) {
		t.Fatalf("values %v of an entity whose expiry is %v", res.Values, res.Expired)
	}
	if !res.Expired {
		want := oracle.Values(r.specs, r.events, frontier, watermark)
		if d := oracle.Diff(r.specs, want, res.Values); d != "" {
			t.Fatalf("at (%d, %d): %s", frontier, watermark, d)
		}
	}
	if again := r.m.Values(r.e, frontier, watermark, nil); !slices.Equal(again, res.Values) {
		t.Fatalf("Values says %v, Advance said %v", again, res.Values)
	}
	if want := !slices.ContainsFunc(r.events, r.mayCount); res.Empty != want {
		t.Fatalf("at (%d, %d): empty %v, want %v", frontier, watermark, res.Empty, want)
	}
	if res.Frontier <= frontier || res.Watermark <= watermark {
		t.Fatalf("timers (%d, %d) are due at (%d, %d) already", res.Frontier, res.Watermark, frontier, watermark)
	}
	return res
}

// mayCount reports whether a feature that took ev counts it now or at a later clock.
func (r *run) mayCount(ev windows.Event) bool {
	for i, s := range r.specs {
		if s.Aggregate == "" || ev.Takes[0]>>i&1 == 0 || s.Input != windows.Null && ev.Args[s.Arg].IsNull() {
			continue
		}
		tileEnd := func(width int64) int64 { return int64(math.Floor(float64(ev.Time)/float64(width)))*width + width }
		w := s.Window
		var may bool
		switch w.Kind {
		case windows.Lifetime:
			may = true
		case windows.Sliding:
			may = r.frontier < tileEnd(w.Resolution)+w.Length
		case windows.Exact:
			may = r.frontier < ev.Time+w.Length
		case windows.Running:
			may = r.frontier < tileEnd(w.Length)
		case windows.Tumbling:
			may = r.watermark < tileEnd(w.Length)+w.Length
		}
		if may {
			return true
		}
	}
	return false
}

// between draws an instant in [from, until), not far beyond from.
func between(t *rapid.T, from, until int64, name string) int64 {
	if from == windows.NoTime {
		return from
	}
	return rapid.Int64Range(from, min(until-1, from+50)).Draw(t, name)
}

// Everything at once: random views and logs, events out of order, clocks that run ahead of events, entities that go through their bytes; every answer is compared with the definitions.
func TestMachine_IsWhatTheDefinitionsSay(t *testing.T) { rapid.Check(t, checkMachine) }

// FuzzMachine draws them from the fuzzer's bytes: what covers more of the arithmetic is kept.
func FuzzMachine(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkMachine)) }

func checkMachine(t *rapid.T) {
	ttl := rapid.SampledFrom([]int64{0, 0, 7, 30}).Draw(t, "ttl")
	r := newRun(t, drawSpecs(t, 5), ttl)
	s := drawStream(t)
	for range rapid.IntRange(1, 8).Draw(t, "batches") {
		for _, ev := range s.drawLog(t, 6) {
			r.apply(ev)
		}
		frontier := max(r.frontier, s.newest) + rapid.SampledFrom([]int64{0, 0, 1, 3, 20, 200}).Draw(t, "wall ahead")
		watermark := max(r.watermark, s.watermark())
		if rapid.IntRange(0, 3).Draw(t, "idle") == 0 {
			watermark = max(watermark, frontier-s.lateness)
		} else if r.watermark == windows.NoTime && rapid.Bool().Draw(t, "held") {
			watermark = windows.NoTime
		}
		res := r.advance(t, frontier, watermark)
		r.checkUntilTimers(t, res)
		if rapid.Bool().Draw(t, "reopen") {
			r.e = reopen(t, r.m, r.e)
			if again := r.m.Values(r.e, frontier, watermark, nil); !slices.Equal(again, res.Values) {
				t.Fatalf("values %v before reopening, %v after", res.Values, again)
			}
		}
	}
	if !slices.Equal(r.tally.Late, r.late) {
		t.Fatalf("late %v, want %v", r.tally.Late, r.late)
	}
}

// checkUntilTimers checks that nothing readers see changes before a timer fires, and that an expired entity's state goes when its timers have fired.
func (r *run) checkUntilTimers(t *rapid.T, res windows.Result) {
	f, w := between(t, r.frontier, res.Frontier, "frontier before its timer"), between(t, r.watermark, res.Watermark, "watermark before its timer")
	if res.Expired {
		last := reopen(t, r.m, r.e)
		end := r.m.Advance(last, orElseTime(res.Frontier, f), orElseTime(res.Watermark, w), nil, nil)
		if end.Frontier != windows.Never || end.Watermark != windows.Never || !end.Expired {
			t.Fatalf("after its timers (%d, %d) an expired entity has more: (%d, %d)", res.Frontier, res.Watermark, end.Frontier, end.Watermark)
		}
		return
	}
	if oracle.Expired(r.events, r.ttl, f) {
		t.Fatalf("expires at %d or before, the timer is at %d", f, res.Frontier)
	}
	want := oracle.Values(r.specs, r.events, f, w)
	if d := oracle.Diff(r.specs, want, res.Values); d != "" {
		t.Fatalf("changed at (%d, %d), the timers are at (%d, %d): %s", f, w, res.Frontier, res.Watermark, d)
	}
}

func orElseTime(timer, otherwise int64) int64 {
	if timer == windows.Never {
		return otherwise
	}
	return timer
}

// I6: with the event clock, cuts do not show, neither in values nor in bytes.
func TestMachine_CutsDoNotShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		specs := drawSpecs(t, 5)
		s := drawStream(t)
		log := s.drawLog(t, 30)
		if len(log) == 0 {
			return
		}
		execute := func(name string) ([]windows.Value, []byte) {
			r := newRun(t, specs, 0)
			newest, partial := int64(windows.NoTime), 0
			var values []windows.Value
			for i, ev := range log {
				r.apply(ev)
				newest = max(newest, ev.Time)
				if i == len(log)-1 || rapid.IntRange(0, 3).Draw(t, name) == 0 {
					values = r.advance(t, newest, newest-s.lateness).Values
					partial = i + 1
				}
			}
			if slices.Max(r.tally.Late) > 0 || partial != len(log) {
				t.Fatal("an event ahead of the watermark was late for a feature")
			}
			return values, r.m.Append(nil, r.e)
		}
		values, bytes := execute("cut")
		valuesToo, bytesToo := execute("cut otherwise")
		if d := oracle.Diff(specs, values, valuesToo); d != "" {
			t.Fatal(d)
		}
		if !rounds(specs) && !slices.Equal(bytes, bytesToo) {
			t.Fatalf("bytes differ:\n%x\n%x", bytes, bytesToo)
		}
	})
}

// Any order of arrival gives the same bytes, first and last, ties and limits included.
func TestMachine_OrderOfArrivalDoesNotShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		specs := drawSpecs(t, 5)
		s := drawStream(t)
		log := s.drawLog(t, 25)
		shuffled := slices.Clone(log)
		rand.New(rand.NewSource(rapid.Int64().Draw(t, "seed"))).Shuffle(len(log), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		a, b := newRun(t, specs, 0), newRun(t, specs, 0)
		for i := range log {
			a.apply(log[i])
			b.apply(shuffled[i])
		}
		a.advance(t, s.newest, s.watermark())
		b.advance(t, s.newest, s.watermark())
		if x, y := a.m.Append(nil, a.e), b.m.Append(nil, b.e); !rounds(specs) && !slices.Equal(x, y) {
			t.Fatalf("bytes differ:\n%x\n%x", x, y)
		}
	})
}

// One entity is advanced at every instant, the other only when a timer is due: nobody can tell them apart.
func TestMachine_TimersMissNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		specs := drawSpecs(t, 4)
		s := drawStream(t)
		log := s.drawLog(t, 12)
		r := newRun(t, specs, rapid.SampledFrom([]int64{0, 9, 40}).Draw(t, "ttl"))
		for _, ev := range log {
			r.apply(ev)
		}
		sleepy := reopen(t, r.m, r.e)
		start := s.newest
		seen := r.m.Advance(sleepy, start, start-s.lateness, nil, nil)
		for now := start; now < start+70; now++ {
			if now >= seen.Frontier || now-s.lateness >= seen.Watermark {
				seen = r.m.Advance(sleepy, now, now-s.lateness, nil, nil)
			}
			every := r.m.Advance(r.e, now, now-s.lateness, nil, nil)
			if !slices.Equal(every.Values, seen.Values) || every.Expired != seen.Expired {
				t.Fatalf("at %d: %v (expired %v), but by timers %v (expired %v)", now, every.Values, every.Expired, seen.Values, seen.Expired)
			}
			if seen.Empty != every.Empty && !seen.Expired {
				t.Fatalf("at %d: empty %v, but by timers %v", now, every.Empty, seen.Empty)
			}
		}
	})
}
