package capacity

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The limits of a question. What lies beyond them is a mistake in a unit, or in a digit.
const (
	mostEvents    = 1_000_000_000_000 // a second
	leastInterval = time.Millisecond
	mostInterval  = 24 * time.Hour
	mostHeadroom  = 10 * whole
)

// Check returns everything that is wrong with a question, one line a mistake, each with what would be right; nil where it can be answered.
func (q Question) Check() error {
	var mistakes []error
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	for _, r := range []struct {
		name  string
		value int64
	}{{"rate", q.Rate}, {"speed of one worker", q.Speed}} {
		if r.value < 1 || r.value > mostEvents {
			wrong("the %s is %d events a second: give 1 to %d", r.name, r.value, int64(mostEvents))
		}
	}
	if q.Interval < leastInterval || q.Interval > mostInterval {
		wrong("the interval is %s: give %s to %s, such as 5s", q.Interval, leastInterval, mostInterval)
	}
	switch {
	case q.Target <= 0:
		wrong("the target is %s: give the time that processing a batch may take, such as 50%% of the interval, or 2s", q.Target)
	case q.Target > q.Interval:
		wrong("the target of %s is longer than the interval of %s: batches would come faster than they are done, and the backlog would grow without end; give a target below the interval (50%% of it is usual)", q.Target, q.Interval)
	}
	switch h := q.Headroom; {
	case h.Low < 0, h.High > mostHeadroom:
		wrong("the headroom is %s to %s: give 0%% to %s", h.Low, h.High, mostHeadroom)
	case h.Low > h.High:
		wrong("the headroom is %s to %s: give the lower end first", h.Low, h.High)
	}
	return errors.Join(mistakes...)
}

// String returns the percentage with as many decimals as it needs: 30%, 12.5%.
func (p Percent) String() string { return strconv.FormatFloat(float64(p)/100, 'f', -1, 64) + "%" }
