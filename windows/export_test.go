package windows

import "math/big"

// Int128 adds up terms and returns 2⁴⁰ + 1 times the total, as it comes back from its bytes, and the double nearest to it.
func Int128(terms []int64) (total *big.Int, nearest float64, ok bool) {
	var x int128
	for _, t := range terms {
		x = x.plus(int128Of(t))
	}
	once := x
	for range 40 { // into the high word
		x = x.plus(x)
	}
	x = x.plus(once)
	r := reader{b: x.encode(nil)}
	back := r.int128()
	total = new(big.Int).SetUint64(back.hi)
	if int64(back.hi) < 0 {
		total.Sub(total, new(big.Int).Lsh(big.NewInt(1), 64))
	}
	total.Lsh(total, 64).Add(total, new(big.Int).SetUint64(back.lo))
	return total, x.float(), r.wrong == "" && len(r.b) == 0
}
