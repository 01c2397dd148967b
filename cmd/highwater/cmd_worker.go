package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"highwater/features"
)

type workerCommand struct {
	taskFlags
	redisFlags
	Definitions string   `help:"Definitions file." type:"path" required:"" placeholder:"FILE"`
	Kafka       []string `help:"Brokers." required:"" placeholder:"HOST:PORT"`
	DataDir     string   `help:"Where the task's state is kept. It is the truth: give it a disk that stays." type:"path" required:""`
	Addr        string   `help:"Where /metrics, /healthz and /readyz listen; the feature routes answer there too." default:"127.0.0.1:9090"`
	Group       string   `help:"Kafka consumer group under which positions are shown to lag tools; highwater-PROJECT if not given."`
}

func (c *workerCommand) Help() string {
	return `The feature writer: it owns the task's state, and writes vectors under versions. Stop it with SIGTERM: it finishes the batch in hand.
The password for Redis comes from HIGHWATER_REDIS_PASSWORD.

Example:
  highwater worker --definitions ads.yaml --kafka kafka-1:9092,kafka-2:9092 --redis redis:6379 --data-dir /var/lib/highwater`
}

// Run runs the feature writer until ctx ends.
func (c *workerCommand) Run(ctx context.Context, s streams) error {
	p, err := features.Load(c.Definitions)
	if err != nil {
		return err
	}
	if c.Group == "" {
		c.Group = "highwater-" + p.Name
	}
	if len(c.Redis) == 0 {
		return usagef("--redis is required: where the vectors go")
	}
	registry := prometheus.NewRegistry()
	web, err := newWeb(c.Addr, c.redisFlags, p.Name, registry, s.log)
	if err != nil {
		return err
	}
	defer web.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return web.Run(ctx) })
	g.Go(func() error {
		e, err := newEngine(ctx, engineOptions{project: p, brokers: c.Kafka, redis: c.redisFlags, dataDir: c.DataDir, group: c.Group, address: web.address(),
			acceptLoss: c.AcceptLoss, cacheBytes: int64(c.CacheSize), tombstoneTTL: c.TombstoneTTL, registry: registry, log: s.log})
		if err != nil {
			return err
		}
		s.log.Info("worker started", "project", p.Name, "data_dir", c.DataDir, "addr", web.address())
		err = e.Run(ctx)
		return errors.Join(err, e.Close())
	})
	err = g.Wait()
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed)) {
		return nil
	}
	return err
}
