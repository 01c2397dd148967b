package windows

import (
	"encoding/binary"
	"math"
)

var varianceInfo = Info{
	Name:     "variance",
	Summary:  "the population variance of a field",
	Argument: ArgumentRequired,
	Inputs:   []Kind{Int64, Double},
	output:   always(Double),
	build:    func(input Kind, _ int) aggregate { return variance{kind: input} },
}

// variance keeps the number of values in n, the bits of their mean in a, and those of the sum of squared distances from it (M2) in b.
// A value is added by Welford's recurrence (Technometrics 4, 1962), and two partials are merged by that of Chan, Golub and LeVeque (Stanford STAN-CS-79-773, 1979): neither subtracts large squares from one another.
// Products are converted explicitly, lest a compiler fuse them with the sum that follows: fused, they round otherwise, and state would differ between processors.
type variance struct{ kind Kind }

func (x variance) add(p *partial, v Value, _ eventKey) {
	f := v.Double()
	if x.kind == Int64 {
		f = float64(v.Int())
	}
	p.n++
	mean, m2 := p.moments()
	d := f - mean
	mean += d / float64(p.n)
	m2 += float64(d * (f - mean))
	p.setMoments(mean, m2)
}

func (variance) merge(p, q *partial) {
	if p.n == 0 || q.n == 0 {
		if q.n != 0 {
			*p = *q
		}
		return
	}
	n, m := float64(p.n), float64(q.n)
	mean, m2 := p.moments()
	qMean, qM2 := q.moments()
	d := qMean - mean
	mean += float64(d * (m / (n + m)))
	m2 += qM2 + float64(d*d*(n*(m/(n+m))))
	p.n += q.n
	p.setMoments(mean, m2)
}

func (variance) result(p *partial) (Value, fault) {
	if p.n == 0 {
		return Value{}, sound
	}
	_, m2 := p.moments()
	return finite(m2 / float64(p.n))
}

func (variance) encode(dst []byte, p *partial, _ int64) []byte {
	return appendBits(appendBits(binary.AppendUvarint(dst, uint64(p.n)), p.a), p.b)
}

func (variance) decode(r *reader, p *partial, _ int64) { p.a, p.b = r.bits(), r.bits() }

func (p *partial) moments() (mean, m2 float64) {
	return math.Float64frombits(p.a), math.Float64frombits(p.b)
}

func (p *partial) setMoments(mean, m2 float64) { p.a, p.b = doubleBits(mean), doubleBits(m2) }
