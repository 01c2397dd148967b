package main

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"highwater/batch/capacity"
)

// eventRate is a flag in events a second: a number, with k or M behind it for thousands or millions.
type eventRate int64

var decimal = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

// mostRate keeps a rate within int64; what is absurd long before that, the arithmetic says.
const mostRate = 1 << 62

// UnmarshalText reads a flag's text.
func (r *eventRate) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSuffix(string(text), "/s"), int64(1)
	for suffix, factor := range map[string]int64{"k": 1000, "M": 1_000_000} {
		if rest, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = rest, factor
		}
	}
	n, ok := parseDecimal(number, unit)
	if !ok || !n.IsInt() || n.Sign() <= 0 || n.Cmp(big.NewRat(mostRate, 1)) > 0 {
		return fmt.Errorf("%q is not a rate: write a positive whole number of events a second, such as 50000, 200k or 1.5M", text)
	}
	*r = eventRate(n.Num().Int64())
	return nil
}

// parseDecimal returns the plain decimal number in text times unit, exactly.
func parseDecimal(text string, unit int64) (*big.Rat, bool) {
	if !decimal.MatchString(text) || len(text) > 40 {
		return nil, false
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, false
	}
	return n.Mul(n, big.NewRat(unit, 1)), true
}

// parsePercent reads 30, 30% or 12.5%, to the hundredth.
func parsePercent(text string) (capacity.Percent, bool) {
	n, ok := parseDecimal(strings.TrimSuffix(text, "%"), 100)
	if !ok || !n.IsInt() || n.Cmp(big.NewRat(1<<40, 1)) > 0 {
		return 0, false
	}
	return capacity.Percent(n.Num().Int64()), true
}

// batchTarget is a flag: what processing a batch may take, as a duration or as a percentage of the interval.
type batchTarget struct {
	part     capacity.Percent // where it is a percentage
	duration time.Duration    // where not
}

// UnmarshalText reads a flag's text.
func (t *batchTarget) UnmarshalText(text []byte) error {
	if part, ok := parsePercent(string(text)); ok && strings.HasSuffix(string(text), "%") && part > 0 {
		*t = batchTarget{part: part}
		return nil
	}
	if d, err := time.ParseDuration(string(text)); err == nil && d > 0 {
		*t = batchTarget{duration: d}
		return nil
	}
	return fmt.Errorf("%q is neither a duration nor a percentage: write what processing a batch may take, such as 2s, or a part of the interval, such as 50%%", text)
}

// of returns the target for an interval.
func (t batchTarget) of(interval time.Duration) time.Duration {
	if t.part > 0 {
		return t.part.Of(interval)
	}
	return t.duration
}

// headroom is a flag: one percentage, or a range of them.
type headroom capacity.Headroom

// UnmarshalText reads a flag's text.
func (h *headroom) UnmarshalText(text []byte) error {
	low, high, isRange := strings.Cut(string(text), "..")
	if !isRange {
		high = low
	}
	l, ok1 := parsePercent(low)
	u, ok2 := parsePercent(high)
	if !ok1 || !ok2 {
		return fmt.Errorf("%q is not a headroom: write a percentage, or a range of two, such as 40%% or 30%%..50%%", text)
	}
	*h = headroom{Low: l, High: u}
	return nil
}
