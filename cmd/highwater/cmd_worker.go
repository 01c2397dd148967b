package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"highwater/batch"
	"highwater/features"
)

type workerCommand struct {
	taskFlags
	redisFlags
	kafkaFlags
	printFlags
	Definitions string `help:"Definitions file." type:"path" required:"" placeholder:"FILE"`
	DataDir     string `help:"Where the task's state is kept. It is the truth: give it a disk that stays." type:"path" required:""`
	Addr        string `help:"Where /metrics, /healthz and /readyz listen; the feature routes answer there too." default:"127.0.0.1:9090"`
	ReadyBehind int    `help:"Batches of records that may be waiting before /readyz says no." default:"10" reload:""`
	Group       string `help:"Kafka consumer group under which positions are shown to lag tools; highwater-PROJECT if not given."`
	JSON        bool   `name:"json" help:"With --print-config: print JSON." deployment:"-"`
}

func (c *workerCommand) Help() string {
	return `The feature writer: it owns the task's state, and writes vectors under versions. Stop it with SIGTERM: it finishes the batch in hand.
Passwords come from the environment or from files, see docs/settings.md; --print-config shows every setting and where it came from. SIGHUP, or highwater reload, has it take up what may change.

Example:
  highwater worker --definitions ads.yaml --kafka kafka-1:9092,kafka-2:9092 --redis redis:6379 --data-dir /var/lib/highwater`
}

// lastWords is how long a worker that has met a divergence waits for a scrape: two of the usual intervals.
const lastWords = 30 * time.Second

// Run runs the feature writer until ctx ends.
func (c *workerCommand) Run(ctx context.Context, s streams) error {
	p, err := features.Load(c.Definitions)
	if err != nil {
		return err
	}
	if c.Group == "" {
		c.Group = "highwater-" + p.Name
	}
	if len(c.Kafka) == 0 {
		return usagef("--kafka is required: where the events come from")
	}
	if len(c.Redis) == 0 {
		return usagef("--redis is required: where the vectors go")
	}
	if err := c.kafkaFlags.check(); err != nil {
		return err
	}
	log := s.log.With("project", p.Name) // the engine has the plain one, and says it by itself
	registry := prometheus.NewRegistry()
	tellInfo(registry, p.Name, p.Hash)
	machine, err := newMachine(registry, log)
	if err != nil {
		return err
	}
	ready, live := newReadiness(c.ReadyBehind), &liveEngine{}
	web, err := newWeb(c.Addr, c.redisFlags, p.Name, registry, ready.check, log)
	if err != nil {
		return err
	}
	defer web.Close()
	settings := newReloader(s.settings, log)
	settings.onReload(func(now *cli) {
		ready.most.Store(int64(now.Worker.ReadyBehind))
		live.tune(now.Worker.taskFlags)
	})
	log.Info("worker starting", "act", "start", "build", buildVersion(), "definitions", p.Hash, "data_dir", c.DataDir, "addr", web.address())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return settings.onHangup(ctx) })
	g.Go(func() error { return web.Run(ctx) })
	g.Go(func() error {
		o := engineOptions{project: p, kafka: c.kafkaFlags, redis: c.redisFlags, dataDir: c.DataDir, group: c.Group, address: web.address(),
			acceptLoss: c.AcceptLoss, takeOver: c.TakeOver, cacheBytes: int64(c.CacheSize), diskReserve: int64(c.DiskReserve), machine: machine, tombstoneTTL: c.TombstoneTTL, keepPlans: c.PlanRetention, objective: c.Objective, metrics: batch.NewMetrics(registry), figures: newCollector(registry), ready: ready, settings: settings, log: s.log}
		var last *engine
		err := runEngine(ctx, o, func(e *engine) {
			last = e
			ready.attach(e.task, e.store.Waiting)
			live.attach(e)
			log.Info("worker started", "act", "start", "data_dir", c.DataDir, "addr", web.address())
		})
		if err != nil && last != nil && last.diverged() {
			log.Error("the task has stopped; the process ends after the next scrape, so that the divergence is seen", "act", "stop", "err", err)
			web.awaitScrape(ctx, lastWords)
		}
		return err
	})
	err = g.Wait()
	log.Info("worker stopped", "act", "stop", "data_dir", c.DataDir)
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed)) {
		return nil
	}
	return err
}
