package kafka_test

import (
	"bytes"
	"context"
	"testing"

	"highwater/batch"
	"highwater/batch/kafka"
)

// reader drives a source as a task does: cut, plan, take.
type reader struct {
	t      testing.TB
	source *kafka.Source
	at     []int64
	limits func() (maxOffsets, maxBytes int64)
	got    [][]batch.Record
	plans  int
}

func read(t testing.TB, s *kafka.Source, from ...int64) *reader {
	t.Helper()
	var places []batch.Place
	for _, next := range from {
		places = append(places, batch.Place{Next: next, LeaderEpoch: -1})
	}
	must(t, s.Start(within(t), places))
	return &reader{t: t, source: s, at: append([]int64(nil), from...), got: make([][]batch.Record, len(from)), limits: func() (int64, int64) { return 100, 1 << 20 }}
}

// cut waits until there is something to plan, or the source errs.
func (r *reader) cut(ctx context.Context) (batch.Cut, error) {
	r.t.Helper()
	for {
		offsets, bytes := r.limits()
		c, err := r.source.Cut(offsets, bytes)
		if err != nil {
			return c, err
		}
		r.check(c, offsets, bytes)
		if c.Offsets > 0 {
			return c, nil
		}
		select {
		case <-r.source.Arrived():
		case <-ctx.Done():
			r.t.Fatalf("nothing to plan at %v", r.at)
		}
	}
}

// check holds a cut against what it is documented to be.
func (r *reader) check(c batch.Cut, maxOffsets, maxBytes int64) {
	r.t.Helper()
	var offsets int64
	for i, end := range c.Ends {
		if end < r.at[i] {
			r.t.Fatalf("partition %d is cut at %d, behind %d", i, end, r.at[i])
		}
		offsets += end - r.at[i]
	}
	if offsets != c.Offsets {
		r.t.Fatalf("the ends %v after %v are %d offsets; the cut says %d", c.Ends, r.at, offsets, c.Offsets)
	}
	if (c.Offsets >= maxOffsets || c.Bytes >= maxBytes) && !c.Full {
		r.t.Fatalf("a cut of %d offsets and %d bytes is not full, at limits %d and %d", c.Offsets, c.Bytes, maxOffsets, maxBytes)
	}
}

// slices are the slices from where the reader stands to ends.
func (r *reader) slices(ends []int64) []batch.Slice {
	slices := make([]batch.Slice, len(ends))
	for i, p := range r.source.Partitions() {
		slices[i] = batch.Slice{Partition: p, Start: r.at[i], End: ends[i], LeaderEpoch: -1}
	}
	return slices
}

// take takes everything up to ends.
func (r *reader) take(ctx context.Context, ends []int64) error {
	records, err := r.source.Take(ctx, r.slices(ends))
	if err != nil {
		return err
	}
	for i := range records {
		r.got[i] = append(r.got[i], records[i]...)
	}
	r.at = append([]int64(nil), ends...)
	r.plans++
	return nil
}

// step plans once, checking that the bytes of a cut are those of its records, and that the limits were kept, or the cut is one record.
func (r *reader) step(ctx context.Context) error {
	c, err := r.cut(ctx)
	if err != nil {
		return err
	}
	before := make([]int, len(r.got))
	for i := range r.got {
		before[i] = len(r.got[i])
	}
	if err := r.take(ctx, c.Ends); err != nil {
		return err
	}
	var bytes int64
	records := 0
	for i := range r.got {
		for _, rec := range r.got[i][before[i]:] {
			bytes += int64(len(rec.Key) + len(rec.Value))
			for _, h := range rec.Headers {
				bytes += int64(len(h.Key) + len(h.Value))
			}
			records++
		}
	}
	if bytes != c.Bytes {
		r.t.Fatalf("a cut of %d bytes gave %d", c.Bytes, bytes)
	}
	if maxOffsets, maxBytes := r.limits(); records > 1 && (c.Offsets > maxOffsets || c.Bytes > maxBytes) {
		r.t.Fatalf("a cut of %d records, %d offsets and %d bytes is beyond %d and %d", records, c.Offsets, c.Bytes, maxOffsets, maxBytes)
	}
	return nil
}

// until plans until the ends are reached.
func (r *reader) until(ends []int64) {
	r.t.Helper()
	ctx := within(r.t)
	for behind(r.at, ends) {
		must(r.t, r.step(ctx))
	}
}

// err plans until the source errs.
func (r *reader) err() error {
	r.t.Helper()
	ctx := within(r.t)
	for {
		if err := r.step(ctx); err != nil {
			return err
		}
	}
}

func behind(at, ends []int64) bool {
	for i := range at {
		if at[i] < ends[i] {
			return true
		}
	}
	return false
}

// same compares the records of one partition with what was written.
func same(t testing.TB, got, want []batch.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Offset != w.Offset || g.Time != w.Time || !bytes.Equal(g.Key, w.Key) || !bytes.Equal(g.Value, w.Value) {
			t.Fatalf("record %d is offset %d, time %d, key %q, %d bytes; want offset %d, time %d, key %q, %d bytes", i, g.Offset, g.Time, g.Key, len(g.Value), w.Offset, w.Time, w.Key, len(w.Value))
		}
	}
}
