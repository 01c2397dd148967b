package batch

import (
	"encoding/json"
	"strings"
	"time"

	"highwater/windows"
)

// keepBatches and keepDeadLetters are how many of the newest the status shows.
const (
	keepBatches     = 20
	keepDeadLetters = 10
)

// status is what a task tells of itself, built up as it goes.
type status struct {
	position  Position
	behind    int64
	batches   []batchStatus
	dead      []deadLetterStatus
	republish *republishStatus // nil while there is none

	running   bool
	stopped   string    // why the task has failed; "" while it has not
	committed time.Time // when the last batch was, by this process
}

// republishStatus is how far a republish has come.
type republishStatus struct {
	Why     string `json:"why"`
	Written int64  `json:"written"`
	Of      int64  `json:"of"`
}

type batchStatus struct {
	Sequence uint64             `json:"sequence"`
	Trigger  string             `json:"trigger"`
	Records  int64              `json:"records"`
	Vectors  int64              `json:"vectors"`
	Stages   map[string]float64 `json:"stages"`
}

type deadLetterStatus struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Reason    Reason `json:"reason"`
	Detail    string `json:"detail"`
}

// document is one task's part of GET /v1/status.
type document struct {
	Task          int                `json:"task"`
	Generation    uint32             `json:"generation"`
	Sequence      uint64             `json:"sequence"`
	Frontier      *string            `json:"frontier"`
	Watermark     *string            `json:"watermark"`
	RecordsBehind int64              `json:"records_behind"`
	Counters      Counters           `json:"counters"`
	Holding       []string           `json:"watermark_held_by,omitempty"`
	Stalled       map[string]string  `json:"stalled,omitempty"`
	Stopped       string             `json:"stopped,omitempty"` // why the task has failed
	Republish     *republishStatus   `json:"republish,omitempty"`
	DeadLetters   []deadLetterStatus `json:"dead_letters,omitempty"`
	LastBatches   []batchStatus      `json:"last_batches"`
}

// StatusJSON returns the task's status document.
func (t *Task) StatusJSON() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.status
	d := document{Generation: s.position.Version.Generation, Sequence: s.position.Version.Sequence, Frontier: stampOrNil(s.position.Frontier), Watermark: stampOrNil(s.position.Watermark),
		RecordsBehind: s.behind, Counters: s.position.Counters, DeadLetters: s.dead, LastBatches: s.batches, Stalled: t.journal.stalled(), Stopped: s.stopped, Republish: s.republish}
	if d.LastBatches == nil {
		d.LastBatches = []batchStatus{}
	}
	if s.position.Watermark == windows.NoTime {
		for _, p := range s.position.Partitions {
			if p.EventTime == windows.NoTime {
				d.Holding = append(d.Holding, p.Partition.String())
			}
		}
	}
	doc, err := json.Marshal(d)
	if err != nil { // cannot happen: plain data
		return []byte("{}")
	}
	return doc
}

func stampOrNil(us int64) *string {
	if us == windows.NoTime {
		return nil
	}
	s := stamp(us)
	return &s
}

// Position returns where the task stands, and how many upserts of this process were stale and divergent.
func (t *Task) Position() (p Position, stale, divergent int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.position, t.stale.Load(), t.divergent.Load()
}

// Behind returns how many offsets the task was behind the logs' ends when it last asked, and what does not work (see [Trouble]), with its newest error.
func (t *Task) Behind() (offsets int64, stalled map[string]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.behind, t.journal.stalled()
}

func (t *Task) setPosition(p Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.position = p
	t.o.Metrics.delays.stand(&p)
	t.o.Metrics.generation.Set(float64(p.Version.Generation))
}

func (t *Task) setBehind(offsets int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.behind = offsets
	t.journal.lag(offsets)
}

func (t *Task) setRepublish(r *republishStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.republish = r
	t.o.Metrics.republish(r)
}

// setStalled notes that what does not work, or, where err is nil, that it does.
func (t *Task) setStalled(what string, err error) {
	if err == nil {
		t.journal.mended(what)
		return
	}
	t.journal.failed(what, err)
}

// remember adds a batch and its dead letters to the status.
func (t *Task) remember(in *input, stats Stats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.committed = time.Now()
	s := stats.Stages
	t.status.batches = newest(append(t.status.batches, batchStatus{Sequence: stats.Version.Sequence, Trigger: stats.Trigger, Records: stats.Records, Vectors: stats.Vectors,
		Stages: map[string]float64{"plan": s.Plan.Seconds(), "read": s.Read.Seconds(), "transform": s.Transform.Seconds(), "publish": s.Publish.Seconds(), "commit": s.Commit.Seconds()}}), keepBatches)
	for _, d := range in.dead[max(0, len(in.dead)-keepDeadLetters):] {
		t.status.dead = newest(append(t.status.dead, deadLetterStatus{Topic: d.Partition.Topic, Partition: d.Partition.Number, Offset: d.Offset, Reason: d.Reason, Detail: d.Detail}), keepDeadLetters)
	}
}

// newest keeps the last n of s, in memory of their own once the rest has grown.
func newest[T any](s []T, n int) []T {
	if len(s) <= n {
		return s
	}
	return append([]T(nil), s[len(s)-n:]...)
}

// measure moves the metrics by what a batch did.
func (t *Task) measure(in *input, before Counters, p Position, stats Stats) {
	m := t.o.Metrics
	m.batches.WithLabelValues(in.trigger, committed).Inc()
	m.processed(stats.Took, in.binding.project.Batch.Interval)
	m.delays.planned(in.plan)
	for stage, took := range map[string]time.Duration{"plan": stats.Stages.Plan, "read": stats.Stages.Read, "transform": stats.Stages.Transform, "publish": stats.Stages.Publish, "commit": stats.Stages.Commit} {
		m.stage.WithLabelValues(stage).Observe(took.Seconds())
	}
	m.records.Add(float64(p.Counters.Events - before.Events))
	m.late.Add(float64(p.Counters.Late - before.Late))
	for reason, n := range in.counts.reasons {
		if reason != ReasonLate {
			m.deadLetters.WithLabelValues(string(reason)).Add(float64(n))
		}
	}
	grown(p.Counters.Keyless, before.Keyless, func(view string, n float64) { m.keyless.WithLabelValues(view).Add(n) })
	grown(p.Counters.LateFeature, before.LateFeature, func(name string, n float64) { m.lateFeature.WithLabelValues(split(name, 2)...).Add(n) })
	grown(p.Counters.Nulled, before.Nulled, func(name string, n float64) { m.nulled.WithLabelValues(split(name, 3)...).Add(n) })
	m.sequence.Set(float64(p.Version.Sequence))
	if p.Frontier != windows.NoTime {
		m.frontier.Set(float64(p.Frontier) / 1e6)
	}
	if p.Watermark != windows.NoTime {
		m.watermark.Set(float64(p.Watermark) / 1e6)
	}
}

// grown calls each for every counter that a batch has moved.
func grown(now, before map[string]int64, each func(name string, n float64)) {
	for name, n := range now {
		if d := n - before[name]; d > 0 {
			each(name, float64(d))
		}
	}
}

// split parts a counter's name into its n labels.
func split(name string, n int) []string { return strings.SplitN(name, ":", n) }
