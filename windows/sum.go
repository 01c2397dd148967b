package windows

import (
	"encoding/binary"
	"math"
)

var sumInfo = Info{
	Name:     "sum",
	Summary:  "the total of a field; null where an int64 or a double cannot hold it",
	Argument: ArgumentRequired,
	Inputs:   []Kind{Int64, Double},
	output:   same,
	build: func(input Kind, _ int) aggregate {
		if input == Double {
			return sumDouble{}
		}
		return sumInt{}
	},
}

// sumInt keeps n = 1 and a 128-bit total in (a, b): only the final total can overflow, so neither order nor cuts show.
type sumInt struct{}

func (p *partial) total() int128 { return int128{p.a, p.b} }

func (p *partial) setTotal(x int128) { p.a, p.b = x.hi, x.lo }

func (sumInt) add(p *partial, v Value, _ eventKey) {
	p.n = 1
	p.setTotal(p.total().plus(int128Of(v.Int())))
}

func (sumInt) merge(p, q *partial) {
	p.n |= q.n
	p.setTotal(p.total().plus(q.total()))
}

func (sumInt) result(p *partial) (Value, fault) {
	v, ok := p.total().int64()
	if !ok {
		return Value{}, overflowed
	}
	return IntOf(v), sound
}

func (sumInt) encode(dst []byte, p *partial, _ int64) []byte {
	return p.total().encode(binary.AppendUvarint(dst, 1))
}

func (sumInt) decode(r *reader, p *partial, _ int64) {
	r.flag(p)
	p.setTotal(r.int128())
}

// sumDouble keeps n = 1 and the total's bits in a. The total is plain: it depends on the order to rounding.
type sumDouble struct{}

func (sumDouble) add(p *partial, v Value, _ eventKey) {
	p.n = 1
	p.a = doubleBits(math.Float64frombits(p.a) + v.Double())
}

func (sumDouble) merge(p, q *partial) {
	p.n |= q.n
	p.a = doubleBits(math.Float64frombits(p.a) + math.Float64frombits(q.a))
}

func (sumDouble) result(p *partial) (Value, fault) { return finite(math.Float64frombits(p.a)) }

func (sumDouble) encode(dst []byte, p *partial, _ int64) []byte {
	return appendBits(binary.AppendUvarint(dst, 1), p.a)
}

func (sumDouble) decode(r *reader, p *partial, _ int64) {
	r.flag(p)
	p.a = r.bits()
}

// finite returns f, or null and overflowed for what no Value holds.
func finite(f float64) (Value, fault) {
	v := DoubleOf(f)
	if v.IsNull() {
		return v, overflowed
	}
	return v, sound
}

// doubleBits returns f's bits, those of math.NaN for every NaN: processors differ in the NaN that ∞ − ∞ gives.
func doubleBits(f float64) uint64 {
	if math.IsNaN(f) {
		f = math.NaN()
	}
	return math.Float64bits(f)
}
