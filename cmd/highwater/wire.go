package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/batch/faults"
	"highwater/batch/kafka"
	"highwater/features"
	"highwater/store/online"
	"highwater/store/state"
)

// engineOptions is what a task needs to know of the world outside its definitions.
type engineOptions struct {
	project      *features.Project
	kafka        kafkaFlags
	redis        redisFlags
	dataDir      string
	group        string
	address      string // of the HTTP server, for the heartbeat
	acceptLoss   bool
	cacheBytes   int64
	diskReserve  int64    // see state.Options.ReserveBytes
	machine      *machine // nil for one that nobody asks
	tombstoneTTL time.Duration
	keepPlans    time.Duration // see state.Options.PlanRetention; never less than tombstoneTTL
	takeOver     bool
	objective    time.Duration // see batch.Options.Objective

	republishRate int        // see batch.Options.RepublishRate
	ready         *readiness // hears what the start waits for; nil for nobody
	settings      *reloader  // what reads them again when asked to; nil for nothing

	metrics   *batch.Metrics
	figures   *collector // nil for one that nobody asks
	log       *slog.Logger
	complete  <-chan struct{}
	onBatch   func(batch.Stats)
	onDrained func()
	faults    *faults.Injector // what a drill makes go wrong; nil for nothing
	fs        vfs.FS           // the disk of the state; nil for the machine's
	fatal     func(string)     // see state.Options.Fatal
}

// engine is one task, wired: Kafka, Pebble, Redis, and the driver between them.
type engine struct {
	task    *batch.Task
	store   *state.Store
	online  *online.Store
	source  *kafka.Source
	dead    *kafka.DeadLetters
	control *control
	machine *machine
	memory  *memoryController
	figures *collector
	outside outside
	log     *slog.Logger
}

// outside is where a task's records come from and its vectors go, for a replay that is told nothing else.
type outside struct {
	Kafka        []string      `json:"kafka"`
	Redis        []string      `json:"redis"`
	TombstoneTTL time.Duration `json:"tombstone_ttl"`
}

