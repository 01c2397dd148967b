package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/batch/kafka"
	"highwater/features"
	"highwater/store/online"
	"highwater/store/state"
)

// engineOptions is what a task needs to know of the world outside its definitions.
type engineOptions struct {
	project      *features.Project
	brokers      []string
	redis        redisFlags
	dataDir      string
	group        string
	address      string // of the HTTP server, for the heartbeat
	acceptLoss   bool
	cacheBytes   int64
	tombstoneTTL time.Duration
	registry     *prometheus.Registry
	log          *slog.Logger
	complete     <-chan struct{}
	onBatch      func(batch.Stats)
	onDrained    func()
}

// engine is one task, wired: Kafka, Pebble, Redis, and the driver between them.
type engine struct {
	task    *batch.Task
	store   *state.Store
	online  *online.Store
	source  *kafka.Source
	dead    *kafka.DeadLetters
	control *control
	log     *slog.Logger
}

// newEngine opens everything that a task stands on, in the order in which things depend on each other. It waits for brokers and Redis that are not up yet; ctx ends the wait.
func newEngine(ctx context.Context, o engineOptions) (e *engine, err error) {
	e = &engine{log: o.log}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.store, err = state.Open(filepath.Join(o.dataDir, "state"), o.project, state.Options{CacheBytes: o.cacheBytes, PlanRetention: o.tombstoneTTL, Log: o.log}); err != nil {
		return e, err
	}
	if e.online, err = online.Open(ctx, o.redis.options(o.project.Name, o.tombstoneTTL, o.log)); err != nil {
		return e, err
	}
	if err = waitFor(ctx, o.log, "redis", func() error { return e.online.Check(ctx) }); err != nil {
		return e, err
	}
	announce := func(ctx context.Context) error { return e.online.WriteCatalogue(ctx, o.project.Catalogue(1)) }
	kafkaOptions := kafka.Options{Brokers: o.brokers, Sources: o.project.Sources, AcceptLoss: o.acceptLoss, MemoryBytes: 2 * o.project.Batch.MaxBytes, Group: o.group, Log: o.log}
	if e.source, err = kafka.Open(ctx, kafkaOptions); err != nil {
		return e, err
	}
	if e.dead, err = kafka.NewDeadLetters(kafka.DeadLetterOptions{Brokers: o.brokers, Sources: o.project.Sources, Log: o.log}); err != nil {
		return e, err
	}
	e.task, err = batch.New(batch.Options{
		Project:     o.project,
		Definitions: e.definitions,
		Rebind:      e.store.Rebind,
		Decoder:     decode.New,
		Source:      e.source, Plans: e.store.Plans(), State: e.store,
		Sinks: []batch.Sink{e.online, e.dead}, Key: e.online, Announce: announce,
		Now: time.Now, TombstoneTTL: o.tombstoneTTL, Metrics: batch.NewMetrics(o.registry), Log: o.log,
		Address: o.address, Complete: o.complete, OnBatch: o.onBatch, OnDrained: o.onDrained,
	})
	if err != nil {
		return e, err
	}
	e.control, err = newControl(o.dataDir, e)
	return e, err
}

// definitions returns the project that a stored plan was made under.
func (e *engine) definitions(hash string) (*features.Project, error) {
	text, found, err := e.store.Definitions(hash)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("definitions %s are not kept with the state", hash)
	}
	return features.Parse("definitions "+hash, []byte(text))
}

// Run runs the task and its control socket until ctx ends or the task fails.
func (e *engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.control.Run(ctx) })
	g.Go(func() error { return e.task.Run(ctx) })
	return g.Wait()
}

// Close closes what was opened, the last first.
func (e *engine) Close() error {
	var errs []error
	if e.dead != nil {
		e.dead.Close()
	}
	if e.source != nil {
		e.source.Close()
	}
	if e.online != nil {
		errs = append(errs, e.online.Close())
	}
	if e.store != nil {
		errs = append(errs, e.store.Close())
	}
	return errors.Join(errs...)
}

// waitFor calls do until it succeeds or fails for good: a server that is not up yet is waited for.
func waitFor(ctx context.Context, log *slog.Logger, what string, do func() error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := do()
		if err == nil || batch.IsPermanent(err) {
			return err
		}
		log.Warn("waiting for "+what, "err", err, "retry_in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), fmt.Errorf("%s: %w", what, err))
		case <-timer.C:
		}
	}
}
