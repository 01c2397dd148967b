package batch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"highwater/features"
)

// planner decides when a batch is cut, and where. It owns everything that a plan takes from the world outside its records: the clock, the logs' ends, what is idle (I3).
type planner struct {
	source     Source
	plans      Plans
	limits     features.BatchLimits
	clock      features.Clock
	partitions []partition
	hash       string // of the definitions deployed
	now        func() time.Time
	log        *slog.Logger
	complete   <-chan struct{} // closed when all that will ever come has been loaded; nil for never
	force      <-chan string   // asks for a plan although nothing has come, and says why

	version  features.Version // of the last plan
	reading  int64            // µs: the last plan's clock reading
	ends     []int64          // the last plan's ends
	lastSeen []time.Time      // by partition: when a plan last had offsets of it
	deadline time.Time        // when the interval has passed
	changed  bool             // the definitions changed since the last plan
	behind   func(s float64)  // hears by how much the clock is behind the last plan's reading
	setBack  bool             // it was, when last looked at
	took     time.Duration    // what making the last plan took, once something had triggered it
}

// trigger says what cut a batch; it labels metrics.
const (
	bySize      = "size"
	byInterval  = "interval"
	byDrain     = "drain"     // all has been loaded: no need to wait for the interval
	byForce     = "forced"    // a republish needs a plan with a newer clock reading
	byRecovery  = "recovered" // a plan found without its commit
	byRedefined = "redefined" // the definitions changed
)

// resume makes the planner go on after a plan.
func (p *planner) resume(plan *Plan) {
	p.version, p.reading = plan.Version, plan.Clock
	for i, s := range plan.Slices {
		p.ends[i] = s.End
	}
	p.changed = plan.Definitions != p.hash
}

// next waits for a trigger and returns the plan that won its sequence, made durable (I1): see resume. It returns nil when ctx ends, and drained when everything that will ever come is planned.
func (p *planner) next(ctx context.Context, m *marks) (plan *Plan, trigger string, drained bool, err error) {
	for ctx.Err() == nil {
		trigger, cut, err := p.wait(ctx)
		if err != nil || trigger == "" {
			return nil, "", false, err
		}
		start := p.now()
		plan, useful, err := p.propose(ctx, cut, trigger, m)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, "", false, nil
		case err != nil:
			return nil, "", false, err
		case useful:
			won, err := p.plans.Append(ctx, plan)
			if err != nil {
				return nil, "", false, fmt.Errorf("append plan %s: %w", plan.Version, err)
			}
			p.took = p.now().Sub(start)
			return won, trigger, false, nil
		case trigger == byDrain && plan.CaughtUp():
			return nil, "", true, nil
		case trigger == byDrain: // more is loaded than fetched
			select {
			case <-ctx.Done():
			case <-p.source.Arrived():
			}
		}
	}
	return nil, "", false, nil
}

// wait returns what cuts the next batch: its size, the interval, or one of the rarer reasons; "" when ctx ends.
func (p *planner) wait(ctx context.Context) (string, Cut, error) {
	for {
		cut, err := p.source.Cut(p.limits.MaxRecords, p.limits.MaxBytes)
		if err != nil {
			return "", Cut{}, err
		}
		if cut.Full {
			return bySize, cut, nil
		}
		if p.changed {
			return byRedefined, cut, nil
		}
		remaining := p.deadline.Sub(p.now())
		if remaining <= 0 || remaining > p.limits.Interval { // a clock set back must not stretch the interval
			p.deadline = p.now().Add(p.limits.Interval)
			return byInterval, cut, nil
		}
		timer := time.NewTimer(remaining)
		select {
		case <-ctx.Done():
			timer.Stop()
			return "", Cut{}, nil
		case <-p.source.Arrived():
		case <-timer.C:
		case <-p.complete:
			timer.Stop()
			return byDrain, cut, nil
		case why := <-p.force:
			timer.Stop()
			p.log.Info("plan forced", at("plan", p.version), "why", why)
			return byForce, cut, nil
		}
		timer.Stop()
	}
}

// propose makes the next plan of a cut; useful is false where it could change nothing.
func (p *planner) propose(ctx context.Context, cut Cut, trigger string, m *marks) (plan *Plan, useful bool, err error) {
	logEnds, err := p.source.Ends(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("ask for the logs' ends: %w", err)
	}
	now := p.now()
	p.heed(now)
	plan = &Plan{
		Version:     features.Version{Generation: p.version.Generation, Sequence: p.version.Sequence + 1},
		Clock:       max(now.UnixMicro(), p.reading),
		Definitions: p.hash,
	}
	for i, part := range p.partitions {
		s := Slice{Partition: part.Partition, Start: p.ends[i], End: cut.Ends[i], LeaderEpoch: logEnds[i].LeaderEpoch, LogEnd: max(logEnds[i].LogEnd, cut.Ends[i])}
		if s.End > s.Start {
			p.lastSeen[i] = now
		}
		s.Idle = s.End == s.LogEnd && now.Sub(p.lastSeen[i]).Microseconds() >= part.idleAfter
		plan.Slices = append(plan.Slices, s)
	}
	switch {
	case plan.Offsets() > 0 || trigger == byForce || trigger == byRedefined:
		return plan, true, nil
	case !plan.CaughtUp():
		return plan, false, nil
	case p.clock == features.WallClock: // the frontier moves, but drained is drained, whatever the clock does
		return plan, plan.Clock > p.reading && trigger != byDrain, nil
	case trigger == byDrain:
		plan.Final = true
		moved := m.clone()
		moved.close(plan, p.partitions, p.clock)
		return plan, moved.watermark > m.watermark, nil
	}
	return plan, false, nil
}

// clockSlack is how far behind the last reading the clock may be without a word: it is adjusted by as much all the time.
const clockSlack = time.Second

// heed says when the clock has gone back, and when it has caught up. Readings stand still in between (I3), so that sliding windows do too, and what is far ahead of the last one is absurd.
func (p *planner) heed(now time.Time) {
	last := time.UnixMicro(p.reading)
	by := max(0, last.Sub(now))
	p.behind(by.Seconds())
	switch setBack := by > clockSlack; {
	case setBack && !p.setBack:
		p.setBack = true
		p.log.Warn("the clock was set back: until it has caught up, plans keep the last reading, and events more than max_future ahead of that are dead letters",
			at("plan", p.version), "by", by.Round(time.Second), "reading", stamp(p.reading), "clock", now.UTC().Format(time.RFC3339))
	case !setBack && p.setBack:
		p.setBack = false
		p.log.Info("the clock has caught up with the last plan's reading", at("plan", p.version))
	}
}
