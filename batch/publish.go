package batch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"highwater/features"
)

// Selective is a [Sink] that takes part of what there is, and is not asked about the rest.
type Selective interface {
	Takes(out *Output) bool
}

// publisher gives every sink its part of a batch, and does not rest until it confirms. It is safe for concurrent use.
type publisher struct {
	task    *Task
	version features.Version
	clock   int64
	took    atomic.Int64 // ns, summed over the calls
	refused atomic.Int64
	buried  atomic.Bool // tombstones were refused
}

func (p *publisher) deadLetters(ctx context.Context, dead []DeadLetter) error {
	if len(dead) == 0 {
		return nil
	}
	return p.publish(ctx, &Output{Version: p.version, Clock: p.clock, DeadLetters: dead})
}

func (p *publisher) vectors(ctx context.Context, vectors []features.Vector) error {
	if len(vectors) == 0 {
		return nil
	}
	return p.publish(ctx, &Output{Version: p.version, Clock: p.clock, Vectors: vectors})
}

// publish retries each sink for as long as it fails: an outage stalls the task, it loses nothing.
func (p *publisher) publish(ctx context.Context, out *Output) error {
	start := time.Now()
	defer func() { p.took.Add(int64(time.Since(start))) }()
	for _, sink := range p.task.o.Sinks {
		if s, ok := sink.(Selective); ok && !s.Takes(out) {
			continue
		}
		var outcome Outcome
		since := time.Now()
		err := retry(ctx, defaultBackoff, func() error {
			var err error
			outcome, err = sink.Publish(ctx, out)
			return err
		}, p.task.stalled(sink.Name()))
		if err != nil {
			if IsPermanent(err) {
				p.task.o.Metrics.failedAttempt(sink.Name(), err)
			}
			return fmt.Errorf("publish to %s: %w", sink.Name(), err)
		}
		p.task.flowing(sink.Name())
		p.task.o.Metrics.publish.WithLabelValues(sink.Name()).Observe(time.Since(since).Seconds())
		if err := p.count(sink, outcome); err != nil {
			return err
		}
		if outcome.Refused > 0 && slices.ContainsFunc(out.Vectors, func(v features.Vector) bool { return v.Tombstone }) {
			p.buried.Store(true)
		}
	}
	p.task.o.Metrics.vectors.Add(float64(len(out.Vectors)))
	return nil
}

// outlived is what a task ends with that was away for longer than tombstones live, and has had tombstones refused for it: by now they have expired, so that no republish writes them, and what they were to bury would stay for ever.
// Under a new generation they are made anew, or swept.
func (p *publisher) outlived() error {
	o := &p.task.o
	shared := o.Owner == ""                                               // owners that share a plan log cannot begin a generation
	away := o.Now().UnixMicro()-p.clock > o.TombstoneTTL.Microseconds()/2 // else the store's clock is ahead by so much, and would refuse the next one too
	if shared || !away || !p.buried.Load() {
		return nil
	}
	return &ChangedError{Why: "this owner was away for longer than tombstones live, and tombstones of its were refused", Raise: true}
}

// count records an outcome; a divergence stops the task (I4 is broken, and going on would spread it).
func (p *publisher) count(sink Sink, o Outcome) error {
	m := p.task.o.Metrics
	m.equal.Add(float64(o.Equal))
	m.stale.Add(float64(o.Stale))
	m.refused.Add(float64(o.Refused))
	p.task.stale.Add(int64(o.Stale))
	p.refused.Add(int64(o.Refused))
	if len(o.Divergent) == 0 {
		return nil
	}
	m.divergent.Add(float64(len(o.Divergent)))
	p.task.divergent.Add(int64(len(o.Divergent)))
	names := make([]string, 0, 5)
	for _, d := range o.Divergent[:min(5, len(o.Divergent))] {
		names = append(names, fmt.Sprintf("%s %q at %s", d.View, d.Entity, d.Version))
	}
	return Permanent(fmt.Errorf("%d vectors in %s have this task's versions with other bytes (%s): two different histories have written under one generation; "+
		"nothing was overwritten; find the other writer and stop it, then begin a new generation: highwater reset --from here",
		len(o.Divergent), sink.Name(), strings.Join(names, ", ")))
}

// stalled returns what a failed attempt at a sink is told to.
func (t *Task) stalled(sink string) func(error, time.Duration) {
	return func(err error, _ time.Duration) {
		t.o.Metrics.failedAttempt(sink, err)
		t.setStalled(sink, err)
	}
}

func (t *Task) flowing(sink string) { t.setStalled(sink, nil) }
