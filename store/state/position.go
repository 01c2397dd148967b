package state

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
)

// positionFormat is the first byte of the position's value; JSON follows, for it is written once a batch, and read by people.
const positionFormat = 1

type storedPosition struct {
	Generation  uint32            `json:"generation"`
	Sequence    uint64            `json:"sequence"`
	Frontier    int64             `json:"frontier"`
	Watermark   int64             `json:"watermark"`
	Clock       int64             `json:"clock"`
	Definitions string            `json:"definitions"`
	Partitions  []storedPartition `json:"partitions"`
	Counters    batch.Counters    `json:"counters"`
	Opening     *storedOpening    `json:"opening,omitempty"` // of generations above the first
}

type storedOpening struct {
	ParentGeneration uint32 `json:"parent_generation"`
	ParentSequence   uint64 `json:"parent_sequence"`
	Why              string `json:"why"`
	Frontier         int64  `json:"frontier"`
	Watermark        int64  `json:"watermark"`
	Until            int64  `json:"until"`
	Definitions      string `json:"definitions"`
}

type storedPartition struct {
	batch.Partition
	TopicID     string `json:"topic_id,omitempty"`
	Next        int64  `json:"next"`
	LeaderEpoch *int32 `json:"leader_epoch,omitempty"` // absent where not known
	EventTime   int64  `json:"event_time"`
}

func encodePosition(p batch.Position) ([]byte, error) {
	sp := storedPosition{
		Generation: p.Version.Generation, Sequence: p.Version.Sequence,
		Frontier: p.Frontier, Watermark: p.Watermark, Clock: p.Clock, Definitions: p.Definitions, Counters: p.Counters,
	}
	for _, pp := range p.Partitions {
		stored := storedPartition{Partition: pp.Partition, TopicID: pp.TopicID, Next: pp.Next, EventTime: pp.EventTime}
		if pp.LeaderEpoch >= 0 {
			stored.LeaderEpoch = &pp.LeaderEpoch
		}
		sp.Partitions = append(sp.Partitions, stored)
	}
	if o := p.Opening; o != (batch.Opening{}) {
		sp.Opening = &storedOpening{ParentGeneration: o.Parent.Generation, ParentSequence: o.Parent.Sequence, Why: o.Why, Frontier: o.Frontier, Watermark: o.Watermark, Until: o.Until, Definitions: o.Definitions}
	}
	text, err := json.Marshal(sp)
	return append([]byte{positionFormat}, text...), err
}

func decodePosition(value []byte) (p batch.Position, err error) {
	if len(value) == 0 || value[0] != positionFormat {
		return p, fmt.Errorf("read position: format of %.8x is not known", value)
	}
	var sp storedPosition
	if err := json.Unmarshal(value[1:], &sp); err != nil {
		return p, fmt.Errorf("read position: %w", err)
	}
	p = batch.Position{
		Version:  features.Version{Generation: sp.Generation, Sequence: sp.Sequence},
		Frontier: sp.Frontier, Watermark: sp.Watermark, Clock: sp.Clock, Definitions: sp.Definitions, Counters: sp.Counters,
	}
	for _, pp := range sp.Partitions {
		at := batch.PartitionPosition{Partition: pp.Partition, TopicID: pp.TopicID, Next: pp.Next, LeaderEpoch: -1, EventTime: pp.EventTime}
		if pp.LeaderEpoch != nil {
			at.LeaderEpoch = *pp.LeaderEpoch
		}
		p.Partitions = append(p.Partitions, at)
	}
	if o := sp.Opening; o != nil {
		p.Opening = batch.Opening{Parent: features.Version{Generation: o.ParentGeneration, Sequence: o.ParentSequence}, Why: o.Why, Frontier: o.Frontier, Watermark: o.Watermark, Until: o.Until, Definitions: o.Definitions}
	}
	return p, nil
}

func (s *Store) loadPosition() error {
	value, found, err := s.get(keys.Position())
	if err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	if !found {
		return nil
	}
	p, err := decodePosition(value)
	if err != nil {
		return err
	}
	s.position.Store(&p)
	return nil
}

// Position returns where the last commit left the task; found is false in an empty directory. The caller owns what it gets.
func (s *Store) Position() (p batch.Position, found bool) {
	at := s.position.Load()
	if at == nil {
		return batch.Position{}, false
	}
	return clonePosition(*at), true
}

func clonePosition(p batch.Position) batch.Position {
	p.Partitions = slices.Clone(p.Partitions)
	c := &p.Counters
	c.Reasons, c.Keyless, c.LateFeature, c.Nulled = maps.Clone(c.Reasons), maps.Clone(c.Keyless), maps.Clone(c.LateFeature), maps.Clone(c.Nulled)
	return p
}
