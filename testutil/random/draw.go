package random

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"highwater/batch"
	"highwater/batch/faults"
	"highwater/features"
)

// Start is when a case begins, in µs: the instant at which testing/synctest starts its clock.
const Start = 946_684_800_000_000

// Draw returns the case of a seed.
func Draw(seed uint64) Case {
	r := rand.New(rand.NewPCG(seed, 20)) // its own stream
	c := Case{Seed: seed, Clock: pick(r, features.EventClock, features.EventClock, features.WallClock), Interval: pick(r, 500*time.Millisecond, time.Second, 5*time.Second, 20*time.Second), MaxRecords: pick[int64](r, 1, 3, 7, 30, 1000)}
	for i := range 1 + r.IntN(2) {
		c.Sources = append(c.Sources, drawSource(r, fmt.Sprintf("s%d", i+1)))
	}
	for i := range 1 + r.IntN(3) {
		c.Views = append(c.Views, drawView(r, fmt.Sprintf("v%d", i+1), pick(r, c.Sources...).Name))
	}
	c.Events = drawEvents(r, c)
	for range pick(r, 0, 1, 1, 2, 3, 8) {
		c.Lives = append(c.Lives, drawLife(r))
	}
	return c
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func oneIn(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

func drawSource(r *rand.Rand, name string) Source {
	return Source{Name: name, Partitions: pick(r, 1, 1, 2, 3), Format: pick(r, features.JSON, features.JSON, features.CSV),
		Unit:        pick(r, features.Milliseconds, features.Milliseconds, features.Seconds, features.Microseconds, features.Nanoseconds, features.RFC3339, ""),
		MaxLateness: pick(r, 0, 2*time.Second, 8*time.Second, 30*time.Second)}
}

var conditions = []string{"kind == 'click'", "kind in ['click', 'view'] and price >= 1", "n % 2 == 0", "ok", "not ok or is_null(price)", "(price ?? 0) > n", "kind != 'buy' ? ok : n > 3"}

func drawView(r *rand.Rand, name, source string) View {
	v := View{Name: name, Source: source, Entity: pick(r, "user", "user", "item", "pair")}
	if oneIn(r, 3) {
		v.Where = `"` + pick(r, conditions...) + `"`
	}
	if oneIn(r, 2) {
		v.TTL = pick(r, time.Second, 15*time.Second, 40*time.Second, 5*time.Minute)
	}
	var numbers []string
	for i := range 1 + r.IntN(6) {
		f, number := drawFeature(r, fmt.Sprintf("f%d", i+1))
		v.Features = append(v.Features, f)
		if number {
			numbers = append(numbers, f.Name)
		}
	}
	if len(numbers) > 0 && oneIn(r, 3) {
		a, b := pick(r, numbers...), pick(r, numbers...)
		x := Feature{"x", fmt.Sprintf("expression: \"%s\"", pick(r, a+" / "+b, a+" + 2 * "+b, a+" > 1 ? "+a+" : "+b, "not is_null("+a+") and "+a+" > "+b))}
		v.Features = slices.Insert(v.Features, r.IntN(len(v.Features)), x)
	}
	return v
}

// drawFeature draws an aggregate over a window; number says that expressions may count with it.
func drawFeature(r *rand.Rand, name string) (f Feature, number bool) {
	aggregate := pick(r, "count", "count", "sum", "sum", "mean", "min", "max", "first", "last", "variance", "stddev", "count_distinct", "timestamps")
	text, limited := "aggregate: "+aggregate, false
	number = aggregate != "timestamps" && aggregate != "count_distinct"
	switch aggregate {
	case "count":
		if oneIn(r, 3) {
			text += ", of: " + pick(r, "price", "n", "kind")
		}
	case "timestamps":
		limited = true
	case "sum", "mean", "variance", "stddev":
		text += ", of: " + pick(r, "price", "n")
	case "count_distinct":
		text += ", of: " + pick(r, "kind", "n", "item", "price")
		limited = true
	default:
		of := pick(r, "price", "n", "kind")
		text += ", of: " + of
		number = of != "kind"
	}
	window, exact := drawWindow(r)
	text += window
	if (limited || exact) && oneIn(r, 2) {
		text += fmt.Sprintf(", limit: %d", pick(r, 1, 2, 5, 50))
	}
	if oneIn(r, 3) {
		text += `, where: "` + pick(r, conditions...) + `"`
	}
	return Feature{name, text}, number
}

func drawWindow(r *rand.Rand) (text string, exact bool) {
	length := pick(r, time.Second, 4*time.Second, 10*time.Second, 20*time.Second, time.Minute, time.Hour)
	switch r.IntN(6) {
	case 0:
		return "", false
	case 1:
		return fmt.Sprintf(", window: {tumbling: %s}", duration(length)), false
	case 2:
		return fmt.Sprintf(", window: {tumbling: %s}, emit: running", duration(length)), false
	case 3:
		return fmt.Sprintf(", window: %s, resolution: exact", duration(length)), true
	}
	return fmt.Sprintf(", window: %s, resolution: %s", duration(length), duration(length/time.Duration(pick(r, 1, 2, 5, 10)))), false
}

// drawEvents draws a log: ties, late and absurd events, duplicates, hot keys, long silences, records that are no events.
func drawEvents(r *rand.Rand, c Case) []Event {
	var events []Event
	base, pace := int64(Start), int64(1)
	if c.Clock == features.EventClock {
		base, pace = pick(r, int64(Start), 1_700_000_000_123_000, 40_000_000), pick(r, int64(1), 1, 20)
	}
	hot, quiet := r.IntN(3), r.IntN(4) == 0
	at := time.Duration(0)
	for range pick(r, 0, 1, 3, 10, 40, 40, 120) {
		switch {
		case oneIn(r, 50):
			at += pick(r, time.Minute, 2*time.Minute, 7*time.Minute)
		case !oneIn(r, 3):
			at += time.Duration(r.IntN(1500)) * time.Millisecond
		}
		if len(events) > 0 && oneIn(r, 15) { // a duplicate: another record, the same event
			e := pick(r, events...)
			e.At = at
			events = append(events, e)
			continue
		}
		e := Event{At: at, Source: r.IntN(len(c.Sources))}
		s := c.Sources[e.Source]
		if e.Partition = r.IntN(s.Partitions); quiet {
			e.Partition = 0 // the others stay empty
		}
		e.Time = base + at.Microseconds()*pace
		if oneIn(r, 4) {
			e.Time -= int64(r.IntN(2*int(s.MaxLateness.Microseconds()) + 1))
		}
		if s.Unit == features.Seconds {
			e.Time -= e.Time % 1_000_000
		} else if s.Unit != features.Microseconds || !oneIn(r, 4) {
			e.Time -= e.Time % 1000
		}
		if s.Unit == "" {
			e.Time = max(e.Time, 1) // there is no timestamp below
		}
		e.Stamp = e.Time
		if s.Unit != "" && oneIn(r, 25) { // absurd, or almost
			e.Time += MaxFuture.Microseconds() + pick(r, int64(0), 0, 1_000_000, 100_000_000)
			if c.Clock == features.WallClock {
				e.Time += pick(r, int64(60_000_000), 0)
			}
		}
		drawFields(r, &e, hot)
		if oneIn(r, 25) {
			e.Bad = drawBad(r, s)
		}
		events = append(events, e)
	}
	return events
}

func drawBad(r *rand.Rand, s Source) Bad {
	bad := []Bad{batch.ReasonMalformed, batch.ReasonType, batch.ReasonTooLarge}
	if s.Format == features.JSON {
		bad = append(bad, batch.ReasonDuplicate)
	}
	if s.Unit != "" {
		bad = append(bad, batch.ReasonNoTime)
	}
	return pick(r, bad...)
}

func drawFields(r *rand.Rand, e *Event, hot int) {
	some := func() bool { return !oneIn(r, 8) }
	if some() {
		u := pick(r, "u1", "u2", "u3", "u4", "u5", "ünï/çødé:{0}", "")
		if hot == 0 && !oneIn(r, 4) {
			u = "u1"
		}
		if u != "" {
			e.User = &u
		}
	}
	if some() {
		i := pick(r, int64(1), 2, 3, -1, math.MaxInt64)
		e.Item = &i
	}
	if some() {
		k := pick(r, "view", "click", "buy")
		e.Kind = &k
	}
	if some() {
		p := float64(r.IntN(33)-8) / 4
		e.Price = &p
	}
	if some() {
		n := int64(r.IntN(9) - 2)
		if oneIn(r, 30) {
			n = pick(r, int64(math.MaxInt64), math.MinInt64)
		}
		e.N = &n
	}
	if some() {
		ok := oneIn(r, 2)
		e.OK = &ok
	}
}

// drawLife draws a life, most often one that ends early. Failures and deaths strike at the stages more often than elsewhere.
func drawLife(r *rand.Rand) Life {
	var l Life
	if oneIn(r, 3) {
		l.After = pick(r, time.Second, 20*time.Second, 2*time.Minute, 10*time.Minute)
	}
	for range pick(r, 0, 1, 1, 1, 2, 4) {
		l.Faults = append(l.Faults, faults.Draw(r, faults.Schedule{Points: pick(r, nil, faults.Stages(), faults.Stages(), faults.Retried()), Acts: pick(r, nil, []faults.Act{faults.Kill}), Nth: pick(r, 1, 4, 15, 60),
			Longest: pick(r, time.Second, 30*time.Second, 10*time.Minute, 2*time.Hour)})...)
	}
	for _, at := range []*int{&l.Stop, &l.Lose, &l.Stray} {
		if oneIn(r, 5) {
			*at = 1 + r.IntN(20)
		}
	}
	return l
}
