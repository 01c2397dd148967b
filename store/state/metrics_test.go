package state

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

func TestMetrics_WriteStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stats
		heard := 0
		l := s.listen(&pebble.EventListener{WriteStallBegin: func(pebble.WriteStallBeginInfo) { heard++ }})
		l.WriteStallBegin(pebble.WriteStallBeginInfo{})
		time.Sleep(3 * time.Second) // in the bubble: no real time passes
		if got := s.stallTime(); got != 3*time.Second {
			t.Errorf("a stall that goes on for 3 s counts as %s", got)
		}
		l.WriteStallEnd()
		time.Sleep(time.Minute)
		l.WriteStallBegin(pebble.WriteStallBeginInfo{})
		time.Sleep(time.Second)
		l.WriteStallEnd()
		l.WriteStallEnd() // Pebble might
		if got := s.stallTime(); got != 4*time.Second || s.stalls.Load() != 2 || heard != 2 {
			t.Errorf("stalls of 3 s and 1 s: %s in %d, the other listener heard of %d", got, s.stalls.Load(), heard)
		}
	})
}

func TestMetrics_Syncs(t *testing.T) {
	for x, want := range map[float64]float64{0.001: 0.001, 0.0148139: 0.0148, 9.9999999999: 10, 3.3761: 3.38} {
		if got := threeDigits(x); got != want {
			t.Errorf("%v with three digits is %v, want %v", x, got, want)
		}
	}
	if s := syncs(nil); s.Count != 0 {
		t.Errorf("syncs of nothing: %+v", s)
	}
}