// newEngine opens everything that a task stands on, in the order in which things depend on each other. It waits for brokers and Redis that are not up yet; ctx ends the wait.
func newEngine(ctx context.Context, o engineOptions) (e *engine, err error) {
	plain := o.log // batch.New adds whose task it is by itself
	o.log = plain.With("project", o.project.Name, "task", 0)
	e = &engine{log: o.log, machine: o.machine, outside: outside{Kafka: o.kafka.Kafka, TombstoneTTL: o.tombstoneTTL}}
	if o.redis.RedisSentinelMaster == "" { // else the addresses alone lead nowhere
		e.outside.Redis = o.redis.Redis
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.machine == nil {
		if e.machine, err = newMachine(prometheus.NewRegistry(), o.log); err != nil {
			return e, err
		}
	}
	budget := e.machine.budget(o.cacheBytes, 2*o.project.Batch.MaxBytes)
	stateOptions := state.Options{CacheBytes: budget.cache.most, BlockCacheBytes: budget.blockCache, MemTableBytes: budget.memTable, MaxOpenFiles: e.machine.files, ReserveBytes: o.diskReserve,
		PlanRetention: max(o.keepPlans, o.tombstoneTTL), NewMeaning: true, FS: o.fs, Log: o.log, Fatal: o.fatal}
	if e.store, err = state.Open(filepath.Join(o.dataDir, "state"), o.project, stateOptions); err != nil {
		return e, err
	}
	if e.online, err = online.Open(ctx, o.redis.options(o.project.Name, o.tombstoneTTL, o.log)); err != nil {
		return e, err
	}
	if err = waitFor(ctx, o, "redis", func() error { return e.online.Check(ctx) }); err != nil {
		return e, err
	}
	announce := func(ctx context.Context) error { return e.online.WriteCatalogue(ctx, o.project.Catalogue(1)) }
	kafkaOptions := kafka.Options{Brokers: o.kafka.Kafka, Security: o.kafka.security(), Sources: o.project.Sources, AcceptLoss: o.acceptLoss, MemoryBytes: budget.prefetch.most, Group: o.group, Log: o.log}
	o.ready.wait("kafka", nil)
	if e.source, err = kafka.Open(ctx, kafkaOptions); err != nil {
		return e, err
	}
	if e.dead, err = kafka.NewDeadLetters(kafka.DeadLetterOptions{Brokers: o.kafka.Kafka, Security: o.kafka.security(), Sources: o.project.Sources, Log: o.log}); err != nil {
		return e, err
	}
	e.memory = e.machine.attach(budget, e.store, e.source, o.log)
	if e.figures = o.figures; e.figures == nil {
		e.figures = newCollector(prometheus.NewRegistry())
	}
	e.figures.attach(observed{state: e.store.Metrics, fetched: e.source.Buffered, commits: e.source.CommitFailures, disk: diskOf, servers: e.online.Servers, dataDir: o.dataDir})
	options := batch.Options{
		Project:     o.project,
		Definitions: e.definitions,
		Rebind:      e.store.Rebind,
		Decoder:     decode.New,
		Source:      e.source, Plans: e.store.Plans(), State: e.store,
		Sinks: []batch.Sink{e.online, e.dead}, Key: e.online, Announce: announce,
		Now: time.Now, TombstoneTTL: o.tombstoneTTL, Metrics: o.metrics, Objective: o.objective, Log: plain, RepublishRate: o.republishRate,
		Owner: ownerName(o.dataDir), TakeOver: o.takeOver, Reset: e.store.PendingReset(),
		Address: o.address, Complete: o.complete, OnBatch: o.onBatch, OnDrained: o.onDrained,
	}
	if f := o.faults; f != nil {
		options.Source, options.Plans, options.State, options.Key, options.Announce = f.Source(options.Source), f.Plans(options.Plans), f.State(options.State), f.TaskKey(options.Key), f.Announce(options.Announce)
		options.Sinks = []batch.Sink{f.Sink(e.online), f.Sink(e.dead)}
	}
	if e.task, err = batch.New(options); err != nil {
		return e, err
	}
	e.control, err = newControl(o.dataDir, e, o.settings)
	return e, err
}

// runEngine runs a task until ctx ends or it fails. Where something that a task is started with has changed, it closes the engine and opens another, in the same process. opened hears of each.
func runEngine(ctx context.Context, o engineOptions, opened func(*engine)) error {
	for {
		e, err := newEngine(ctx, o)
		if err != nil {
			return err
		}
		opened(e)
		err = e.Run(ctx)
		changed, again := errors.AsType[*batch.ChangedError](err)
		if again && changed.Raise {
			err = errors.Join(err, e.store.AskForReset(ctx, batch.Reset{From: batch.FromHere}))
		}
		err = errors.Join(err, e.Close())
		if !again || ctx.Err() != nil {
			return err
		}
		o.takeOver = false // it was meant for the start
		o.log.Warn("starting the task again", "project", o.project.Name, "task", 0, "act", "start", "why", changed.Why)
	}
}

// ownerName says who owns a task, to people and to the other owner: which directory on which machine, and which process.
func ownerName(dataDir string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "a machine without a name"
	}
	if abs, err := filepath.Abs(dataDir); err == nil {
		dataDir = abs
	}
	return fmt.Sprintf("%s on %s, process %d started %s", dataDir, host, os.Getpid(), time.Now().UTC().Format(time.RFC3339Nano))
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
	g.Go(func() error {
		e.memory.Run(ctx)
		return nil
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case why := <-e.control.reopen:
			return &batch.ChangedError{Why: why}
		}
	})
	g.Go(func() error {
		e.figures.watch(ctx, e.log)
		return nil
	})
	return g.Wait()
}

// diverged reports whether the task has found its own versions with other bytes in the store.
func (e *engine) diverged() bool {
	_, _, divergent := e.task.Position()
	return divergent > 0
}

// Close closes what was opened, the last first.
func (e *engine) Close() error {
	var errs []error
	if e.machine != nil {
		e.machine.detach()
	}
	if e.figures != nil {
		e.figures.detach()
	}
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

// waitFor calls do until it succeeds or fails for good: a server that is not up yet is waited for. It tells the log when that begins, ever less often while it lasts, and when it ends.
func waitFor(ctx context.Context, o engineOptions, what string, do func() error) error {
	began, remind, attempts := time.Now(), time.Duration(0), 0
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := do()
		if err == nil && attempts > 0 {
			o.log.Info(what+" is there", "act", "start", "attempts", attempts, "after", time.Since(began).Round(time.Millisecond))
		}
		if err == nil || batch.IsPermanent(err) {
			return err
		}
		attempts++
		if time.Since(began) >= remind {
			o.log.Warn("waiting for "+what, "act", "start", "err", err, "attempts", attempts, "for", time.Since(began).Round(time.Second))
			remind = max(time.Minute, 2*time.Since(began))
		}
		o.ready.wait(what, err)
		if stopped := pause(ctx, wait); stopped != nil {
			return errors.Join(stopped, fmt.Errorf("%s: %w", what, err))
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
