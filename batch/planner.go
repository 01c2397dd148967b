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
	metrics    *Metrics
	complete   <-chan struct{}     // closed when all that will ever come has been loaded; nil for never
	force      <-chan string       // asks for a plan although nothing has come, and says why
	behind     func(offsets int64) // hears how far the task is behind, whenever that is known

	version  features.Version // of the last plan
	reading  int64            // µs: the last plan's clock reading
	ends     []int64          // the last plan's ends
	lastSeen []time.Time      // by partition: when a plan last had offsets of it
	deadline time.Time        // when the interval has passed
	changed  bool             // the definitions changed since the last plan
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

// resume makes the planner go on after a plan that was found in the log.
func (p *planner) resume(plan *Plan) {
	p.version, p.reading = plan.Version, plan.Clock
	for i, s := range plan.Slices {
		p.ends[i] = s.End
	}
	p.changed = plan.Definitions != p.hash
}

// next waits for a trigger and returns the plan that won its sequence, made durable (I1). It returns nil when ctx ends, and drained when everything that will ever come is planned.
func (p *planner) next(ctx context.Context, m *marks) (plan *Plan, trigger string, drained bool, err error) {
	for {
		if ctx.Err() != nil {
			return nil, "", false, nil
		}
		trigger, cut, err := p.wait(ctx)
		if err != nil || trigger == "" {
			return nil, "", false, err
		}
		start := p.now()
		plan, err := p.propose(ctx, cut, trigger, m)
		if err != nil {
			return nil, "", false, err
		}
		if plan == nil {
			if trigger == byDrain {
				return nil, "", true, nil
			}
			continue
		}
		won, err := p.plans.Append(ctx, plan)
		if err != nil {
			return nil, "", false, fmt.Errorf("append plan %s: %w", plan.Version, err)
		}
		p.resume(won)
		p.took = p.now().Sub(start)
		return won, trigger, false, nil
	}
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
			p.log.Info("plan forced", "why", why)
			return byForce, cut, nil
		}
		timer.Stop()
	}
}

// propose makes the next plan of a cut, or nil where it could change nothing.
func (p *planner) propose(ctx context.Context, cut Cut, trigger string, m *marks) (*Plan, error) {
	logEnds, err := p.logEnds(ctx)
	if err != nil || logEnds == nil {
		return nil, err
	}
	now := p.now()
	plan := &Plan{
		Version:     features.Version{Generation: p.version.Generation, Sequence: p.version.Sequence + 1},
		Clock:       max(now.UnixMicro(), p.reading),
		Definitions: p.hash,
	}
	var behind int64
	for i, part := range p.partitions {
		s := Slice{Partition: part.Partition, Start: p.ends[i], End: cut.Ends[i], LeaderEpoch: logEnds[i].LeaderEpoch, LogEnd: max(logEnds[i].LogEnd, cut.Ends[i])}
		if s.End > s.Start {
			p.lastSeen[i] = now
		}
		s.Idle = s.End == s.LogEnd && now.Sub(p.lastSeen[i]).Microseconds() >= part.idleAfter
		behind += s.LogEnd - s.End
		plan.Slices = append(plan.Slices, s)
	}
	p.behind(behind)
	frontierMoves := p.clock == features.WallClock && plan.CaughtUp() && plan.Clock > p.reading && trigger != byDrain // drained is drained, whatever the clock does
	if plan.Offsets() > 0 || trigger == byForce || trigger == byRedefined || frontierMoves {
		return plan, nil
	}
	if trigger == byDrain && p.clock == features.EventClock && plan.CaughtUp() {
		plan.Final = true
		moved := m.clone()
		moved.close(plan, p.partitions, p.clock)
		if moved.watermark > m.watermark {
			return plan, nil
		}
	}
	if trigger == byDrain && !plan.CaughtUp() { // more is loaded than fetched: wait for it
		select {
		case <-ctx.Done():
		case <-p.source.Arrived():
		}
		return p.proposeAgain(ctx, m)
	}
	return nil, nil
}

// proposeAgain looks once more at what has arrived while draining.
func (p *planner) proposeAgain(ctx context.Context, m *marks) (*Plan, error) {
	if ctx.Err() != nil {
		return nil, nil
	}
	cut, err := p.source.Cut(p.limits.MaxRecords, p.limits.MaxBytes)
	if err != nil {
		return nil, err
	}
	return p.propose(ctx, cut, byDrain, m)
}

// logEnds asks for the logs' ends until the brokers answer; nil when ctx ends.
func (p *planner) logEnds(ctx context.Context) ([]End, error) {
	var ends []End
	err := retry(ctx, defaultBackoff, func() error {
		asking, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		var err error
		ends, err = p.source.Ends(asking)
		return err
	}, func(err error, wait time.Duration) {
		p.metrics.sourceError.Inc()
		p.log.Warn("ask for the logs' ends", "err", err, "retry_in", wait)
	})
	if ctx.Err() != nil {
		return nil, nil
	}
	return ends, err
}
