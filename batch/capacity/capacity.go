package capacity

import (
	"fmt"
	"math/big"
	"time"
)

// Question is a load, and what one worker makes of it. The zero value is no question: see [Question.Check].
type Question struct {
	Rate     int64         // events a second at the peak, 1 to 10^12
	Interval time.Duration // from one batch to the next, 1 ms to 24 h
	Target   time.Duration // what processing one batch may take: more than 0, at most Interval
	Speed    int64         // events a second that one worker processes while it is busy, 1 to 10^12
	Headroom Headroom
}

// Headroom is the range of what is to be kept free, on top of what the peak needs: for peaks beyond the peak, for a worker that is down, for catching up.
type Headroom struct{ Low, High Percent }

// Percent is in hundredths of a percent: 3000 is 30 %.
type Percent int64

// whole is 100 %.
const whole Percent = 100_00

// Of returns that part of d, rounded down to a nanosecond.
func (p Percent) Of(d time.Duration) time.Duration {
	part := new(big.Int).Mul(big.NewInt(int64(d)), big.NewInt(int64(p)))
	return time.Duration(part.Quo(part, big.NewInt(int64(whole))).Int64())
}

// DefaultTarget is what processing one batch may take of the interval, unless told otherwise.
const DefaultTarget Percent = 50_00

// Answer is what a question needs, with the steps that lead there.
type Answer struct {
	Question
	Batch *big.Rat // events a batch: Rate × Interval
	Share *big.Rat // events that one worker processes within the target: Speed × Target

	Bare Workers // to end within the target at the peak, with nothing to spare
	Low  Workers // with the low end of the headroom
	High Workers // with the high end of it
}

// Workers is how many workers a batch needs.
type Workers struct {
	Headroom Percent
	Exact    *big.Rat // Batch ÷ Share × (1 + Headroom)
	Count    int64    // Exact, rounded up
}

// mostWorkers is the largest answer. Beyond it somebody has mistaken a unit.
const mostWorkers = 1_000_000

// Size answers a question. An error is a mistake in the question, and says what to do about it.
func Size(q Question) (Answer, error) {
	if err := q.Check(); err != nil {
		return Answer{}, err
	}
	a := q.size()
	if a.High.Exact.Cmp(big.NewRat(mostWorkers, 1)) > 0 {
		return Answer{}, fmt.Errorf("%d events a second at %d a worker need more than %d workers: look at the units (both are events a second), or at what makes a worker so slow", q.Rate, q.Speed, mostWorkers)
	}
	return a, nil
}

// RuleOfThumb answers the question as a widely read rule does: a batch's events divided by a worker's events a second. That is a target of one second, whatever the interval, so the result is too high for intervals above two
// seconds, and below one second it lets batches take longer than they may. The question must be one that [Size] answers.
func RuleOfThumb(q Question) Answer {
	q.Target = time.Second
	return q.size()
}

// MostForOne returns the highest rate, in events a second, that one worker keeps within the target while that much headroom is left. At that rate Size says 1, and at one event a second more it does not.
func (q Question) MostForOne(headroom Percent) int64 {
	rate := new(big.Rat).Mul(q.share(), new(big.Rat).Inv(factor(headroom)))
	rate.Quo(rate, seconds(q.Interval))
	return new(big.Int).Quo(rate.Num(), rate.Denom()).Int64()
}

func (q Question) size() Answer {
	a := Answer{Question: q, Batch: new(big.Rat).Mul(events(q.Rate), seconds(q.Interval)), Share: q.share()}
	bare := new(big.Rat).Quo(a.Batch, a.Share)
	a.Bare, a.Low, a.High = workers(bare, 0), workers(bare, q.Headroom.Low), workers(bare, q.Headroom.High)
	return a
}

func (q Question) share() *big.Rat { return new(big.Rat).Mul(events(q.Speed), seconds(q.Target)) }

// workers puts the headroom on the unrounded figure, and rounds up once.
func workers(bare *big.Rat, headroom Percent) Workers {
	exact := new(big.Rat).Mul(bare, factor(headroom))
	return Workers{Headroom: headroom, Exact: exact, Count: ceil(exact)}
}

func ceil(r *big.Rat) int64 {
	quotient, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		quotient.Add(quotient, big.NewInt(1))
	}
	return quotient.Int64()
}

func events(n int64) *big.Rat { return big.NewRat(n, 1) }

func seconds(d time.Duration) *big.Rat { return big.NewRat(int64(d), int64(time.Second)) }

func factor(headroom Percent) *big.Rat { return big.NewRat(int64(whole+headroom), int64(whole)) }
