package batch

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what a task measures of itself. Every name starts with highwater_; docs/metrics.md says what each means. Make them with [NewMetrics], once a process: a task that is opened again goes on counting.
// All that it holds is safe for concurrent use.
type Metrics struct {
	batches     *prometheus.CounterVec   // by trigger, outcome
	stage       *prometheus.HistogramVec // by stage
	processing  prometheus.Histogram
	publish     *prometheus.HistogramVec // by sink
	lag         *lagHistogram
	records     prometheus.Counter
	vectors     prometheus.Counter
	tombstones  prometheus.Counter
	deadLetters *prometheus.CounterVec // by reason
	late        prometheus.Counter
	lateFeature *prometheus.CounterVec // by view, feature
	keyless     *prometheus.CounterVec // by view
	nulled      *prometheus.CounterVec // by view, feature, reason
	stale       prometheus.Counter
	equal       prometheus.Counter
	divergent   prometheus.Counter
	refused     prometheus.Counter
	sinkErrors  *prometheus.CounterVec // by sink, kind
	sourceError prometheus.Counter

	frontier    prometheus.Gauge
	watermark   prometheus.Gauge
	sequence    prometheus.Gauge
	generation  prometheus.Gauge
	heartbeat   prometheus.Gauge
	clockBehind prometheus.Gauge
	delays      *delays
	ages        *ages

	interval   prometheus.Gauge
	target     prometheus.Gauge
	ratio      prometheus.Gauge
	slow       prometheus.Gauge
	objectives *prometheus.GaugeVec // by kind

	republished        prometheus.Counter
	republishing       prometheus.Gauge // 1 or 0
	republishWritten   prometheus.Gauge
	republishRemaining prometheus.Gauge
	swept              prometheus.Counter
}

// seconds are the bounds of histograms of work: from half a millisecond to the four minutes that an outage may hold a batch up.
func seconds() []float64 { return prometheus.ExponentialBuckets(0.0005, 2, 20) }

// NewMetrics makes a task's metrics and registers them with r; what r already has of them is taken over, counts and all.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return register(r, prometheus.NewCounter(prometheus.CounterOpts{Name: "highwater_" + name, Help: help}))
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "highwater_" + name, Help: help}, labels))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: "highwater_" + name, Help: help}))
	}
	histograms := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "highwater_" + name, Help: help, Buckets: seconds()}, labels))
	}
	m := &Metrics{
		batches:     counters("batches_total", "Batches by what cut them and by outcome.", "trigger", "outcome"),
		stage:       histograms("stage_seconds", "Time of each stage of a committed batch.", "stage"),
		processing:  register(r, prometheus.NewHistogram(prometheus.HistogramOpts{Name: "highwater_batch_seconds", Help: "Processing time of a committed batch: all but its waiting for the batch before it.", Buckets: seconds()})),
		publish:     histograms("publish_seconds", "Time until a sink confirmed one part of a batch, retries included.", "sink"),
		lag:         register(r, newLagHistogram("highwater_published_lag_seconds", "From the newest event of an entity in a batch to the moment all sinks had confirmed its vector, with the wall clock.")),
		records:     counter("records_total", "Records decoded, whether or not a view takes them."),
		vectors:     counter("vectors_total", "Vectors confirmed by the sinks, tombstones included."),
		tombstones:  counter("tombstones_total", "Vectors that outlived their ttl."),
		deadLetters: counters("dead_letters_total", "Records that no view takes, by reason; late ones apart.", "reason"),
		late:        counter("late_total", "Events behind their partition's watermark."),
		lateFeature: counters("late_for_feature_total", "Events in a tumbling window already closed.", "view", "feature"),
		keyless:     counters("keyless_total", "Events that lack a view's key.", "view"),
		nulled:      counters("nulled_values_total", "Values written as null because they outgrew their limit or overflowed.", "view", "feature", "reason"),
		stale:       counter("stale_total", "Upserts refused because a newer version was stored."),
		equal:       counter("equal_total", "Upserts that found their own version and bytes stored: replays."),
		divergent:   counter("divergent_total", "Upserts that found their own version with other bytes: a broken promise, which stops the task."),
		refused:     counter("refused_total", "Upserts refused because their owner was away longer than tombstones live."),
		sinkErrors:  counters("sink_errors_total", "Failed attempts to publish, by sink and kind of error.", "sink", "kind"),
		sourceError: counter("source_errors_total", "Heartbeats at which Kafka did not say where its logs end, or did not let a topic be read."),

		frontier:    gauge("frontier_seconds", "The task's frontier, as Unix time."),
		watermark:   gauge("watermark_seconds", "The task's watermark, as Unix time."),
		sequence:    gauge("sequence", "The sequence of the last committed batch."),
		generation:  gauge("generation", "The generation that the task writes under."),
		heartbeat:   gauge("heartbeat_timestamp_seconds", "When the store last took the task's heartbeat, as Unix time."),
		clockBehind: gauge("clock_behind_seconds", "By how much this machine's clock is behind the last plan's reading: it was set back."),
		delays:      register(r, newDelays()),
		ages:        register(r, newAges()),

		interval:   gauge("batch_interval_seconds", "The definitions' batch interval."),
		target:     gauge("batch_target_seconds", "The processing time that a batch should not exceed: half of the interval."),
		ratio:      gauge("batch_interval_ratio", "Processing time of the last committed batch, over the interval."),
		slow:       gauge("slow_batches", "How many of the last committed batches, one after the other, took more than 60 % of the interval."),
		objectives: register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "highwater_objective_seconds", Help: "What the operator wants of published lag and of watermark delay."}, []string{"kind"})),

		republished:        counter("republished_total", "Vectors written again from the state, under the versions they had."),
		republishing:       gauge("republishing", "1 while vectors that may have been lost are written again and the task key is withheld, else 0."),
		republishWritten:   gauge("republish_written_vectors", "How many vectors the republish under way, or else the last, has written."),
		republishRemaining: gauge("republish_remaining_vectors", "How many vectors the republish under way has yet to write; an estimate from the state's counts."),
		swept:              counter("swept_total", "Vectors of lower generations turned into tombstones, because no batch will write them again."),
	}
	m.announce()
	return m
}

// announce makes the series of small closed sets of labels appear at once: a rate over a counter that is first seen at 1 is 0, and its alert would be late.
func (m *Metrics) announce() {
	for _, trigger := range []string{bySize, byInterval, byDrain, byForce, byRecovery, byRedefined} {
		for _, outcome := range []string{committed, failed, abandoned} {
			m.batches.WithLabelValues(trigger, outcome)
		}
	}
	for _, reason := range []Reason{ReasonMalformed, ReasonDuplicate, ReasonType, ReasonNoTime, ReasonTooLarge, ReasonAbsurd} {
		m.deadLetters.WithLabelValues(string(reason))
	}
}

// announceSink does so for a sink's errors.
func (m *Metrics) announceSink(name string) {
	for _, kind := range []string{KindUnreachable, KindTimeout, KindAuth, KindDenied, KindReadOnly, KindMemory, KindLoading, KindMoving, KindDisk, KindOther} {
		m.sinkErrors.WithLabelValues(name, kind)
	}
}

// register registers c, or returns the one like it that is registered already.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	var there prometheus.AlreadyRegisteredError
	err := r.Register(c)
	if errors.As(err, &there) {
		if existing, ok := there.ExistingCollector.(C); ok {
			return existing
		}
	}
	if err != nil {
		panic(err) // a fault of ours: two metrics of one name
	}
	return c
}
