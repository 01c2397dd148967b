package main

import (
	"context"
	"slices"

	"highwater/batch"
)

// measurement is what a run on a sample showed.
type measurement struct {
	Speed       int64   `json:"events_per_second"` // the median round's
	Slowest     int64   `json:"slowest_round"`
	Fastest     int64   `json:"fastest_round"`
	Rounds      []int64 `json:"rounds"` // events a second each, in order
	Events      int64   `json:"events"`
	Seconds     float64 `json:"seconds"`
	Batches     int     `json:"batches"`
	BatchEvents int64   `json:"events_per_batch"`
	Late        int64   `json:"late"`
	DeadLetters int64   `json:"dead_letter"`

	ProcessorMicros float64            `json:"processor_microseconds_per_event"`   // of the process: worker, embedded Kafka, and the embedded Redis
	OtherCores      *float64           `json:"cores_of_other_processes,omitempty"` // nil where the machine does not tell
	VectorsPerEvent float64            `json:"vectors_per_event"`
	Stages          map[string]float64 `json:"stage_seconds_per_batch"`

	SampleEvents  int64   `json:"sample_events"`
	SampleSeconds float64 `json:"sample_seconds"`
	SampleCut     bool    `json:"sample_cut"`
	EventBytes    float64 `json:"bytes_per_event"`
	EventSeconds  float64 `json:"event_time_seconds_per_batch"`

	Entities          int64   `json:"entities"`
	StateBytes        float64 `json:"state_bytes_per_entity"`
	VectorBytes       float64 `json:"bytes_per_vector"`
	VectorMemoryBytes float64 `json:"redis_bytes_per_vector,omitempty"` // 0 with the embedded Redis

	EmbeddedRedis bool   `json:"embedded_redis"`
	Machine       string `json:"machine"`
	sources       string
	maxRecords    int64 // of the definitions
}

// stageNames are the stages in their order.
var stageNames = []string{"plan", "read", "transform", "publish", "commit"}

// conclude makes the steady batches into figures.
func (m *measurer) conclude(ends []batchEnd) {
	first, last := ends[0], ends[len(ends)-1]
	r := &m.result
	r.Batches = len(ends) - 1
	r.Events, r.Seconds = last.offsets-first.offsets, last.Finished.Sub(first.Finished).Seconds()
	r.BatchEvents = r.Events / int64(r.Batches)
	r.Late, r.DeadLetters = last.late-first.late, last.deadLetters-first.deadLetters
	r.ProcessorMicros = float64((last.processor - first.processor).Microseconds()) / float64(r.Events)
	if first.busy > 0 {
		cores := max(0, (last.busy-first.busy-(last.processor-first.processor)).Seconds()/r.Seconds)
		r.OtherCores = &cores
	}
	r.rounds(ends)
	vectors, sum := int64(0), batch.Stages{}
	for _, e := range ends[1:] {
		vectors += e.Vectors
		sum.Plan, sum.Read, sum.Transform, sum.Publish, sum.Commit = sum.Plan+e.Stages.Plan, sum.Read+e.Stages.Read, sum.Transform+e.Stages.Transform, sum.Publish+e.Stages.Publish, sum.Commit+e.Stages.Commit
	}
	r.VectorsPerEvent = float64(vectors) / float64(r.Events)
	r.Stages = map[string]float64{}
	for name, d := range map[string]float64{"plan": sum.Plan.Seconds(), "read": sum.Read.Seconds(), "transform": sum.Transform.Seconds(), "publish": sum.Publish.Seconds(), "commit": sum.Commit.Seconds()} {
		r.Stages[name] = d / float64(r.Batches)
	}
	s := m.sample
	r.SampleEvents, r.SampleSeconds, r.SampleCut, r.sources = s.events, float64(s.span)/1e6, s.truncated, s.names()
	r.EventBytes, r.EventSeconds = float64(s.bytes)/float64(s.events), float64(s.span)/1e6*float64(r.BatchEvents)/float64(s.events)
	r.EmbeddedRedis, r.Machine, r.maxRecords = !m.givenRedis(), machineText(), m.limits.MaxRecords
}

// rounds parts the steady batches into rounds, and takes each one's speed.
func (r *measurement) rounds(ends []batchEnd) {
	batches := len(ends) - 1
	n := min(measureRounds, batches)
	for i := range n {
		r.Rounds = append(r.Rounds, int64(speedOf(ends[i*batches/n:(i+1)*batches/n+1])))
	}
	sorted := slices.Sorted(slices.Values(r.Rounds))
	r.Slowest, r.Speed, r.Fastest = sorted[0], sorted[(n-1)/2], sorted[n-1]
}

// weigh measures what the worker has left in its state and in Redis.
func (r *measurement) weigh(ctx context.Context, e *engine) error {
	for _, n := range e.store.Metrics().Entities {
		r.Entities += n
	}
	bytes := int64(0)
	err := e.store.Dump(func(key, value []byte) error {
		bytes += int64(len(key) + len(value))
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	r.StateBytes = float64(bytes) / float64(max(1, r.Entities))
	f, err := e.online.Footprint(ctx)
	if err != nil { // rights that a worker does not need; the speed is measured all the same
		e.log.Warn("vectors could not be weighed", "err", err)
		return nil
	}
	if f.Vectors > 0 {
		r.VectorBytes = float64(f.Bytes) / float64(f.Vectors)
		r.VectorMemoryBytes = float64(f.MemoryBytes) / float64(f.Vectors)
	}
	return nil
}
