package faults

import (
	"context"

	"highwater/batch"
	"highwater/features"
)

// Plans wraps a task's plan log: plan (Append), pending (After).
func (i *Injector) Plans(p batch.Plans) batch.Plans { return &plans{Plans: p, inject: i} }

type plans struct {
	batch.Plans
	inject *Injector
}

func (p *plans) Append(ctx context.Context, plan *batch.Plan) (won *batch.Plan, err error) {
	err = p.inject.call(ctx, callPlan, func() (err error) {
		won, err = p.Plans.Append(ctx, plan)
		return err
	})
	return won, err
}

func (p *plans) After(ctx context.Context, v features.Version) (found []*batch.Plan, err error) {
	err = p.inject.call(ctx, callPending, func() (err error) {
		found, err = p.Plans.After(ctx, v)
		return err
	})
	return found, err
}

// State wraps a task's state: begin, due, scan, raise, transform (Load), commit.
func (i *Injector) State(s batch.State) batch.State { return &state{State: s, inject: i} }

type state struct {
	batch.State
	inject *Injector
}

func (s *state) Due(clock batch.TimerClock, until int64, each func(view int, text string) error) error {
	return s.inject.call(context.Background(), callDue, func() error { return s.State.Due(clock, until, each) })
}

// Begin cannot fail: where it is to, the change that it returns does, at its first call.
func (s *state) Begin() batch.Change {
	c := &change{inject: s.inject}
	c.broken = s.inject.call(context.Background(), callBegin, func() error {
		c.Change = s.State.Begin()
		return nil
	})
	return c
}

func (s *state) Scan(ctx context.Context, view int, after string, each func(*batch.Entity) error) error {
	return s.inject.call(ctx, callScan, func() error { return s.State.Scan(ctx, view, after, each) })
}

func (s *state) Raise(ctx context.Context, p batch.Position, empty bool) error {
	return s.inject.call(ctx, callRaise, func() error { return s.State.Raise(ctx, p, empty) })
}

type change struct {
	batch.Change       // nil where Begin failed before it had begun one
	broken       error // what Begin would have returned
	inject       *Injector
}

func (c *change) Load(view int, texts []string) (entities []*batch.Entity, err error) {
	if c.broken != nil {
		return nil, c.broken
	}
	err = c.inject.call(context.Background(), callTransform, func() (err error) {
		entities, err = c.Change.Load(view, texts)
		return err
	})
	return entities, err
}

func (c *change) Commit(ctx context.Context, p batch.Position) error {
	if c.broken != nil {
		return c.broken
	}
	return c.inject.call(ctx, callCommit, func() error { return c.Change.Commit(ctx, p) })
}

func (c *change) Discard() {
	if c.Change != nil {
		c.Change.Discard()
	}
}
