package windows

import "sort"

// clock is what a window moves by.
type clock uint8

const (
	noClock clock = iota
	byFrontier
	byWatermark
)

// span says when a tile counts: one that begins at s, while s + show ≤ clock < s + hide. What is past hiding will never count again, for neither clock goes back.
//
//	kind      clock      width       show    hide
//	Sliding   frontier   resolution  0       resolution + length   (i+1)·r > F − W and i·r ≤ F
//	Exact     frontier   1 µs        0       length                F − W < t ≤ F
//	Running   frontier   length      0       length                the window that holds F
//	Tumbling  watermark  length      length  2 · length            the last one that the watermark has closed
//	Lifetime  none       all time    always  never
type span struct {
	clock      clock
	width      int64
	show, hide int64
}

// maxTime bounds event times and lengths, in µs either side of 1970 (about 36,000 years), so that sums of a few of them do not overflow.
const maxTime = 1 << 60

func spanOf(w Window) span {
	switch w.Kind {
	case Sliding:
		return span{byFrontier, w.Resolution, 0, w.Resolution + w.Length}
	case Exact:
		return span{byFrontier, 1, 0, w.Length}
	case Running:
		return span{byFrontier, w.Length, 0, w.Length}
	case Tumbling:
		return span{byWatermark, w.Length, w.Length, 2 * w.Length}
	}
	return span{}
}

// tile returns the number of the tile that holds t.
func (s span) tile(t int64) int64 {
	if s.clock == noClock {
		return 0
	}
	return floorDiv(t, s.width)
}

// shows returns when tile i begins to count.
func (s span) shows(i int64) int64 {
	if s.clock == noClock {
		return NoTime
	}
	return i*s.width + s.show
}

// hides returns when tile i ceases to count, and may be forgotten.
func (s span) hides(i int64) int64 {
	if s.clock == noClock {
		return Never
	}
	return i*s.width + s.hide
}

// now picks the clock that moves the span.
func (s span) now(frontier, watermark int64) int64 {
	if s.clock == byWatermark {
		return watermark
	}
	return frontier
}

// past returns how many of tiles, which ascend, have ceased to count.
func (s span) past(tiles []int64, now int64) int {
	n := 0
	for n < len(tiles) && s.hides(tiles[n]) <= now {
		n++
	}
	return n
}

// counting returns the range [lo, hi) of those tiles, which ascend, that count now.
func (s span) counting(tiles []int64, now int64) (lo, hi int) {
	lo, hi = s.past(tiles, now), len(tiles)
	if hi > lo && s.shows(tiles[hi-1]) > now { // a window still pending
		hi = lo + sort.Search(hi-lo, func(i int) bool { return s.shows(tiles[lo+i]) > now })
	}
	return lo, hi
}

// next returns when, after now, the set of tiles that count changes; Never if it does not.
func (s span) next(tiles []int64, now int64) int64 {
	lo, hi := s.counting(tiles, now)
	at := int64(Never)
	if lo < hi {
		at = s.hides(tiles[lo])
	}
	if hi < len(tiles) {
		at = min(at, s.shows(tiles[hi]))
	}
	return at
}

// last returns when the last of tiles ceases to count; NoTime if there is none.
func (s span) last(tiles []int64) int64 {
	if len(tiles) == 0 {
		return NoTime
	}
	return s.hides(tiles[len(tiles)-1])
}

// floorDiv divides rounding down, b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if q*b > a {
		q--
	}
	return q
}
