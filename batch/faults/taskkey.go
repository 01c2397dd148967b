package faults

import (
	"context"

	"highwater/batch"
	"highwater/features"
)

// TaskKey wraps a task's record beside its vectors: key_read, owner, claim, planned, confirmed, restoring, restore, sweep, beat.
func (i *Injector) TaskKey(k batch.TaskKey) batch.TaskKey { return &taskKey{TaskKey: k, inject: i} }

// Announce wraps Options.Announce: announce.
func (i *Injector) Announce(f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		return i.call(ctx, callAnnounce, func() error { return f(ctx) })
	}
}

type taskKey struct {
	batch.TaskKey
	inject *Injector
}

func (k *taskKey) Read(ctx context.Context) (key batch.Key, found bool, err error) {
	err = k.inject.call(ctx, callKeyRead, func() (err error) {
		key, found, err = k.TaskKey.Read(ctx)
		return err
	})
	return key, found, err
}

func (k *taskKey) Owner(ctx context.Context) (b batch.Heartbeat, found bool, err error) {
	err = k.inject.call(ctx, callOwner, func() (err error) {
		b, found, err = k.TaskKey.Owner(ctx)
		return err
	})
	return b, found, err
}

func (k *taskKey) Claim(ctx context.Context, c batch.Claim) error {
	return k.inject.call(ctx, callClaim, func() error { return k.TaskKey.Claim(ctx, c) })
}

func (k *taskKey) Planned(ctx context.Context, v features.Version, log string) error {
	return k.inject.call(ctx, callPlanned, func() error { return k.TaskKey.Planned(ctx, v, log) })
}

func (k *taskKey) Confirmed(ctx context.Context, prev features.Version, key batch.Key) (held bool, err error) {
	err = k.inject.call(ctx, callConfirmed, func() (err error) {
		held, err = k.TaskKey.Confirmed(ctx, prev, key)
		return err
	})
	return held, err
}

func (k *taskKey) Restoring(ctx context.Context, key batch.Key) error {
	return k.inject.call(ctx, callRestoring, func() error { return k.TaskKey.Restoring(ctx, key) })
}

func (k *taskKey) Restore(ctx context.Context, key batch.Key) (held bool, err error) {
	err = k.inject.call(ctx, callRestore, func() (err error) {
		held, err = k.TaskKey.Restore(ctx, key)
		return err
	})
	return held, err
}

func (k *taskKey) Sweep(ctx context.Context, opening features.Version, clock, frontier int64, pace func(keys int) error) (swept int64, err error) {
	err = k.inject.call(ctx, callSweep, func() (err error) {
		swept, err = k.TaskKey.Sweep(ctx, opening, clock, frontier, pace)
		return err
	})
	return swept, err
}

func (k *taskKey) Beat(ctx context.Context, b batch.Heartbeat) error {
	return k.inject.call(ctx, callBeat, func() error { return k.TaskKey.Beat(ctx, b) })
}
