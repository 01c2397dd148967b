package api

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/serve"
)

// metrics is what the API tells Prometheus of itself.
type metrics struct {
	requests *prometheus.CounterVec   // by route, method, status
	seconds  *prometheus.HistogramVec // by route
	vectors  prometheus.Counter
	age      prometheus.Histogram
	values   [serve.Statuses]prometheus.Counter // by status
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "highwater_http_requests_total", Help: "HTTP requests answered, by route, method and status.",
		}, []string{"route", "method", "status"})),
		seconds: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "highwater_http_request_seconds", Help: "How long HTTP requests took from their header to the end of the answer, by route.",
			Buckets: []float64{.00025, .0005, .001, .002, .003, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"route"})),
		vectors: register(r, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "highwater_serve_vectors_read_total", Help: "Stored vectors asked of the online store.",
		})),
		age: register(r, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "highwater_serve_age_seconds", Help: "How long before an answer the oldest of its vectors was known to hold, with the wall clock.",
			Buckets: []float64{.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300, 900, 3600, 21600, 86400},
		})),
	}
	values := register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "highwater_serve_values_total", Help: "Feature values answered, by status.",
	}, []string{"status"}))
	for s := range m.values {
		m.values[s] = values.WithLabelValues(serve.Status(s).String())
	}
	return m
}

// register registers c, or returns the one like it that is registered already.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	var there prometheus.AlreadyRegisteredError
	if err := r.Register(c); errors.As(err, &there) {
		if existing, ok := there.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}

func (m *metrics) observe(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, methodLabel(method), strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// methodLabel keeps callers from making labels up.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

func (m *metrics) countRow(r *serve.Row) {
	m.vectors.Inc()
	m.observeAge(r.Age)
	for _, v := range r.Values {
		status := r.Status
		if status == serve.Present && v.IsNull() {
			status = serve.NullValue
		}
		m.values[status].Inc()
	}
}

func (m *metrics) countTable(t *serve.Table, tally statusTally) {
	m.vectors.Add(float64(t.Vectors))
	m.observeAge(t.Age)
	for s, n := range tally {
		m.values[s].Add(float64(n))
	}
}

// observeAge notes the age of an answer in µs, if it has one.
func (m *metrics) observeAge(age int64) {
	if age >= 0 {
		m.age.Observe(float64(age) / 1e6)
	}
}
