package random

import (
	"fmt"
	"iter"
	"os"
	"strconv"
	"testing"
	"time"
)

// Seeds returns the seeds that a test is to try: those below n; with HIGHWATER_SEED=17 in the environment 17 alone; with HIGHWATER_SOAK=10m new ones, for that share of as long, and never fewer than n.
// Each new one is named on stderr before it is tried: whatever ends the process in the middle of it, a panic in another goroutine or an os.Exit, the last line says how to repeat it.
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
		if soak <= 0 {
			tb.Fatalf("HIGHWATER_SOAK: %s is no time to look for anything", text)
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
			if soak > 0 {
				fmt.Fprintf(os.Stderr, "%s: HIGHWATER_SEED=%d\n", tb.Name(), seed)
			}
			if !yield(seed) {
				return
			}
		}
		tb.Logf("%d seeds from %d on", seed-first, first)
	}
}
