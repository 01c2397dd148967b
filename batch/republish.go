package batch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"highwater/features"
)

// pass is one republish, slice by slice between the batches: it upserts exactly what was last published of every vector, under its version, so that equal versions cost nothing.
// Each slice is taken from a committed state that is no older than anything published, which is all that the order of slices and batches has to keep.
type pass struct {
	pub     *publisher
	view    int    // what comes next: this view's entities
	after   string // beyond this one
	vectors int64
	of      int64
	started time.Time
	out     chunk
}

// never is how long execute waits for the next slice where there is none.
const never = time.Duration(math.MaxInt64)

// restore runs one slice of a republish, where one is due, and returns how long to wait before the next. When the last has been confirmed, the task key moves again: not before, so that as_of overstates nothing.
func (t *Task) restore(ctx context.Context) (wait time.Duration, err error) {
	if !t.mustRestore {
		return never, nil
	}
	if t.pass == nil {
		if can, err := t.canRestore(ctx); err != nil || !can {
			return never, err
		}
		if err := t.beginPass(ctx); err != nil {
			return 0, err
		}
	}
	if t.pass.view < len(t.o.Project.Views) {
		if err := t.slice(ctx); err != nil {
			return 0, fmt.Errorf("republish: %w", err)
		}
		if t.pass == nil { // it begins again after the next batch
			return never, nil
		}
		due := t.pass.started.Add(time.Duration(t.pass.vectors) * time.Second / time.Duration(t.rate.Load()))
		return max(0, time.Until(due)), nil
	}
	if err := t.endPass(ctx); err != nil || !t.mustRestore {
		return never, err
	}
	return 0, nil // lost again meanwhile: it begins anew, though nothing may ever come
}

// canRestore reports whether the committed state is as new as anything published, and its clock reading new enough for the sinks' guard.
func (t *Task) canRestore(ctx context.Context) (bool, error) {
	if err := t.lookOn(ctx); err != nil {
		return false, err
	}
	switch {
	case t.position.Version.Less(t.recovering), t.redefined():
		return false, nil // those batches come first
	case t.position.Published() == (features.Version{}):
		t.endRestore(0) // nothing was ever published
		return false, nil
	case t.o.Now().UnixMicro()-t.position.Clock > t.o.TombstoneTTL.Microseconds()/2:
		t.askForPlan()
		return false, nil
	}
	return true, nil
}

// lookOn finds out how far another owner may have published that shares the plan log: as far as that goes. Whatever the store has lost until now was published under plans that are in it.
func (t *Task) lookOn(ctx context.Context) error {
	if t.lookedOn || t.o.Owner != "" {
		return nil
	}
	planned, err := t.o.Plans.After(ctx, t.position.Version)
	if err != nil {
		return fmt.Errorf("read what others have planned: %w", err)
	}
	if t.lookedOn = true; len(planned) > 0 {
		t.recovering = planned[len(planned)-1].Version
	}
	return nil
}

// askForPlan makes the planner plan, though nothing has come: a republish needs a newer clock reading.
func (t *Task) askForPlan() {
	select {
	case t.force <- t.why:
	default:
	}
}

func (t *Task) beginPass(ctx context.Context) error {
	select {
	case <-t.lost: // noticed twice: what follows mends it
	default:
	}
	if err := t.retryKey(ctx)(func() error { return t.o.Key.Restoring(ctx, t.key(t.position)) }); err != nil { // first: whoever is superseded must announce nothing
		return fmt.Errorf("mark the task key before a republish: %w", err)
	}
	if err := t.retryKey(ctx)(func() error { return t.o.Announce(ctx) }); err != nil {
		return fmt.Errorf("announce the project: %w", err)
	}
	t.pass = &pass{pub: &publisher{task: t}, started: time.Now()}
	for view := range t.o.Project.Views {
		t.pass.of += t.o.State.Entities(view)
	}
	t.o.Log.Info("republish begins", at("republish", t.position.Version), "vectors", t.pass.of, "why", t.why)
	return nil
}

// errFull ends a scan when its slice is full.
var errFull = errors.New("the slice is full")

// slice publishes the next few thousand vectors.
func (t *Task) slice(ctx context.Context) error {
	p := t.pass
	p.out.vectors, p.out.values = p.out.vectors[:0], p.out.values[:0]
	p.pub.version, p.pub.clock = t.position.Version, t.position.Clock
	view := t.o.Project.Views[p.view]
	err := t.o.State.Scan(ctx, p.view, p.after, func(e *Entity) error {
		p.after = e.Text
		if e.Published.Version == (features.Version{}) || e.Published.Tombstone && e.Published.Until <= t.position.Clock {
			return nil
		}
		if p.out.add(view, e); len(p.out.vectors) < chunkEntities {
			return nil
		}
		return errFull
	})
	switch {
	case err == nil:
		p.view, p.after = p.view+1, ""
	case !errors.Is(err, errFull):
		return err
	}
	if err := p.pub.vectors(ctx, p.out.vectors); err != nil {
		return err
	}
	if err := p.pub.outlived(); err != nil {
		return err
	}
	if p.pub.refused.Swap(0) > 0 { // only a newer clock reading helps
		t.withhold("upserts of a republish were refused: this owner was away for longer than tombstones live")
		t.askForPlan()
		return nil
	}
	p.vectors += int64(len(p.out.vectors))
	t.o.Metrics.republished.Add(float64(len(p.out.vectors)))
	t.setRepublish(&republishStatus{Why: t.why, Written: p.vectors, Of: p.of})
	return nil
}

// endPass moves the task key, unless the store has lost it, and maybe vectors, once more.
func (t *Task) endPass(ctx context.Context) error {
	held := false
	err := t.retryKey(ctx)(func() (err error) {
		held, err = t.o.Key.Restore(ctx, t.key(t.position))
		return err
	})
	if err != nil {
		return fmt.Errorf("restore the task key: %w", err)
	}
	if !held {
		t.withhold("the task key was lost again during a republish")
		return nil
	}
	t.setConfirmed(t.position.Version)
	t.o.Log.Info("republished", at("republish", t.position.Version), "vectors", t.pass.vectors, "took", time.Since(t.pass.started).Round(time.Millisecond), "why", t.why)
	t.endRestore(t.pass.vectors)
	return nil
}

// endRestore lets the task key move again, and tells who waits for that.
func (t *Task) endRestore(vectors int64) {
	t.mustRestore, t.pass = false, nil
	t.setRepublish(nil)
	for _, w := range t.waiting {
		w <- vectors
	}
	t.waiting = nil
	select {
	case <-t.restored:
	default:
		close(t.restored)
	}
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
		return ctx.Err()
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

// Republish writes every vector that the state knows again, by hand: it returns how many there were, once the sinks have confirmed. Where batches must be committed first (pending plans, new definitions, a clock reading too old for
// the sinks' guard) it waits for them. Meanwhile the task key is withheld, as after any loss.
func (t *Task) Republish(ctx context.Context) (int64, error) {
	done := make(chan int64, 1)
	err := t.Do(ctx, func(context.Context) error {
		t.waiting = append(t.waiting, done)
		t.withhold("asked for by hand")
		return nil
	})
	if err != nil {
		return 0, err
	}
	select {
	case n := <-done:
		return n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
