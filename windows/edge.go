package windows

import (
	"encoding/binary"
	"math"
)

// edge is first and last: n = 1, the value in a or as a text, and the key of the event that it came from.
type edge struct {
	kind Kind
	wins func(k, than eventKey) bool
}

func (x edge) add(p *partial, v Value, k eventKey) {
	if p.n == 0 || x.wins(k, p.more.key) {
		p.keep(v)
		p.extra().key = k
	}
}

func (x edge) merge(p, q *partial) {
	if p.n == 0 || q.n != 0 && x.wins(q.more.key, p.more.key) {
		*p = *q
	}
}

func (x edge) result(p *partial) (Value, fault) {
	if p.n == 0 {
		return Value{}, sound
	}
	return p.value(x.kind), sound
}

func (x edge) encode(dst []byte, p *partial, base int64) []byte {
	k := p.more.key
	dst = binary.AppendUvarint(dst, 1)
	dst = binary.AppendUvarint(dst, uint64(base-k.time))
	dst = binary.AppendUvarint(dst, uint64(uint32(k.partition)))
	dst = binary.AppendVarint(dst, k.offset)
	return appendScalar(dst, p.value(x.kind))
}

func (x edge) decode(r *reader, p *partial, base int64) {
	r.flag(p)
	k := eventKey{time: r.before(base)}
	k.partition = r.partition()
	k.offset = r.varint()
	p.keep(r.scalar(x.kind))
	p.extra().key = k
}

func (r *reader) partition() int32 {
	n := r.uvarint()
	if n > math.MaxUint32 {
		r.fail("a partition beyond 32 bits")
	}
	return int32(uint32(n))
}
