package faults

import (
	"math/rand/v2"
	"time"
)

// Schedule says what [Draw] draws from. The zero value draws one fault: any act, at any point, at one of its first 8 passages.
type Schedule struct {
	Faults  int           // how many; 0 for 1
	Points  []Point       // where; nil for all of them
	Acts    []Act         // what; nil for all of them
	Nth     int           // the latest passage of a point to strike at; 0 for 8
	Longest time.Duration // of a delay or an outage; 0 for 200 ms
}

// Draw returns faults drawn by r alone: the same seed gives the same faults. Half of the failures strike once, half of them last.
// The points of a republish or a new generation are passed in one alone, so that a fault drawn there may never strike.
func Draw(r *rand.Rand, s Schedule) []Fault {
	s = s.withDefaults()
	var list []Fault
	for range s.Faults {
		f := Fault{At: s.Points[r.IntN(len(s.Points))], Nth: 1 + r.IntN(s.Nth), Act: s.Acts[r.IntN(len(s.Acts))]}
		lasts := 1 + time.Duration(r.Int64N(int64(s.Longest)))
		if f.Act == Delay || f.Act == Fail && r.IntN(2) == 0 {
			f.For = lasts.Round(time.Millisecond)
		}
		list = append(list, f)
	}
	return list
}

func (s Schedule) withDefaults() Schedule {
	if s.Faults == 0 {
		s.Faults = 1
	}
	if s.Points == nil {
		s.Points = Points()
	}
	if s.Acts == nil {
		s.Acts = Acts()
	}
	if s.Nth == 0 {
		s.Nth = 8
	}
	if s.Longest == 0 {
		s.Longest = 200 * time.Millisecond
	}
	return s
}
