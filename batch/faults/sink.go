package faults

import (
	"context"

	"highwater/batch"
)

// Sink wraps one of a task's sinks: publish. Sinks share the point's count.
func (i *Injector) Sink(s batch.Sink) batch.Sink { return &sink{Sink: s, inject: i} }

type sink struct {
	batch.Sink
	inject *Injector
}

var _ batch.Selective = (*sink)(nil)

func (s *sink) Publish(ctx context.Context, out *batch.Output) (o batch.Outcome, err error) {
	err = s.inject.call(ctx, callPublish, func() (err error) {
		o, err = s.Sink.Publish(ctx, out)
		return err
	})
	return o, err
}

// Takes passes on what the sink says that it takes; one that does not say takes all.
func (s *sink) Takes(out *batch.Output) bool {
	if inner, ok := s.Sink.(batch.Selective); ok {
		return inner.Takes(out)
	}
	return true
}
