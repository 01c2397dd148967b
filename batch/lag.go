package batch

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// lagBounds are the buckets' upper bounds in µs, from what a short interval can reach to a day behind. They are dense where objectives lie.
var lagBounds = [...]int64{100_000, 250_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000, 7_500_000, 10_000_000, 15_000_000, 20_000_000, 30_000_000, 45_000_000, 60_000_000,
	120_000_000, 300_000_000, 900_000_000, 3_600_000_000, 21_600_000_000, 86_400_000_000}

// lagHistogram is a histogram by view that takes a whole chunk of vectors at a time: one lock a chunk and a few ns a vector, where prometheus.Histogram takes one observation at a time, at ten times the cost.
type lagHistogram struct {
	desc *prometheus.Desc

	mu    sync.Mutex // guards views and what they point to
	views map[string]*lagCounts
}

type lagCounts struct {
	buckets [len(lagBounds) + 1]uint64
	sum     int64 // µs
}

func newLagHistogram(name, help string) *lagHistogram {
	return &lagHistogram{desc: prometheus.NewDesc(name, help, []string{"view"}, nil), views: map[string]*lagCounts{}}
}

// announce makes a view's series appear before its first vector.
func (h *lagHistogram) announce(view string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of(view)
}

// of returns a view's counts. h.mu is held.
func (h *lagHistogram) of(view string) *lagCounts {
	c := h.views[view]
	if c == nil {
		c = &lagCounts{}
		h.views[view] = c
	}
	return c
}

// observe adds the lags of a view's vectors: how long before now (µs) the newest event of each took place. An event from the future (max_future allows some) counts as 0.
func (h *lagHistogram) observe(view string, now int64, eventTimes []int64) {
	var local lagCounts
	i := 0 // the bucket of the vector before: the next one's is rarely far
	for _, t := range eventTimes {
		lag := max(0, now-t)
		for i > 0 && lag <= lagBounds[i-1] {
			i--
		}
		for i < len(lagBounds) && lag > lagBounds[i] {
			i++
		}
		local.buckets[i]++
		local.sum += lag
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.of(view)
	for i, n := range local.buckets {
		c.buckets[i] += n
	}
	c.sum += local.sum
}

// Describe implements [prometheus.Collector].
func (h *lagHistogram) Describe(ch chan<- *prometheus.Desc) { ch <- h.desc }

// Collect implements [prometheus.Collector].
func (h *lagHistogram) Collect(ch chan<- prometheus.Metric) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for view, c := range h.views {
		upTo, n := make(map[float64]uint64, len(lagBounds)), uint64(0)
		for i, bound := range lagBounds {
			n += c.buckets[i]
			upTo[float64(bound)/1e6] = n
		}
		ch <- prometheus.MustNewConstHistogram(h.desc, n+c.buckets[len(lagBounds)], float64(c.sum)/1e6, upTo, view)
	}
}
