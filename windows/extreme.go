package windows

import (
	"cmp"
	"encoding/binary"
)

// extreme is min and max: n = 1 and the value, in a or as a text.
type extreme struct {
	kind Kind
	sign int // +1: the greatest, −1: the least
}

func (x extreme) add(p *partial, v Value, _ eventKey) {
	v = unsignedZero(v)
	if p.n == 0 || x.sign*compare(v, p.value(x.kind)) > 0 {
		p.keep(v)
	}
}

func (x extreme) merge(p, q *partial) {
	if p.n == 0 || q.n != 0 && x.sign*compare(q.value(x.kind), p.value(x.kind)) > 0 {
		*p = *q
	}
}

func (x extreme) result(p *partial) (Value, fault) {
	if p.n == 0 {
		return Value{}, sound
	}
	return p.value(x.kind), sound
}

func (x extreme) encode(dst []byte, p *partial, _ int64) []byte {
	return appendScalar(binary.AppendUvarint(dst, 1), p.value(x.kind))
}

func (x extreme) decode(r *reader, p *partial, _ int64) {
	r.flag(p)
	p.keep(r.scalar(x.kind))
}

// compare orders two values of one kind.
func compare(v, w Value) int {
	switch v.kind {
	case String:
		return cmp.Compare(v.str, w.str)
	case Double:
		return cmp.Compare(v.Double(), w.Double())
	}
	return cmp.Compare(v.Int(), w.Int())
}

// unsignedZero makes −0 a 0: they are equal, so which of them came first would show.
func unsignedZero(v Value) Value {
	if v.kind == Double && v.Double() == 0 {
		v.num = 0
	}
	return v
}
