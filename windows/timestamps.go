package windows

import (
	"encoding/binary"
	"slices"
)

var timestampsInfo = Info{
	Name:     "timestamps",
	Summary:  "the event times of the newest limit events, ascending",
	Argument: ArgumentNone,
	Limit:    100,
	output:   always(Timestamps),
	build:    func(_ Kind, limit int) aggregate { return timestamps{limit: limit} },
}

// timestamps keeps the newest limit event times, ascending, and their number in n.
type timestamps struct{ limit int }

func (x timestamps) add(p *partial, _ Value, k eventKey) {
	m := p.extra()
	i := len(m.nums)
	for i > 0 && m.nums[i-1] > k.time { // events come nearly in order
		i--
	}
	if len(m.nums) < x.limit {
		m.nums = slices.Insert(m.nums, i, k.time)
		p.n++
	} else if i > 0 { // the oldest makes room
		copy(m.nums, m.nums[1:i])
		m.nums[i-1] = k.time
	}
}

func (x timestamps) merge(p, q *partial) {
	if q.n == 0 {
		return
	}
	m := p.extra()
	m.nums = append(m.nums, q.more.nums...) // q's tile is newer than all before
	m.nums = m.nums[max(0, len(m.nums)-x.limit):]
	p.n = int64(len(m.nums))
}

func (x timestamps) result(p *partial) (Value, fault) {
	if p.n == 0 {
		return Value{}, sound
	}
	return TimesOf(p.more.nums), sound
}

func (x timestamps) encode(dst []byte, p *partial, base int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.n))
	for _, t := range slices.Backward(p.more.nums) {
		dst = binary.AppendUvarint(dst, uint64(base-t))
		base = t
	}
	return dst
}

func (x timestamps) decode(r *reader, p *partial, base int64) {
	if p.n > int64(x.limit) {
		r.fail("a list beyond its limit")
	}
	times := make([]int64, r.length(p.n, 1))
	for i := len(times) - 1; i >= 0; i-- {
		base = r.before(base)
		times[i] = base
	}
	p.extra().nums = times
}
