package batch

import (
	"context"
	"fmt"
	"time"

	"highwater/features"
	"highwater/windows"
)

// input is a batch that has been planned and read: all that transform needs.
type input struct {
	plan       *Plan
	trigger    string
	binding    *binding
	partitions []partition
	views      []*viewRows // as Project.Views
	before     marks       // what the batch's events were judged by
	after      marks
	counts     readCounts
	dead       []DeadLetter // records share the fetcher's bytes, which live until the batch is done
	planned    time.Duration
	read       time.Duration
	drained    bool // no batch at all: everything that will ever come has been planned and committed
}

type readCounts struct {
	events  int64
	reasons map[Reason]int64
}

// reader turns plans into inputs, in order. It keeps the marks that records are judged by, and so reads each plan once.
type reader struct {
	source Source
	marks  marks
	free   chan *input // inputs whose batches are done, for reuse
	fields []windows.Value
}

// read fetches exactly what the plan covers and judges every record, in log order.
func (r *reader) read(ctx context.Context, p *Plan, b *binding, partitions []partition) (*input, error) {
	start := time.Now()
	in := r.input(b)
	in.plan, in.partitions, in.before = p, partitions, r.marks.clone()
	records, err := r.source.Take(ctx, p.Slices)
	if err != nil {
		return nil, err
	}
	for i := range p.Slices {
		if partitions[i].absent {
			continue
		}
		if err := r.judge(in, i, records[i]); err != nil {
			return nil, err
		}
	}
	r.marks.close(p, partitions, b.project.Clock)
	in.after = r.marks.clone()
	for _, v := range in.views {
		v.group()
	}
	in.read = time.Since(start)
	return in, nil
}

// input returns an empty input for the binding, reused where one is free.
func (r *reader) input(b *binding) *input {
	select {
	case in := <-r.free:
		if in.binding == b {
			for _, v := range in.views {
				v.reset()
			}
			clear(in.dead)
			*in = input{binding: b, views: in.views, dead: in.dead[:0], counts: readCounts{reasons: map[Reason]int64{}}}
			return in
		}
	default:
	}
	in := &input{binding: b, counts: readCounts{reasons: map[Reason]int64{}}}
	for _, v := range b.project.Views {
		in.views = append(in.views, newViewRows(v))
	}
	return in
}

// judge decodes one slice's records and hands each to the views, or to the dead letters.
func (r *reader) judge(in *input, slice int, records []Record) error {
	p := &in.partitions[slice]
	s := &in.binding.sources[p.source]
	if cap(r.fields) < len(s.Fields) {
		r.fields = make([]windows.Value, len(s.Fields))
	}
	fields := r.fields[:len(s.Fields)]
	for i := range records {
		rec := &records[i]
		if rec.Offset < in.plan.Slices[slice].Start || rec.Offset >= in.plan.Slices[slice].End {
			return fmt.Errorf("%s partition %d: the source handed out offset %d for a plan of %d to %d", p.Topic, p.Number, rec.Offset, in.plan.Slices[slice].Start, in.plan.Slices[slice].End)
		}
		eventTime, reason, detail := r.decode(in, slice, s, rec, fields)
		if reason != "" && reason != ReasonLate {
			in.reject(p, rec, reason, detail)
			continue
		}
		in.counts.events++
		if reason == ReasonLate {
			in.reject(p, rec, reason, detail)
			continue
		}
		r.marks.eventTime[slice] = max(r.marks.eventTime[slice], eventTime)
		for _, v := range s.views {
			in.views[v].add(fields, eventTime, rec.Offset, p.Number)
		}
	}
	return nil
}

// decode returns a record's event time, or why it is a dead letter. Lateness is judged against the partition's watermark as the records before it have left it.
func (r *reader) decode(in *input, slice int, s *boundSource, rec *Record, fields []windows.Value) (int64, Reason, string) {
	if n := len(rec.Value); n > s.MaxRecordBytes {
		return 0, ReasonTooLarge, fmt.Sprintf("%d bytes, max_record_bytes is %d", n, s.MaxRecordBytes)
	}
	t, reason, detail := s.decoder.Decode(rec, fields)
	if reason != "" {
		return 0, reason, detail
	}
	p := &in.partitions[slice]
	reading := in.plan.Clock
	if in.binding.project.Clock == features.EventClock {
		reading = rec.Time
	}
	if reading > 0 && t > reading+p.maxFuture {
		return 0, ReasonAbsurd, fmt.Sprintf("event time %s is more than max_future (%s) ahead of %s", stamp(t), s.MaxFuture, stamp(reading))
	}
	if w := r.marks.watermarkOf(slice, p.lateness); t < w {
		return 0, ReasonLate, fmt.Sprintf("event time %s is behind the partition's watermark %s", stamp(t), stamp(w))
	}
	return t, "", ""
}

// reject counts a dead letter and keeps it for the sinks.
func (in *input) reject(p *partition, rec *Record, reason Reason, detail string) {
	in.counts.reasons[reason]++
	d := DeadLetter{Partition: p.Partition, Offset: rec.Offset, Reason: reason, Detail: detail, Key: rec.Key}
	if reason != ReasonTooLarge {
		d.Value, d.Headers = rec.Value, rec.Headers
	}
	in.dead = append(in.dead, d)
}

func stamp(us int64) string { return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000Z") }
