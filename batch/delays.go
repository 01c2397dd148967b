package batch

import (
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/features"
	"highwater/windows"
)

// delays tell how far a task is behind: each partition's watermark and log, and the batches that wait. They are worked out when they are asked for, so that they grow while nothing is committed: a stalled task must not look as well as it last was.
type delays struct {
	delay, behind, batches, intervals *prometheus.Desc

	mu         sync.Mutex // guards what follows
	now        func() time.Time
	clock      features.Clock
	limits     features.BatchLimits
	lateness   map[string]int64 // µs, by source
	partitions []partitionDelay
	frontier   int64 // µs
	reading    int64 // µs: the last committed plan's clock reading; 0 before the first
}

// partitionDelay is what is known of one partition.
type partitionDelay struct {
	Partition
	next      int64 // the first offset that no committed batch covers
	eventTime int64 // µs; windows.NoTime before the first
	logEnd    int64 // when last asked; -1 before
	idle      bool  // in the last committed plan
}

func newDelays() *delays {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("highwater_"+name, help, labels, nil)
	}
	return &delays{
		delay:     desc("watermark_delay_seconds", "How far a partition's watermark is behind the wall clock; with the event clock, behind the frontier.", "topic", "partition"),
		behind:    desc("records_behind", "Offsets between the task's position and the log's end, asked with every heartbeat.", "topic", "partition"),
		batches:   desc("backlog_batches", "How many batches of max_records the records behind would fill."),
		intervals: desc("backlog_intervals", "How many intervals ago the last committed batch was planned, while records wait."),
	}
}

func (d *delays) bind(o *Options) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now, d.clock, d.limits, d.lateness, d.partitions, d.frontier, d.reading = o.Now, o.Project.Clock, o.Project.Batch, map[string]int64{}, nil, windows.NoTime, 0
	for _, s := range o.Project.Sources {
		d.lateness[s.Name] = s.MaxLateness.Microseconds()
	}
}

// stand notes a position.
func (d *delays) stand(p *Position) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := map[Partition]partitionDelay{}
	for _, part := range d.partitions {
		known[part.Partition] = part
	}
	d.frontier, d.reading, d.partitions = p.Frontier, p.Clock, nil
	for _, pp := range p.Partitions {
		part, ok := known[pp.Partition]
		if !ok {
			part.logEnd = -1
		}
		part.Partition, part.next, part.eventTime = pp.Partition, max(pp.Next, 0), pp.EventTime
		d.partitions = append(d.partitions, part)
	}
}

// planned notes which partitions a committed plan calls idle, and how long their logs were.
func (d *delays) planned(p *Plan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.partitions {
		if s, ok := p.slice(d.partitions[i].Partition); ok {
			d.partitions[i].idle, d.partitions[i].logEnd = s.Idle, max(d.partitions[i].logEnd, s.LogEnd)
		}
	}
}

// ends notes where the logs end, in the order of the position's partitions.
func (d *delays) ends(ends []End) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range min(len(ends), len(d.partitions)) {
		d.partitions[i].logEnd = ends[i].LogEnd
	}
}

// waiting is how many offsets of a partition wait.
func (p *partitionDelay) waiting() int64 { return max(0, p.logEnd-p.next) }

// of returns a partition's watermark delay in seconds; ok is false where it holds nothing up: it is idle, or nothing has ever come and nothing waits. d.mu is held.
func (d *delays) of(p *partitionDelay) (delay float64, ok bool) {
	reference := d.frontier
	if d.clock == features.WallClock {
		if p.waiting() == 0 && (p.idle || p.eventTime == windows.NoTime) {
			return 0, false
		}
		reference = d.now().UnixMicro()
	}
	switch {
	case reference == windows.NoTime:
		return 0, false
	case p.eventTime == windows.NoTime: // it holds the task's watermark, and nobody knows for how long
		return math.Inf(1), true
	}
	return float64(reference-(p.eventTime-d.lateness[p.Source])) / 1e6, true
}

// Describe implements [prometheus.Collector].
func (d *delays) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{d.delay, d.behind, d.batches, d.intervals} {
		ch <- desc
	}
}

// Collect implements [prometheus.Collector].
func (d *delays) Collect(ch chan<- prometheus.Metric) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.partitions) == 0 {
		return // no task yet
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	var behind int64
	for i := range d.partitions {
		p := &d.partitions[i]
		topic, number := p.Topic, strconv.Itoa(int(p.Number))
		if delay, ok := d.of(p); ok {
			gauge(d.delay, delay, topic, number)
		}
		if p.logEnd >= 0 {
			gauge(d.behind, float64(p.waiting()), topic, number)
			behind += p.waiting()
		}
	}
	gauge(d.batches, float64(behind)/float64(d.limits.MaxRecords))
	gauge(d.intervals, d.intervalsBehind(behind))
}

// intervalsBehind is 0 while nothing waits. d.mu is held.
func (d *delays) intervalsBehind(behind int64) float64 {
	if behind == 0 || d.reading == 0 {
		return 0
	}
	return max(0, float64(d.now().UnixMicro()-d.reading)/float64(d.limits.Interval.Microseconds()))
}
