package batch

import (
	"context"
	"fmt"
	"time"

	"highwater/features"
)

// claim reads the task key and compares it with the directory. Where design.md §5 would raise the generation, the task stops and says how to start over: generations above 1 are not built yet.
func (t *Task) claim(ctx context.Context, found bool) error {
	var key Key
	var exists bool
	err := t.retryKey(ctx)(func() error {
		var err error
		key, exists, err = t.o.Key.Read(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the task key: %w", err)
	}
	if !exists {
		if found {
			t.withhold("the task key is missing")
		}
		return nil
	}
	if err := t.refuse(key, t.recovering, found); err != nil {
		return Permanent(fmt.Errorf("%w\nto start over: stop every worker of project %s, delete its keys (redis-cli --scan --pattern '%s:*' | xargs redis-cli del), and start with an empty data directory",
			err, t.o.Project.Name, t.o.Project.Name))
	}
	switch {
	case key.Lost != "":
		t.withhold(key.Lost)
	case key.Version.Less(t.position.Version):
		t.withhold(fmt.Sprintf("the task key stands at %s, this directory at %s", key.Version, t.position.Version))
	default:
		t.setConfirmed(t.position.Version)
	}
	return nil
}

// refuse names the case in which a task must not go on under generation 1.
func (t *Task) refuse(key Key, last features.Version, found bool) error {
	switch {
	case key.Log != t.o.Plans.ID() && !found:
		return fmt.Errorf("the store holds project %s as written from another data directory (plan log %s, at %s), and this one is empty: start with that directory", t.o.Project.Name, key.Log, key.Version)
	case key.Log != t.o.Plans.ID():
		return fmt.Errorf("the store's vectors of project %s were written from another data directory (plan log %s, at %s) than this one (plan log %s, at %s): start with that directory", t.o.Project.Name, key.Log, key.Version, t.o.Plans.ID(), t.position.Version)
	case key.Planned.Generation > t.position.Version.Generation:
		return fmt.Errorf("generation %d of project %s is claimed in the store, this directory holds generation %d: it has been superseded", key.Planned.Generation, t.o.Project.Name, t.position.Version.Generation)
	case last.Less(key.Planned):
		return fmt.Errorf("this data directory knows plans up to %s, but %s was already planned: it has been restored from an older copy, and would give those versions another meaning", last, key.Planned)
	}
	return nil
}

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
	held, prev := false, t.position.Version
	if prev.Sequence == 0 {
		prev = features.Version{}
	}
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

// withhold stops moving the task key until everything has been republished.
func (t *Task) withhold(why string) {
	if t.mustRestore {
		return
	}
	t.mustRestore, t.why = true, why
	t.confirmed.Store(nil)
	t.o.Log.Warn("vectors may have been lost from the store; they will be republished", "why", why)
}

// retryKey returns a retry for calls about the task key.
func (t *Task) retryKey(ctx context.Context) func(func() error) error {
	return func(do func() error) error {
		defer t.flowing("task_key")
		return retry(ctx, defaultBackoff, do, t.stalled("task_key"))
	}
}

// beat sets the heartbeat every few seconds, also when idle, and looks whether the task key is still there.
func (t *Task) beat(ctx context.Context) error {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	for {
		t.beatOnce(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

const heartbeatEvery = 2 * time.Second

// beatOnce is best effort: an outage is told by the sinks.
func (t *Task) beatOnce(ctx context.Context) {
	t.lookBehind(ctx)
	confirmed := t.confirmed.Load() // before the read, so that a move in between is no loss
	b := Heartbeat{Address: t.o.Address, Time: t.o.Now().UnixMicro(), Status: t.StatusJSON()}
	if err := t.o.Key.Beat(ctx, b); err != nil {
		return
	}
	key, found, err := t.o.Key.Read(ctx)
	if err != nil || confirmed == nil {
		return
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
		return
	}
	select {
	case t.lost <- why:
	default:
	}
}

func (t *Task) setConfirmed(v features.Version) { t.confirmed.Store(&v) }

// lookBehind asks how far the logs go beyond the position; where the brokers do not answer, what was known stays.
func (t *Task) lookBehind(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, heartbeatEvery)
	defer cancel()
	ends, err := t.o.Source.Ends(asking)
	if err != nil {
		if ctx.Err() == nil {
			t.o.Metrics.sourceError.Inc()
		}
		return
	}
	position, _, _ := t.Position()
	var behind int64
	for i, p := range position.Partitions {
		behind += ends[i].LogEnd - max(p.Next, 0)
	}
	t.setBehind(behind)
}
