package windows

import (
	"encoding/binary"
	"slices"
)

var countDistinctInfo = Info{
	Name:     "count_distinct",
	Summary:  "how many different values a field has: exact up to limit, then null",
	Argument: ArgumentRequired,
	Inputs:   []Kind{Bool, Int64, Double, String, Timestamp},
	Limit:    10_000,
	output:   always(Int64),
	build: func(input Kind, limit int) aggregate {
		return countDistinct{text: input == String, limit: limit}
	},
}

// countDistinct keeps the set of values, ascending, and its size in n. A set that has outgrown the limit is dropped and n stays at limit + 1: no order of events changes that.
// An accumulator's list is sorted and rid of doubles only when it has grown long, or for the result.
type countDistinct struct {
	text  bool
	limit int
}

func (x countDistinct) full(p *partial) bool { return p.n > int64(x.limit) }

func (x countDistinct) outgrow(p *partial) { *p = partial{n: int64(x.limit) + 1} }

func (x countDistinct) add(p *partial, v Value, _ eventKey) {
	if x.full(p) {
		return
	}
	m := p.extra()
	if x.text {
		i, found := slices.BinarySearch(m.strs, v.str)
		if found {
			return
		}
		m.strs = slices.Insert(m.strs, i, v.Clone().str)
	} else {
		n := int64(unsignedZero(v).num)
		i, found := slices.BinarySearch(m.nums, n)
		if found {
			return
		}
		m.nums = slices.Insert(m.nums, i, n)
	}
	if p.n++; x.full(p) {
		x.outgrow(p)
	}
}

func (x countDistinct) gather(p *partial, v Value) {
	if x.full(p) {
		return
	}
	p.n = 1 // what matters until compact: something, and not full
	if m := p.extra(); x.text {
		m.strs = append(m.strs, v.str)
	} else {
		m.nums = append(m.nums, int64(unsignedZero(v).num))
	}
}

func (x countDistinct) merge(p, q *partial) {
	switch {
	case q.n == 0 || x.full(p):
		return
	case x.full(q):
		x.outgrow(p)
		return
	}
	p.n = 1
	m := p.extra()
	m.nums = append(m.nums, q.more.nums...)
	m.strs = append(m.strs, q.more.strs...)
	if len(m.nums)+len(m.strs) > 4*x.limit {
		x.compact(p)
	}
}

// compact sorts an accumulator's list and drops what is there twice.
func (x countDistinct) compact(p *partial) {
	m := p.more
	slices.Sort(m.nums)
	slices.Sort(m.strs)
	m.nums, m.strs = slices.Compact(m.nums), slices.Compact(m.strs)
	if p.n = int64(len(m.nums) + len(m.strs)); x.full(p) {
		x.outgrow(p)
	}
}

func (x countDistinct) result(p *partial) (Value, fault) {
	if p.more != nil {
		x.compact(p)
	}
	switch {
	case p.n == 0:
		return Value{}, sound
	case x.full(p):
		return Value{}, outgrown
	}
	return IntOf(p.n), sound
}

func (x countDistinct) encode(dst []byte, p *partial, _ int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.n))
	if x.full(p) {
		return dst
	}
	for _, s := range p.more.strs {
		dst = appendString(dst, s)
	}
	for i, n := range p.more.nums {
		if i == 0 {
			dst = binary.AppendVarint(dst, n)
		} else {
			dst = binary.AppendUvarint(dst, uint64(n)-uint64(p.more.nums[i-1])-1)
		}
	}
	return dst
}

func (x countDistinct) decode(r *reader, p *partial, _ int64) {
	if p.n >= int64(x.limit)+1 {
		if p.n > int64(x.limit)+1 {
			r.fail("a set beyond its limit")
		}
		return
	}
	n := r.length(p.n, 1)
	if m := p.extra(); x.text {
		m.strs = make([]string, n)
		for i := range m.strs {
			m.strs[i] = r.text()
			if i > 0 && m.strs[i] <= m.strs[i-1] {
				r.fail("a set out of order")
			}
		}
	} else {
		m.nums = make([]int64, n)
		for i := range m.nums {
			if i == 0 {
				m.nums[i] = r.varint()
				continue
			}
			m.nums[i] = int64(uint64(m.nums[i-1]) + r.uvarint() + 1)
			if m.nums[i] <= m.nums[i-1] {
				r.fail("a set out of order")
			}
		}
	}
}
