package windows

import (
	"math"
	"math/bits"
)

// int128 is a two's complement integer wide enough for any sum of int64: the order in which they are added cannot matter.
type int128 struct{ hi, lo uint64 }

func int128Of(v int64) int128 { return int128{uint64(v >> 63), uint64(v)} }

func (x int128) plus(y int128) int128 {
	lo, carry := bits.Add64(x.lo, y.lo, 0)
	hi, _ := bits.Add64(x.hi, y.hi, carry)
	return int128{hi, lo}
}

func (x int128) negate() int128 {
	lo, borrow := bits.Sub64(0, x.lo, 0)
	hi, _ := bits.Sub64(0, x.hi, borrow)
	return int128{hi, lo}
}

// int64 returns x, and whether it fits.
func (x int128) int64() (v int64, ok bool) {
	v = int64(x.lo)
	return v, x.hi == uint64(v>>63)
}

// float returns the double nearest to x.
func (x int128) float() float64 {
	if int64(x.hi) < 0 {
		return -x.negate().magnitude()
	}
	return x.magnitude()
}

func (x int128) magnitude() float64 {
	if x.hi == 0 {
		return float64(x.lo)
	}
	// The 64 leading bits, the last of them set too if anything follows: it lies below what a double keeps, so it only breaks ties, as the digits left out would.
	n := bits.LeadingZeros64(x.hi)
	lead := x.hi<<n | x.lo>>(64-n)
	if x.lo<<n != 0 {
		lead |= 1
	}
	return math.Ldexp(float64(lead), 64-n)
}

// encode appends x as a varint: zigzag, 7 bits a byte, the lowest first, so that a small sum is as short as a small int64.
func (x int128) encode(dst []byte) []byte {
	sign := uint64(int64(x.hi) >> 63)
	hi, lo := (x.hi<<1|x.lo>>63)^sign, x.lo<<1^sign
	for hi != 0 || lo >= 0x80 {
		dst = append(dst, byte(lo)|0x80)
		hi, lo = hi>>7, lo>>7|hi<<57
	}
	return append(dst, byte(lo))
}

func (r *reader) int128() int128 {
	var hi, lo uint64
	for shift := 0; ; shift += 7 {
		c := r.byte()
		v := uint64(c & 0x7f)
		if shift == 126 && v > 3 || shift > 126 || shift > 0 && c == 0 {
			r.fail("a 128-bit integer that is too long")
			return int128{}
		}
		if shift < 64 {
			lo |= v << shift
			hi |= v >> (64 - shift) // nothing before shift 58
		} else {
			hi |= v << (shift - 64)
		}
		if c < 0x80 {
			break
		}
	}
	sign := -(lo & 1)
	return int128{(hi >> 1) ^ sign, (lo>>1 | hi<<63) ^ sign}
}
