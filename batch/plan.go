package batch

import (
	"fmt"
	"maps"

	"highwater/features"
)

// Partition is one partition of one source's topic. A task's partitions stand in a fixed order: by source as declared, then by number.
type Partition struct {
	Source string `json:"source"`
	Topic  string `json:"topic"`
	Number int32  `json:"partition"`
}

// String names a partition to people.
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Number) }

// Plan says exactly what a batch covers. It is durable before anything of the batch leaves the process (I1), and executed unchanged by whoever runs its sequence (I2).
type Plan struct {
	Version     features.Version
	Slices      []Slice // one a partition of the task, in the task's order
	Clock       int64   // µs: the clock reading, never below the last plan's
	Definitions string  // features.Project.Hash
	Final       bool    // dev's last plan: with clock: event, empty partitions no longer hold the watermark
}

// Slice is the part of one partition that a plan covers.
type Slice struct {
	Partition   Partition
	Start, End  int64 // offsets [Start, End)
	LeaderEpoch int32 // of the partition's leader when planned; -1 where not known
	LogEnd      int64 // the log's end when planned
	Idle        bool  // no lag, and no event for the source's idle_after
}

// slice returns the part of one partition, if the plan knows it.
func (p *Plan) slice(part Partition) (Slice, bool) {
	for _, s := range p.Slices {
		if s.Partition == part {
			return s, true
		}
	}
	return Slice{}, false
}

// Offsets returns how many offsets the plan covers.
func (p *Plan) Offsets() int64 {
	var n int64
	for _, s := range p.Slices {
		n += s.End - s.Start
	}
	return n
}

// CaughtUp reports whether every slice ends at its log's end: only then does the clock reading move the frontier.
func (p *Plan) CaughtUp() bool {
	for _, s := range p.Slices {
		if s.End != s.LogEnd {
			return false
		}
	}
	return true
}

// Position is where a task stands: all that a commit moves together with its state (I5).
type Position struct {
	Version     features.Version // of the last committed batch; the sequence is 0 before the generation's first
	Partitions  []PartitionPosition
	Frontier    int64 // µs; windows.NoTime before the first event
	Watermark   int64 // µs; windows.NoTime while a partition holds it
	Clock       int64 // µs: the last plan's clock reading
	Definitions string
	Counters    Counters
	Opening     Opening // how the generation began
}

// Published returns the newest version that a vector of this state can have: zero before the first batch of the first generation.
func (p *Position) Published() features.Version {
	if p.Version == (features.Version{Generation: 1}) {
		return features.Version{}
	}
	return p.Version
}

// PartitionPosition is where a task stands in one partition.
type PartitionPosition struct {
	Partition   Partition
	TopicID     string // of the topic that Next is an offset of; "" where the brokers do not say
	Next        int64  // the first offset that no committed batch covers; Beginning in a generation that reads from the log's start and has no batch yet
	LeaderEpoch int32  // of the partition's leader when Next was planned; -1 where not known
	EventTime   int64  // µs: the greatest event time seen; windows.NoTime before the first
}

// Opening is how a generation above the first began (design.md §5). Every vector that the state knew then is published again under (generation, 0), as it stood at the opening's frontier and watermark.
type Opening struct {
	Parent      features.Version // where the state stood before; its plans beyond that are void. Zero for the first generation, and for a state that was empty
	Why         string           // for people; "" for the first generation
	Frontier    int64            // µs
	Watermark   int64            // µs
	Until       int64            // µs by the plans' clock readings: when the tombstones among them have expired in the sinks
	Definitions string           // features.Project.Hash of those that it was opened under
}

// Counters count since the task's first batch; they are part of the position, so a replay does not count twice.
type Counters struct {
	Events         int64            `json:"events"` // decoded records, whether or not a view takes them
	Batches        int64            `json:"batches"`
	Late           int64            `json:"late"`
	DeadLetter     int64            `json:"dead_letter"` // all but the late
	VectorsWritten int64            `json:"vectors_written"`
	Reasons        map[string]int64 `json:"reasons,omitempty"`      // dead letters (late ones too) by reason
	Keyless        map[string]int64 `json:"keyless,omitempty"`      // events without the view's key, by view
	LateFeature    map[string]int64 `json:"late_feature,omitempty"` // events in a window already closed, by view:feature
	Nulled         map[string]int64 `json:"nulled,omitempty"`       // values lost to a limit or an overflow when written, by view:feature:reason
}

// clone returns counters of their own.
func (c Counters) clone() Counters {
	c.Reasons, c.Keyless, c.LateFeature, c.Nulled = maps.Clone(c.Reasons), maps.Clone(c.Keyless), maps.Clone(c.LateFeature), maps.Clone(c.Nulled)
	return c
}
