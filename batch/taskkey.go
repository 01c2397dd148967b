package batch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"highwater/features"
)

// tellPlanned moves the task key's planned sequence before anything of the batch is published.
func (t *Task) tellPlanned(ctx context.Context, v features.Version) error {
	err := t.retryKey(ctx)(func() error { return t.o.Key.Planned(ctx, v, t.o.Plans.ID()) })
	if err != nil {
		return fmt.Errorf("move the task key's planned sequence: %w", err)
	}
	return nil
}

// confirm moves the task key after a batch's vectors are confirmed, or withholds it where vectors may have been lost: then as_of must not run ahead of them.
func (t *Task) confirm(ctx context.Context, p Position) error {
	if t.mustRestore {
		return nil
	}
	held, prev := false, t.position.Published()
	err := t.retryKey(ctx)(func() error {
		var err error
		held, err = t.o.Key.Confirmed(ctx, prev, t.key(p))
		return err
	})
	if err != nil {
		return fmt.Errorf("move the task key: %w", err)
	}
	if !held {
		t.withhold("the task key is missing or behind, or a primary is another one now")
		return nil
	}
	t.setConfirmed(p.Version)
	return nil
}

func (t *Task) key(p Position) Key {
	return Key{Planned: p.Version, Version: p.Version, Frontier: p.Frontier, Watermark: p.Watermark, Log: t.o.Plans.ID()}
}

// withhold stops moving the task key until everything has been republished. A republish that is under way begins again.
func (t *Task) withhold(why string) {
	t.mustRestore, t.why, t.pass, t.lookedOn = true, why, nil, false
	t.confirmed.Store(nil)
	t.o.Log.Warn("vectors may be missing from the store; all are published again", at("republish", t.position.Version), "why", why)
	t.setRepublish(&republishStatus{Why: why})
}

// retryKey returns a retry for calls about the task key.
func (t *Task) retryKey(ctx context.Context) func(func() error) error {
	return func(do func() error) error {
		err := retry(ctx, defaultBackoff, do, t.stalled(taskKeySink))
		if err == nil {
			t.flowing(taskKeySink)
		}
		return err
	}
}

// beat sets the heartbeat every few seconds, also when idle, and looks whether the task key is still there.
func (t *Task) beat(ctx context.Context) error {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	for {
		if err := t.beatOnce(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

const heartbeatEvery = 2 * time.Second

// taskKeySink is what the task key is called where sinks are told apart: it lies in the same store, but fails by itself.
const taskKeySink = "task_key"

// beatOnce is best effort: an outage is told by the sinks. Its only error is that another owner has the task.
func (t *Task) beatOnce(ctx context.Context) error {
	t.lookBehind(ctx)
	confirmed := t.confirmed.Load() // before the read, so that a move in between is no loss
	key, found, err := t.o.Key.Read(ctx)
	if _, superseded := errors.AsType[*SupersededError](err); superseded {
		return err
	}
	b := t.pulse()
	beat := t.o.Key.Beat(ctx, b)
	if beat == nil {
		t.o.Metrics.ages.beaten()
		t.o.Metrics.heartbeat.Set(float64(b.Time) / 1e6)
	}
	if ctx.Err() == nil {
		t.setStalled(troubleHeartbeat, beat)
	}
	if err != nil || confirmed == nil {
		return nil
	}
	var why string
	switch {
	case !found:
		why = "the task key is missing"
	case key.Lost != "":
		why = key.Lost
	case key.Version.Less(*confirmed):
		why = fmt.Sprintf("the task key fell back to %s", key.Version)
	default:
		return nil
	}
	select {
	case t.lost <- why:
	default:
	}
	return nil
}

// sayStopped tells whoever comes next that nobody is left to wait for. It is best effort.
func (t *Task) sayStopped() {
	t.lastBeat(true)
}

// sayFailed tells, with the last heartbeat, why the task stops: who asks for the status finds it there when the process is gone. It is best effort. Its owner may be back in a moment, and still counts as alive.
// A task that is another's now, or is started again at once, has nothing to tell.
func (t *Task) sayFailed(err error) {
	_, superseded := errors.AsType[*SupersededError](err)
	_, changed := errors.AsType[*ChangedError](err)
	if superseded || changed {
		return
	}
	t.mu.Lock()
	t.status.stopped = err.Error()
	t.mu.Unlock()
	t.lastBeat(false)
}

// lastBeat sets the heartbeat once more, as far as that can be done in a second.
func (t *Task) lastBeat(stopped bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	b := t.pulse()
	b.Stopped = stopped
	_ = t.o.Key.Beat(ctx, b)
}

// pulse is the heartbeat of this moment.
func (t *Task) pulse() Heartbeat {
	return Heartbeat{Address: t.o.Address, Time: t.o.Now().UnixMicro(), Status: t.StatusJSON()}
}

func (t *Task) setConfirmed(v features.Version) { t.confirmed.Store(&v) }

// sourceStalled is what keeps the source from fetching, where it says so.
func (t *Task) sourceStalled() error {
	if s, ok := t.o.Source.(StalledSource); ok {
		return s.Stalled()
	}
	return nil
}

// sourceFailed notes at a heartbeat what the source cannot do; nil that it can.
func (t *Task) sourceFailed(err error) {
	if err != nil {
		t.o.Metrics.sourceError.Inc()
	}
	t.setStalled(troubleKafka, err)
}

// lookBehind asks how far the logs go beyond the position; where the brokers do not answer, what was known stays. A source that cannot read on is trouble too, although it may say where the logs end.
func (t *Task) lookBehind(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, heartbeatEvery)
	defer cancel()
	ends, err := t.o.Source.Ends(asking)
	if err != nil {
		if ctx.Err() == nil {
			t.sourceFailed(err)
		}
		return
	}
	t.sourceFailed(t.sourceStalled())
	position, _, _ := t.Position()
	var behind int64
	for i, p := range position.Partitions {
		behind += ends[i].LogEnd - max(p.Next, 0)
	}
	t.setBehind(behind)
	t.o.Metrics.delays.ends(ends)
}
