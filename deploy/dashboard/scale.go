package dashboard

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ticks returns round values from 0 or below lowest to at least highest, about n of them. Sizes in bytes go by powers of two.
func ticks(lowest, highest float64, n int, unit string) []float64 {
	if highest <= lowest {
		highest = lowest + 1
	}
	step := niceStep((highest-lowest)/float64(n), unit)
	start := math.Floor(lowest/step+1e-9) * step
	var at []float64
	for i := 0; ; i++ {
		v := start + float64(i)*step
		at = append(at, v)
		if v >= highest-step*1e-9 {
			return at
		}
	}
}

// niceStep is the next of 1, 2 and 5 times a power of ten (of two, for bytes) that is at least raw.
func niceStep(raw float64, unit string) float64 {
	if unit == "bytes" {
		return math.Pow(2, math.Ceil(math.Log2(raw)))
	}
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if raw <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// text writes a value as people read it. The page's script does the same for what is under the pointer.
func text(v float64, unit string) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case math.IsInf(v, 0):
		return "∞"
	}
	switch unit {
	case "percentunit":
		return digits(100*v) + " %"
	case "bytes":
		return scaled(v, 1024, []string{" B", " KiB", " MiB", " GiB", " TiB"})
	case "s":
		return duration(v)
	case "ops", "reqps":
		return scaled(v, 1000, []string{"", " k", " M", " G"}) + "/s"
	}
	return scaled(v, 1000, []string{"", " k", " M", " G", " T"})
}

func scaled(v, base float64, units []string) string {
	i := 0
	for math.Abs(v) >= base && i < len(units)-1 {
		v /= base
		i++
	}
	return digits(v) + units[i]
}

// duration picks the unit that a length of time reads best in.
func duration(v float64) string {
	a := math.Abs(v)
	switch {
	case a == 0:
		return "0 s"
	case a < 1e-3:
		return digits(v*1e6) + " µs"
	case a < 1:
		return digits(v*1e3) + " ms"
	case a < 120:
		return digits(v) + " s"
	case a < 7200:
		return digits(v/60) + " min"
	case a < 2*86400:
		return digits(v/3600) + " h"
	}
	return digits(v/86400) + " d"
}

// digits writes three significant digits, without trailing zeros.
func digits(v float64) string {
	if math.Abs(v) >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	s := strconv.FormatFloat(v, 'f', 3, 64)
	if v != 0 {
		s = strconv.FormatFloat(v, 'f', max(0, 2-int(math.Floor(math.Log10(math.Abs(v))))), 64)
	}
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// clock is a tick of the time axis.
type clock struct {
	at   time.Time
	text string
}

// times returns round times within a span, about n of them.
func (s span) times(n int) []clock {
	steps := []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}
	every := steps[len(steps)-1]
	for _, candidate := range steps {
		if s.to.Sub(s.from) <= candidate*time.Duration(n) {
			every = candidate
			break
		}
	}
	layout := "15:04"
	switch {
	case every < time.Minute:
		layout = "15:04:05"
	case every >= 24*time.Hour:
		layout = "Jan 2"
	}
	var all []clock
	for t := s.from.UTC().Truncate(every); !t.After(s.to); t = t.Add(every) {
		if !t.Before(s.from) {
			all = append(all, clock{t, t.Format(layout)})
		}
	}
	return all
}

// coordinate writes a coordinate of a drawing: a tenth of a pixel is fine enough.
func coordinate(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }
