package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"highwater/batch"
	"highwater/features"
)

// A plan's value (docs/format/state.md); its version is its key.
//
//	format       1 byte
//	flags        1 byte: final
//	clock        varint
//	definitions  text (uvarint length, bytes)
//	slices       uvarint count, then by slice:
//	  flags      1 byte: idle; same source and topic as the slice before
//	  source, topic   texts (where not the same)
//	  partition  varint
//	  start      varint
//	  length     varint, end − start
//	  lag        varint, the log's end − end
//	  epoch      varint, the leader's
const (
	planFormat = 1

	flagFinal     = 1 << 0
	flagIdle      = 1 << 0
	flagSameTopic = 1 << 1
)

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendPlan(dst []byte, p *batch.Plan) []byte {
	var flags byte
	if p.Final {
		flags |= flagFinal
	}
	dst = append(dst, planFormat, flags)
	dst = binary.AppendVarint(dst, p.Clock)
	dst = appendText(dst, p.Definitions)
	dst = binary.AppendUvarint(dst, uint64(len(p.Slices)))
	var before batch.Partition
	for _, s := range p.Slices {
		dst = appendSlice(dst, s, before)
		before = s.Partition
	}
	return dst
}

func appendSlice(dst []byte, s batch.Slice, before batch.Partition) []byte {
	var flags byte
	if s.Idle {
		flags |= flagIdle
	}
	same := s.Partition.Source == before.Source && s.Partition.Topic == before.Topic
	if same {
		flags |= flagSameTopic
	}
	dst = append(dst, flags)
	if !same {
		dst = appendText(dst, s.Partition.Source)
		dst = appendText(dst, s.Partition.Topic)
	}
	dst = binary.AppendVarint(dst, int64(s.Partition.Number))
	dst = binary.AppendVarint(dst, s.Start)
	dst = binary.AppendVarint(dst, s.End-s.Start)
	dst = binary.AppendVarint(dst, s.LogEnd-s.End)
	return binary.AppendVarint(dst, int64(s.LeaderEpoch))
}

func decodePlan(v features.Version, value []byte) (*batch.Plan, error) {
	r := reader{b: value}
	if format := r.byte(); format != planFormat {
		return nil, fmt.Errorf("plan %v: %w", v, r.errorOr(fmt.Errorf("format %d is not known", format)))
	}
	p := &batch.Plan{Version: v}
	flags := r.byte()
	r.refuse(flags&^flagFinal != 0)
	p.Final = flags&flagFinal != 0
	p.Clock = r.varint()
	p.Definitions = r.text()
	n := r.uvarint()
	if n > uint64(len(r.b)) { // a slice has more than one byte
		return nil, fmt.Errorf("plan %v: %w", v, r.errorOr(errShort))
	}
	var before batch.Partition
	for range n {
		s := r.slice(before)
		p.Slices = append(p.Slices, s)
		before = s.Partition
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = errors.New("bytes are left over")
	}
	if r.err != nil {
		return nil, fmt.Errorf("plan %v: %w", v, r.err)
	}
	return p, nil
}

func (r *reader) slice(before batch.Partition) (s batch.Slice) {
	flags := r.byte()
	r.refuse(flags&^(flagIdle|flagSameTopic) != 0)
	s.Idle = flags&flagIdle != 0
	s.Partition = before
	if flags&flagSameTopic == 0 {
		s.Partition.Source, s.Partition.Topic = r.text(), r.text()
		r.refuse(s.Partition.Source == before.Source && s.Partition.Topic == before.Topic)
	}
	s.Partition.Number = r.int32()
	s.Start = r.varint()
	s.End = s.Start + r.varint()
	s.LogEnd = s.End + r.varint()
	s.LeaderEpoch = r.int32()
	return s
}
