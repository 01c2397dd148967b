package decode

import (
	"math"
	"strconv"
)

// number is one JSON number: its text, and what was gathered of it on the way.
type number struct {
	text     string // as it stands in the record, whose bytes it shares
	mantissa uint64 // its digits without sign and point; void where long
	exponent int    // mantissa · 10^exponent; saturated, so that no text overflows it
	negative bool
	long     bool // more digits than the mantissa holds
}

// fit says whether a number is an int64.
type fit uint8

const (
	fits   fit = iota
	broken     // not a whole number
	tooBig     // whole, but beyond int64
)

const (
	mantissaDigits = 19      // any 19 digits fit in 64 bits
	exponentLimit  = 1 << 40 // far beyond what any record has digits for, far below what overflows
)

// scanNumber reads the number at the start of s into n and returns its length. Where s does not start with a number it returns the place of the offending
// byte and false.
func scanNumber(s string, n *number) (length int, ok bool) {
	i := 0
	*n = number{}
	if i < len(s) && s[i] == '-' {
		n.negative = true
		i++
	}
	first := i
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		n.mantissa = n.mantissa*10 + uint64(s[i]-'0')
	}
	digits := i - first
	if digits == 0 || digits > 1 && s[first] == '0' {
		return min(i, first+1), false
	}
	if i < len(s) && (s[i] == '.' || s[i]|0x20 == 'e') {
		if i, digits, ok = n.scanTail(s, i, digits); !ok {
			return i, false
		}
	}
	n.long = digits > mantissaDigits
	n.text = s[:i]
	return i, true
}

// scanTail reads the fraction and the exponent of a number, either of which may be missing, from the place i after its first digits.
func (n *number) scanTail(s string, i, digits int) (next, allDigits int, ok bool) {
	if s[i] == '.' {
		point := i + 1
		for i = point; i < len(s) && s[i]-'0' <= 9; i++ {
			n.mantissa = n.mantissa*10 + uint64(s[i]-'0')
		}
		if i == point {
			return i, digits, false
		}
		n.exponent = point - i
		digits += i - point
	}
	if i == len(s) || s[i]|0x20 != 'e' {
		return i, digits, true
	}
	i++
	down := i < len(s) && s[i] == '-'
	if down || i < len(s) && s[i] == '+' {
		i++
	}
	first, e := i, 0
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		e = min(e*10+int(s[i]-'0'), exponentLimit)
	}
	if down {
		e = -e
	}
	n.exponent += e
	return i, digits, i > first
}

// integer returns n where it is whole and fits an int64, however it is written: 1e3 and 1000.0 are 1000, exactly.
func (n *number) integer() (int64, fit) {
	m := n.mantissa
	if n.exponent != 0 || n.long {
		var f fit
		if m, f = n.wholeDigits(); f != fits {
			return 0, f
		}
	}
	switch {
	case !n.negative && m <= math.MaxInt64:
		return int64(m), fits
	case n.negative && m <= -math.MinInt64:
		return -int64(m), fits
	}
	return 0, tooBig
}

// wholeDigits works out, digit by digit, the whole number that n's text spells with a fraction or an exponent, or with more digits than the mantissa holds.
func (n *number) wholeDigits() (uint64, fit) {
	var m uint64
	exponent, zeros := n.exponent, 0 // zeros: seen since the last other digit, and not yet in m
	seen := false
	for i := 0; i < len(n.text) && n.text[i]|0x20 != 'e'; i++ {
		d := n.text[i] - '0'
		switch {
		case d > 9: // the sign or the point
		case d == 0:
			zeros++
		default:
			if seen {
				m = scaled(m, zeros+1)
			}
			m, zeros, seen = added(m, d), 0, true
		}
	}
	exponent += zeros
	switch {
	case !seen:
		return 0, fits
	case exponent < 0:
		return 0, broken
	}
	if m = scaled(m, exponent); m == math.MaxUint64 {
		return 0, tooBig
	}
	return m, fits
}

// scaled and added saturate at MaxUint64, which is beyond any int64.
func scaled(m uint64, tens int) uint64 {
	for ; tens > 0 && m != 0 && m != math.MaxUint64; tens-- {
		if m > math.MaxUint64/10 {
			return math.MaxUint64
		}
		m *= 10
	}
	return m
}

func added(m uint64, d byte) uint64 {
	if m > math.MaxUint64-uint64(d) {
		return math.MaxUint64
	}
	return m + uint64(d)
}

// tens are the powers of ten that a double holds exactly.
var tens = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// double returns the double nearest to n; ok is false beyond the greatest.
func (n *number) double() (f float64, ok bool) {
	// Mantissa and power are exact doubles here, so that one product or quotient rounds once: to the nearest, as it should.
	if e := n.exponent; !n.long && n.mantissa <= 1<<53 && -len(tens) < e && e < len(tens) {
		f = float64(n.mantissa)
		if e < 0 {
			f /= tens[-e]
		} else {
			f *= tens[e]
		}
		if n.negative {
			f = -f
		}
		return f, true
	}
	f, err := strconv.ParseFloat(n.text, 64)
	return f, err == nil
}

// excerpt quotes n for people, cut where it is long.
func (n *number) excerpt() string {
	const most = 40
	if len(n.text) > most {
		return n.text[:most] + "…"
	}
	return n.text
}
