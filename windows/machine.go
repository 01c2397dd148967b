package windows

import "math"

// All times in this package are int64 microseconds since the Unix epoch, UTC; all lengths are microseconds.

// Never is the fire time of a timer that does not fire. NoTime is the frontier or watermark before the first event.
const (
	Never  = math.MaxInt64
	NoTime = math.MinInt64
)

// WindowKind says how a window moves.
type WindowKind uint8

// The kinds of window. Their numbers are stored: append, never renumber.
const (
	Lifetime WindowKind = iota // every event ever
	Sliding                    // tiles of Resolution; the window ends at the frontier
	Exact                      // the events themselves: frontier − Length < t ≤ frontier
	Tumbling                   // [k·Length, (k+1)·Length): the last one that the watermark has closed
	Running                    // the tumbling window that holds the frontier
)

// Window is where in time an aggregate looks.
type Window struct {
	Kind       WindowKind
	Length     int64 // µs; 0 for Lifetime
	Resolution int64 // µs; Sliding only: divides Length
}

// Spec is one feature of a view: an aggregate over a window, or an expression over the view's other features.
type Spec struct {
	Name      string
	Aggregate string // an aggregate's name; "" for an expression
	Input     Kind   // kind of the aggregated argument; Null where the aggregate takes none
	Arg       int    // its index in Event.Args; -1 where the aggregate takes none
	Window    Window
	Limit     int // timestamps, count_distinct and exact windows: what they hold at most

	// Derive computes an expression from the values of the view's features, of which it reads only those before its own in dependency order; nil for an aggregate.
	Derive     func(values []Value) Value
	DeriveKind Kind // what Derive returns when not null

	// After lists the features that Derive reads, in any order: expressions that must be computed before this one, wherever they are declared (aggregates always are).
	// Expressions that do not wait for others are computed as declared, so a view that lists nothing has each read what is declared before it.
	After []int
}

// Event is one event as a view takes it.
type Event struct {
	Time      int64
	Partition int32
	Offset    int64
	Takes     []uint64 // bit i of word i/64 is set where feature i's filter let the event in (a null argument is skipped by the aggregate itself)
	Args      []Value
}
