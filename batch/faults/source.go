package faults

import (
	"context"

	"highwater/batch"
)

// Source wraps a task's source: cut, ends, read (Take), source_start.
func (i *Injector) Source(s batch.Source) batch.Source { return &source{Source: s, inject: i} }

type source struct {
	batch.Source
	inject *Injector
}

var _ batch.StalledSource = (*source)(nil)

func (s *source) Start(ctx context.Context, places []batch.Place) error {
	return s.inject.call(ctx, callSourceStart, func() error { return s.Source.Start(ctx, places) })
}

func (s *source) Cut(maxOffsets, maxBytes int64) (c batch.Cut, err error) {
	err = s.inject.call(context.Background(), callCut, func() (err error) {
		c, err = s.Source.Cut(maxOffsets, maxBytes)
		return err
	})
	return c, err
}

func (s *source) Ends(ctx context.Context) (ends []batch.End, err error) {
	err = s.inject.call(ctx, callEnds, func() (err error) {
		ends, err = s.Source.Ends(ctx)
		return err
	})
	return ends, err
}

func (s *source) Take(ctx context.Context, slices []batch.Slice) (records [][]batch.Record, err error) {
	err = s.inject.call(ctx, callRead, func() (err error) {
		records, err = s.Source.Take(ctx, slices)
		return err
	})
	return records, err
}

// Stalled passes on what the source says of itself, if it does.
func (s *source) Stalled() error {
	if inner, ok := s.Source.(batch.StalledSource); ok {
		return inner.Stalled()
	}
	return nil
}
