package batch

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what a task measures of itself. Every name starts with highwater_.
type Metrics struct {
	batches     *prometheus.CounterVec
	stage       *prometheus.HistogramVec
	records     prometheus.Counter
	vectors     prometheus.Counter
	tombstones  prometheus.Counter
	republished prometheus.Counter
	deadLetters *prometheus.CounterVec
	late        prometheus.Counter
	lateFeature *prometheus.CounterVec
	keyless     *prometheus.CounterVec
	nulled      *prometheus.CounterVec
	stale       prometheus.Counter
	equal       prometheus.Counter
	divergent   prometheus.Counter
	refused     prometheus.Counter
	sinkErrors  *prometheus.CounterVec
	sourceError prometheus.Counter
	frontier    prometheus.Gauge
	watermark   prometheus.Gauge
	behind      prometheus.Gauge
	sequence    prometheus.Gauge
}

// NewMetrics makes a task's metrics and registers them with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "highwater_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "highwater_" + name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "highwater_" + name, Help: help})
		r.MustRegister(g)
		return g
	}
	stage := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "highwater_stage_seconds", Help: "Time of each stage of a batch, in seconds.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 17)}, []string{"stage"})
	r.MustRegister(stage)
	return &Metrics{
		stage:       stage,
		batches:     counters("batches_total", "Batches by what cut them (size, interval, drain, recovered, forced) and by outcome (committed, failed, abandoned).", "trigger", "outcome"),
		records:     counter("records_total", "Records decoded, whether or not a view takes them."),
		vectors:     counter("vectors_total", "Vectors confirmed by the sinks, tombstones included."),
		tombstones:  counter("tombstones_total", "Vectors that outlived their ttl."),
		republished: counter("republished_total", "Vectors written again from the state, under the versions they had."),
		deadLetters: counters("dead_letters_total", "Records that no view takes, by reason; late ones apart.", "reason"),
		late:        counter("late_total", "Events behind their partition's watermark."),
		lateFeature: counters("late_for_feature_total", "Events in a tumbling window already closed.", "view", "feature"),
		keyless:     counters("keyless_total", "Events that lack a view's key.", "view"),
		nulled:      counters("nulled_values_total", "Values written as null because they outgrew their limit or overflowed.", "view", "feature", "reason"),
		stale:       counter("stale_total", "Upserts refused because a newer version was stored."),
		equal:       counter("equal_total", "Upserts that found their own version and bytes stored: replays."),
		divergent:   counter("divergent_total", "Upserts that found their own version with other bytes: a broken promise, which stops the task."),
		refused:     counter("refused_total", "Upserts refused because their owner was away longer than tombstones live."),
		sinkErrors:  counters("sink_errors_total", "Failed attempts to publish, by sink; each is retried.", "sink"),
		sourceError: counter("source_errors_total", "Heartbeats at which Kafka did not say where its logs end."),
		frontier:    gauge("frontier_seconds", "The task's frontier, as Unix time."),
		watermark:   gauge("watermark_seconds", "The task's watermark, as Unix time."),
		behind:      gauge("records_behind", "Offsets between the task's position and the logs' ends, asked with every heartbeat."),
		sequence:    gauge("sequence", "The sequence of the last committed batch."),
	}
}
