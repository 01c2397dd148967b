package batch

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ages tell how long each trouble of a task lasts, and how long ago the store took its heartbeat. They are worked out when they are asked for, by the process's monotonic clock: no setting of the machine's clock moves them, and they grow while the task hangs.
type ages struct {
	trouble, heartbeat *prometheus.Desc

	mu    sync.Mutex // guards what follows
	whats []string   // what the task can have trouble with
	list  func() []Trouble
	beat  time.Time // zero before the first
}

func newAges() *ages {
	return &ages{
		trouble:   prometheus.NewDesc("highwater_trouble_seconds", "For how long what a task tries again and again has failed; 0 while it works.", []string{"what"}, nil),
		heartbeat: prometheus.NewDesc("highwater_heartbeat_age_seconds", "How long ago the store last took the task's heartbeat, by this process's monotonic clock.", nil, nil),
	}
}

// bind says whose troubles they are, and what those can be: a small closed set.
func (a *ages) bind(sinks []Sink, list func() []Trouble) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list, a.whats = list, []string{taskKeySink, troubleHeartbeat, troubleKafka, stateName}
	for _, s := range sinks {
		a.whats = append(a.whats, s.Name())
	}
}

// beaten notes that the store has taken a heartbeat.
func (a *ages) beaten() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beat = time.Now()
}

// Describe implements [prometheus.Collector].
func (a *ages) Describe(ch chan<- *prometheus.Desc) {
	ch <- a.trouble
	ch <- a.heartbeat
}

// Collect implements [prometheus.Collector].
func (a *ages) Collect(ch chan<- prometheus.Metric) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.beat.IsZero() {
		ch <- prometheus.MustNewConstMetric(a.heartbeat, prometheus.GaugeValue, time.Since(a.beat).Seconds())
	}
	if a.list == nil {
		return // no task yet
	}
	lasts := map[string]float64{}
	for _, t := range a.list() {
		lasts[t.What] = max(time.Since(t.Since).Seconds(), leastTrouble)
	}
	for _, what := range a.whats {
		ch <- prometheus.MustNewConstMetric(a.trouble, prometheus.GaugeValue, lasts[what], what)
	}
}

// leastTrouble is what a trouble that has only begun lasts, in seconds: 0 is for none.
const leastTrouble = 0.001
