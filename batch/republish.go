package batch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"highwater/features"
)

// restore republishes what may have been lost, once the state is no older than anything published: that is, between batches, with no pending plan left.
// Only then does the task key move again, so that as_of overstates nothing.
func (t *Task) restore(ctx context.Context) error {
	if !t.mustRestore || !t.canRestore() {
		return nil
	}
	select {
	case <-t.lost: // noticed twice: what follows mends it
	default:
	}
	if err := t.retryKey(ctx)(func() error { return t.o.Announce(ctx) }); err != nil {
		return fmt.Errorf("announce the project: %w", err)
	}
	n, refused, err := t.republish(ctx)
	if err != nil {
		return fmt.Errorf("republish: %w", err)
	}
	if refused > 0 {
		t.askForPlan()
		return nil
	}
	if err := t.retryKey(ctx)(func() error { return t.o.Key.Restore(ctx, t.key(t.position)) }); err != nil {
		return fmt.Errorf("restore the task key: %w", err)
	}
	t.mustRestore = false
	t.setConfirmed(t.position.Version)
	t.o.Log.Info("republished", "vectors", n, "why", t.why)
	return nil
}

// canRestore reports whether the committed state is as new as anything published, and its clock reading new enough for the sinks' guard.
func (t *Task) canRestore() bool {
	switch {
	case t.position.Version.Less(t.recovering), t.position.Version.Sequence > 0 && t.position.Definitions != t.o.Project.Hash:
		return false // those batches come first, and each calls restore again
	case t.position.Version.Sequence == 0:
		t.mustRestore = false // nothing was ever published
		return false
	case t.o.Now().UnixMicro()-t.position.Clock > t.o.TombstoneTTL.Microseconds()/2:
		t.askForPlan()
		return false
	}
	return true
}

// askForPlan makes the planner plan, though nothing has come: a republish needs a newer clock reading.
func (t *Task) askForPlan() {
	select {
	case t.force <- t.why:
	default:
	}
}

// republish upserts exactly what was last published of every vector, under its version: equal versions cost nothing.
func (t *Task) republish(ctx context.Context) (vectors int64, refused int, err error) {
	start := time.Now()
	pub := &publisher{task: t, version: t.position.Version, clock: t.position.Clock}
	out := &chunk{}
	flush := func() error {
		if err := pub.vectors(ctx, out.vectors); err != nil {
			return err
		}
		vectors += int64(len(out.vectors))
		out.vectors, out.values = out.vectors[:0], out.values[:0]
		return pause(ctx, time.Until(start.Add(time.Duration(vectors)*time.Second/time.Duration(t.o.RepublishRate))))
	}
	for i, v := range t.o.Project.Views {
		err := t.o.State.Scan(ctx, i, func(e *Entity) error {
			if e.Published.Version.Sequence == 0 || e.Published.Tombstone && e.Published.Until <= t.position.Clock {
				return nil
			}
			out.add(v, e)
			if len(out.vectors) < chunkEntities {
				return nil
			}
			return flush()
		})
		if err != nil {
			return vectors, int(pub.refused.Load()), err
		}
		if err := flush(); err != nil {
			return vectors, int(pub.refused.Load()), err
		}
	}
	t.o.Metrics.republished.Add(float64(vectors))
	t.o.Log.Debug("republish", "vectors", vectors, "took", time.Since(start))
	return vectors, int(pub.refused.Load()), nil
}

// add appends what was last published of e.
func (c *chunk) add(v *features.View, e *Entity) {
	vec := features.Vector{View: v, Entity: e.Text, Version: e.Published.Version, Frontier: e.Published.Frontier, EventTime: e.Windows.EventTime(), Tombstone: e.Published.Tombstone}
	if !vec.Tombstone {
		start := len(c.values)
		c.values = v.Machine.Values(e.Windows, e.Published.Frontier, e.Published.Watermark, c.values)
		vec.Values = c.values[start:len(c.values):len(c.values)]
	}
	c.vectors = append(c.vectors, vec)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Republish writes every vector that the state knows again, by hand: it returns how many there were once the sinks have confirmed.
// Where batches must be committed first (pending plans, new definitions, a clock reading too old for the sinks' guard) it says so, and sees to it that one is planned.
func (t *Task) Republish(ctx context.Context) (int64, error) {
	var n atomic.Int64
	err := t.Do(ctx, func(work context.Context) error {
		if t.position.Version.Sequence == 0 {
			return nil
		}
		if !t.canRestore() {
			return errors.New("republish: a batch must be committed first; ask again in a moment")
		}
		vectors, refused, err := t.republish(work)
		n.Store(vectors)
		if err == nil && refused > 0 {
			t.withhold(fmt.Sprintf("%d upserts were refused: this owner was away for longer than tombstones live", refused))
			t.askForPlan()
			err = fmt.Errorf("republish: %d of %d upserts were refused as too old; they are written again after the next batch", refused, vectors)
		}
		return err
	})
	return n.Load(), err
}
