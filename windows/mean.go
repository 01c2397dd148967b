package windows

import (
	"encoding/binary"
	"math"
)

var meanInfo = Info{
	Name:     "mean",
	Summary:  "the average of a field",
	Argument: ArgumentRequired,
	Inputs:   []Kind{Int64, Double},
	output:   always(Double),
	build: func(input Kind, _ int) aggregate {
		if input == Double {
			return meanDouble{}
		}
		return meanInt{}
	},
}

// meanInt keeps the number of values in n and their exact 128-bit total in (a, b).
type meanInt struct{}

func (meanInt) add(p *partial, v Value, _ eventKey) {
	p.n++
	p.setTotal(p.total().plus(int128Of(v.Int())))
}

func (meanInt) merge(p, q *partial) {
	p.n += q.n
	p.setTotal(p.total().plus(q.total()))
}

func (meanInt) result(p *partial) (Value, fault) {
	if p.n == 0 {
		return Value{}, sound
	}
	return finite(p.total().float() / float64(p.n))
}

func (meanInt) encode(dst []byte, p *partial, _ int64) []byte {
	return p.total().encode(binary.AppendUvarint(dst, uint64(p.n)))
}

func (meanInt) decode(r *reader, p *partial, _ int64) { p.setTotal(r.int128()) }

// meanDouble keeps the number of values in n and their total's bits in a. Where that total is infinite, so is the mean: null.
type meanDouble struct{}

func (meanDouble) add(p *partial, v Value, _ eventKey) {
	p.n++
	p.a = doubleBits(math.Float64frombits(p.a) + v.Double())
}

func (meanDouble) merge(p, q *partial) {
	p.n += q.n
	p.a = doubleBits(math.Float64frombits(p.a) + math.Float64frombits(q.a))
}

func (meanDouble) result(p *partial) (Value, fault) {
	if p.n == 0 {
		return Value{}, sound
	}
	return finite(math.Float64frombits(p.a) / float64(p.n))
}

func (meanDouble) encode(dst []byte, p *partial, _ int64) []byte {
	return appendBits(binary.AppendUvarint(dst, uint64(p.n)), p.a)
}

func (meanDouble) decode(r *reader, p *partial, _ int64) { p.a = r.bits() }
