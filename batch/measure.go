package batch

import (
	"time"

	"highwater/features"
)

// Outcomes of a batch, as metrics have them.
const (
	committed = "committed"
	failed    = "failed"    // the task stops with it
	abandoned = "abandoned" // it was told to stop
)

const (
	slowShare   = 0.6 // of the interval: a batch that takes more leaves too little room for the next peak
	targetShare = 0.5 // of the interval: what capacity is planned for

	// objectiveIntervals is the objective of published lag where none was set: an event waits for up to one interval and its batch may take another, and the rest is room for a hiccup.
	objectiveIntervals = 6
)

// bind tells the metrics what they measure. It is called before the task runs, and again for each task that takes its place.
func (m *Metrics) bind(o *Options) {
	interval := o.Project.Batch.Interval
	m.interval.Set(interval.Seconds())
	m.target.Set(targetShare * interval.Seconds())
	for _, s := range o.Sinks {
		m.announceSink(s.Name())
	}
	m.announceSink(taskKeySink)
	if o.Project.Clock == features.WallClock {
		for _, v := range o.Project.Views {
			m.lag.announce(v.Name)
		}
	}
	objective := o.Objective
	if objective <= 0 {
		objective = objectiveIntervals * interval
	}
	var lateness time.Duration
	for _, s := range o.Project.Sources {
		lateness = max(lateness, s.MaxLateness)
	}
	m.objectives.WithLabelValues("published_lag").Set(objective.Seconds())
	m.objectives.WithLabelValues("watermark_delay").Set((lateness + objective).Seconds())
	m.delays.bind(o)
}

// processed notes a committed batch's processing time.
func (m *Metrics) processed(took, interval time.Duration) {
	m.processing.Observe(took.Seconds())
	ratio := took.Seconds() / interval.Seconds()
	m.ratio.Set(ratio)
	if ratio > slowShare {
		m.slow.Inc()
	} else {
		m.slow.Set(0)
	}
}

// published notes the lag of a chunk that every sink has confirmed. With the event clock there is none to note: what runs by it may be history, and then the lag is years.
func (t *Task) published(c *chunk) {
	if len(c.newest) > 0 && t.o.Project.Clock == features.WallClock {
		t.o.Metrics.lag.observe(c.vectors[0].View.Name, t.o.Now().UnixMicro(), c.newest)
	}
}

// failedAttempt counts one failed attempt at a sink.
func (m *Metrics) failedAttempt(sink string, err error) {
	m.sinkErrors.WithLabelValues(sink, KindOf(err)).Inc()
}

// republish notes how far a republish has come; nil that there is none. What the last one wrote stays to be seen.
func (m *Metrics) republish(r *republishStatus) {
	if r == nil {
		m.republishing.Set(0)
		m.republishRemaining.Set(0)
		return
	}
	m.republishing.Set(1)
	m.republishWritten.Set(float64(r.Written))
	m.republishRemaining.Set(float64(max(0, r.Of-r.Written)))
}
