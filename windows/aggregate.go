package windows

import "slices"

// An aggregate's arithmetic and encoding. Implementations are small immutable values; all state is in partials. An empty partial (n == 0) is the zero partial.
//
// Partials come in two roles that never mix: those of tiles, which add fills, and the one accumulator of a fold, which either merge fills (from tiles) or add (from the events of an exact window).
type aggregate interface {
	// add takes one event into p. v is the argument, never null; the zero Value where the aggregate takes none. A string that p keeps is cloned.
	add(p *partial, v Value, k eventKey)
	// merge takes q into the accumulator p; called from old tiles to new. It leaves q as it is, and p may share q's memory, so it must not write there.
	merge(p, q *partial)
	// result returns what the accumulator p comes to, and why it is null if that is not for want of events. It may reorder p.
	result(p *partial) (Value, fault)
	// encode appends p, which is not empty, to dst, beginning with the uvarint of n; base is the entity's event time, which no event in p exceeds.
	encode(dst []byte, p *partial, base int64) []byte
	// decode reads what encode wrote after n, which is in p already.
	decode(r *reader, p *partial, base int64)
}

// gatherer is an aggregate that has a faster way than add to take the events of an exact window, one after the other, into an accumulator. v lives as long as the entity: no clone is needed.
type gatherer interface {
	gather(p *partial, v Value)
}

// partial is one aggregate's state over one tile. What n, a and b hold is the aggregate's own affair, except that n is 0 only where there is nothing.
type partial struct {
	n    int64
	a, b uint64
	more *more // only for aggregates that keep texts, order or lists
}

// more is what does not fit in a partial's words.
type more struct {
	key  eventKey // first, last
	str  string   // min, max, first, last of a string
	nums []int64  // count_distinct: a set, ascending. timestamps: µs, ascending
	strs []string // count_distinct of a string: a set, ascending
}

func (p *partial) extra() *more {
	if p.more == nil {
		p.more = new(more)
	}
	return p.more
}

// value returns the one value of that kind which p holds.
func (p *partial) value(kind Kind) Value {
	if kind == String {
		return StringOf(p.more.str)
	}
	return Value{kind: kind, num: p.a}
}

// keep makes v the value that p holds, with bytes of its own.
func (p *partial) keep(v Value) {
	p.n, p.a = 1, v.num
	if v.kind == String {
		p.extra().str = v.Clone().str
	}
}

// eventKey orders events: by time, then by where they stand in the log.
type eventKey struct {
	time int64
	place
}

// place is where in a topic an event stands.
type place struct {
	partition int32
	offset    int64
}

func (k eventKey) before(o eventKey) bool {
	if k.time != o.time {
		return k.time < o.time
	}
	if k.partition != o.partition {
		return k.partition < o.partition
	}
	return k.offset < o.offset
}

// fault is why a value is null although there were events.
type fault uint8

const (
	sound fault = iota
	overflowed
	outgrown // its limit
)

// Argument says whether an aggregate takes a field.
type Argument uint8

// The rules for arguments.
const (
	ArgumentNone     Argument = iota // the events themselves
	ArgumentOptional                 // the events, or those where a field is not null
	ArgumentRequired                 // a field
)

// Info is what definitions need to know of an aggregate. It is immutable.
type Info struct {
	Name     string
	Summary  string // one line, for people
	Argument Argument
	Inputs   []Kind // kinds of field it takes; nil for ArgumentNone
	Limit    int    // the default of its own limit, which every window of it has; 0 where only exact windows have one

	output func(input Kind) Kind
	build  func(input Kind, limit int) aggregate
}

// DefaultExactLimit is how many events an exact window holds where the aggregate has no default of its own.
const DefaultExactLimit = 10_000

// Accepts reports whether the aggregate may be taken of a field of kind input; Null asks for no field.
func (i Info) Accepts(input Kind) bool {
	if input == Null {
		return i.Argument != ArgumentRequired
	}
	return slices.Contains(i.Inputs, input)
}

// Output returns the kind of the aggregate's values, of a field of kind input (Null for none).
func (i Info) Output(input Kind) Kind { return i.output(input) }

// Empty returns the aggregate's value over no events, of a field of kind input (Null for none).
func (i Info) Empty(input Kind) Value {
	v, _ := i.build(input, 1).result(new(partial))
	return v
}

// DefaultLimit returns the limit where none is given, over a window of that kind; 0 where a limit has no meaning.
func (i Info) DefaultLimit(w WindowKind) int {
	if i.Limit == 0 && w == Exact {
		return DefaultExactLimit
	}
	return i.Limit
}

// Allows reports whether the aggregate may be taken over a window of that kind. All of today's may, over all.
func (i Info) Allows(w WindowKind) bool { return w <= Running }

// aggregates is every aggregate there is, in the order that a reference lists them. A new one is a file and a line here.
var aggregates = [...]Info{
	countInfo,
	sumInfo,
	meanInfo,
	minInfo,
	maxInfo,
	firstInfo,
	lastInfo,
	varianceInfo,
	stddevInfo,
	countDistinctInfo,
	timestampsInfo,
}

// Aggregates returns every aggregate there is, in the order that a reference lists them.
func Aggregates() []Info { return slices.Clone(aggregates[:]) }

// Lookup finds an aggregate by its name.
func Lookup(name string) (Info, bool) {
	for _, i := range aggregates {
		if i.Name == name {
			return i, true
		}
	}
	return Info{}, false
}

// always returns an output kind that does not depend on the input's.
func always(k Kind) func(Kind) Kind { return func(Kind) Kind { return k } }

// same returns the input's own kind.
func same(input Kind) Kind { return input }
