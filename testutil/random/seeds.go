package random

import (
	"iter"
	"os"
	"strconv"
	"testing"
	"time"
)

// Seeds returns the seeds that a test is to try: those below n; with HIGHWATER_SEED=17 in the environment 17 alone; with HIGHWATER_SOAK=10m new ones, for that share of as long.
func Seeds(tb testing.TB, n uint64, share float64) iter.Seq[uint64] {
	tb.Helper()
	if text := os.Getenv("HIGHWATER_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			tb.Fatalf("HIGHWATER_SEED: %v", err)
		}
		return func(yield func(uint64) bool) { yield(seed) }
	}
	var soak time.Duration
	if text := os.Getenv("HIGHWATER_SOAK"); text != "" {
		var err error
		if soak, err = time.ParseDuration(text); err != nil {
			tb.Fatalf("HIGHWATER_SOAK: %v", err)
		}
	}
	first := uint64(0)
	if soak > 0 {
		first = uint64(time.Now().Unix()) * 1_000_000
	}
	until := time.Now().Add(time.Duration(share * float64(soak)))
	return func(yield func(uint64) bool) {
		seed := first
		for ; seed < first+n || time.Now().Before(until); seed++ {
			if !yield(seed) {
				return
			}
		}
		tb.Logf("%d seeds from %d on", seed-first, first)
	}
}
