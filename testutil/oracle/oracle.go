// Package oracle computes features the slow, obviously right way: from all events, by the words of the definition, every time anew.
// It shares no code with package windows but its types; tests of any package compare against it.
package oracle

import (
	"cmp"
	"math"
	"math/big"
	"slices"

	"highwater/windows"
)

// Values returns the features of one entity at (frontier, watermark), one a spec, given all its events in any order.
//
// What a task never aggregates is not for the oracle to find out: the caller leaves out late and absurd events, and clears the Takes bit of features for which an event came after its tumbling window
// was closed (see [Closed]; what counts is the watermark committed when the event arrived). Nor does it know of a ttl: see [Expired].
func Values(specs []windows.Spec, events []windows.Event, frontier, watermark int64) []windows.Value {
	values := make([]windows.Value, len(specs))
	for i, s := range specs {
		if s.Aggregate != "" {
			values[i] = aggregate(s, inWindow(i, s, events, frontier, watermark))
		}
	}
	for range specs { // as often as the longest chain of expressions could be
		for i, s := range specs {
			if s.Aggregate == "" {
				values[i] = s.Derive(slices.Clone(values))
			}
		}
	}
	return values
}

// Expired reports whether an entity of these events is a tombstone to its readers. ttl is in µs, 0 for none.
func Expired(events []windows.Event, ttl, frontier int64) bool {
	newest := int64(windows.NoTime)
	for _, e := range events {
		newest = max(newest, e.Time)
	}
	return ttl > 0 && newest != windows.NoTime && newest+ttl <= frontier
}

// Closed reports whether an event of time t falls into a tumbling window that the watermark has closed: such an event is late for features over w.
func Closed(w windows.Window, t, watermark int64) bool {
	return w.Kind == windows.Tumbling && (floor(t, w.Length)+1)*w.Length <= watermark
}

// taken is an event that counts: its key and its argument.
type taken struct {
	time      int64
	partition int32
	offset    int64
	arg       windows.Value
}

// inWindow returns the events that feature i, which is s, aggregates, oldest first.
func inWindow(i int, s windows.Spec, events []windows.Event, frontier, watermark int64) []taken {
	var in []taken
	for _, e := range events {
		if e.Takes[i/64]&(1<<(i%64)) == 0 || !holds(s.Window, e.Time, frontier, watermark) {
			continue
		}
		t := taken{e.Time, e.Partition, e.Offset, windows.Value{}}
		if s.Input != windows.Null {
			if t.arg = e.Args[s.Arg]; t.arg.IsNull() {
				continue
			}
		}
		in = append(in, t)
	}
	slices.SortFunc(in, func(a, b taken) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	return in
}

// holds reports whether the window, as of (frontier, watermark), holds t.
func holds(w windows.Window, t, frontier, watermark int64) bool {
	switch w.Kind {
	case windows.Lifetime:
		return true
	case windows.Sliding:
		tile, r := floor(t, w.Resolution), w.Resolution
		return (tile+1)*r > frontier-w.Length && tile*r <= frontier
	case windows.Exact:
		return frontier-w.Length < t && t <= frontier
	case windows.Running:
		return floor(t, w.Length) == floor(frontier, w.Length)
	case windows.Tumbling:
		return watermark != windows.NoTime && floor(t, w.Length) == floor(watermark, w.Length)-1
	}
	panic("oracle: unknown window")
}

// floor returns the greatest whole number not above a/b, b > 0.
func floor(a, b int64) int64 {
	var q, m big.Int
	q.DivMod(big.NewInt(a), big.NewInt(b), &m) // Euclidean: rounds down for a positive divisor
	return q.Int64()
}

func aggregate(s windows.Spec, in []taken) windows.Value {
	limit := s.Limit
	if limit == 0 {
		limit = 10_000
		if s.Aggregate == "timestamps" {
			limit = 100
		}
	}
	if s.Window.Kind == windows.Exact && s.Aggregate != "timestamps" && len(in) > limit {
		return windows.Value{}
	}
	switch s.Aggregate {
	case "count":
		return windows.IntOf(int64(len(in)))
	case "sum":
		return sum(s.Input, in)
	}
	if len(in) == 0 {
		return windows.Value{}
	}
	switch s.Aggregate {
	case "mean":
		return double(quotient(total(in), int64(len(in))))
	case "variance":
		return double(variance(in))
	case "stddev":
		return double(math.Sqrt(variance(in)))
	case "first":
		return in[0].arg
	case "last":
		return in[len(in)-1].arg
	case "min":
		return slices.MinFunc(in, byArg).arg
	case "max":
		return slices.MaxFunc(in, byArg).arg
	case "count_distinct":
		return distinct(in, limit)
	case "timestamps":
		return timestamps(in, limit)
	}
	panic("oracle: unknown aggregate " + s.Aggregate)
}

func sum(kind windows.Kind, in []taken) windows.Value {
	t := total(in)
	if kind == windows.Double {
		f, _ := t.Float64()
		return double(f)
	}
	if !t.Num().IsInt64() {
		return windows.Value{}
	}
	return windows.IntOf(t.Num().Int64())
}

// exactly returns a number's exact value.
func exactly(v windows.Value) *big.Rat {
	if v.Kind() == windows.Double {
		return new(big.Rat).SetFloat64(v.Double())
	}
	return new(big.Rat).SetInt64(v.Int())
}

func total(in []taken) *big.Rat {
	t := new(big.Rat)
	for _, e := range in {
		t.Add(t, exactly(e.arg))
	}
	return t
}

// quotient returns the double nearest to x/n.
func quotient(x *big.Rat, n int64) float64 {
	f, _ := new(big.Rat).Quo(x, new(big.Rat).SetInt64(n)).Float64()
	return f
}

// variance is the mean squared distance from the mean, in exact arithmetic.
func variance(in []taken) float64 {
	n := int64(len(in))
	mean := new(big.Rat).Quo(total(in), new(big.Rat).SetInt64(n))
	squares := new(big.Rat)
	for _, e := range in {
		d := new(big.Rat).Sub(exactly(e.arg), mean)
		squares.Add(squares, d.Mul(d, d))
	}
	return quotient(squares, n)
}

// byArg orders values of one kind.
func byArg(a, b taken) int {
	switch a.arg.Kind() {
	case windows.String:
		return cmp.Compare(a.arg.Str(), b.arg.Str())
	case windows.Double:
		return cmp.Compare(a.arg.Double(), b.arg.Double())
	}
	return cmp.Compare(a.arg.Int(), b.arg.Int())
}

func distinct(in []taken, limit int) windows.Value {
	different := 0
	for i, e := range in {
		if !slices.ContainsFunc(in[:i], func(o taken) bool { return byArg(o, e) == 0 }) {
			different++
		}
	}
	if different > limit {
		return windows.Value{}
	}
	return windows.IntOf(int64(different))
}

func timestamps(in []taken, limit int) windows.Value {
	var times []int64
	for _, e := range in[max(0, len(in)-limit):] {
		times = append(times, e.time)
	}
	return windows.TimesOf(times)
}

func double(f float64) windows.Value { return windows.DoubleOf(f) }
