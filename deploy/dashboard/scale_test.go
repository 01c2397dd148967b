package dashboard

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestScale_Ticks(t *testing.T) {
	tests := []struct {
		highest float64
		unit    string
		want    []float64
	}{
		{9.4, "s", []float64{0, 2.5, 5, 7.5, 10}},
		{0.83, "s", []float64{0, 0.25, 0.5, 0.75, 1}},
		{4000, "ops", []float64{0, 1000, 2000, 3000, 4000}},
		{3 << 20, "bytes", []float64{0, 1 << 20, 2 << 20, 3 << 20}},
		{0, "short", []float64{0, 0.25, 0.5, 0.75, 1}},
	}
	for _, tt := range tests {
		got := ticks(0, tt.highest, 4, tt.unit)
		if !slices.EqualFunc(got, tt.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("ticks up to %v %s: %v, want %v", tt.highest, tt.unit, got, tt.want)
		}
	}
}

func TestScale_Text(t *testing.T) {
	tests := []struct {
		value float64
		unit  string
		want  string
	}{
		{0, "short", "0"}, {1234, "short", "1.23 k"}, {0.05, "short", "0.05"}, {250, "short", "250"}, {1e6, "short", "1 M"},
		{0.000_25, "s", "250 µs"}, {0.0123, "s", "12.3 ms"}, {5.5, "s", "5.5 s"}, {90, "s", "90 s"}, {600, "s", "10 min"}, {86400, "s", "24 h"}, {4 * 86400, "s", "4 d"}, {0, "s", "0 s"},
		{1536, "bytes", "1.5 KiB"}, {3 << 30, "bytes", "3 GiB"}, {12, "bytes", "12 B"},
		{0.123, "percentunit", "12.3 %"}, {1, "percentunit", "100 %"},
		{20_000, "ops", "20 k/s"}, {0.4, "reqps", "0.4/s"},
		{math.NaN(), "s", "–"}, {math.Inf(1), "s", "∞"},
	}
	for _, tt := range tests {
		if got := text(tt.value, tt.unit); got != tt.want {
			t.Errorf("%v %s is written %q, want %q", tt.value, tt.unit, got, tt.want)
		}
	}
}

func TestScale_TimesAreRoundAndWithin(t *testing.T) {
	from := time.Date(2026, 1, 15, 11, 58, 13, 0, time.UTC)
	for lasting, want := range map[time.Duration]string{40 * time.Second: "11:58:15", 10 * time.Minute: "12:00", 6 * time.Hour: "12:00", 40 * 24 * time.Hour: "Jan 19"} {
		s := newSpan(from, from.Add(lasting))
		all := s.times(8)
		if all[0].text != want || len(all) > 9 || len(all) < 3 {
			t.Errorf("%s has %d ticks from %s on, want up to 9 from %s on", lasting, len(all), all[0].text, want)
		}
	}
}

func TestSeries_Firings(t *testing.T) {
	nan := math.NaN()
	s := series{values: []float64{1, 1, nan, 0, 1, nan, 1, 1, 1}}
	if got, want := s.firings(), []firing{{0, 1}, {4, 4}, {6, 8}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
