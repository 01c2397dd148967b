package main

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/batch/kafka/embedded"
	"highwater/features"
	embeddedredis "highwater/store/online/embedded"
	"highwater/testutil/e2e"
	"highwater/testutil/redistest"
)

// patience bounds every wait for something that must happen: nothing waits for it where all is well.
const patience = e2e.Patience

// pipeline is a task and its HTTP side, wired as dev wires them, with the outside in the test's hands: embedded Kafka, Pebble on disk, miniredis.
type pipeline struct {
	t        testing.TB
	project  *features.Project
	broker   *embedded.Broker
	redis    *embeddedredis.Redis
	registry *prometheus.Registry
	engine   *engine
	client   e2e.Client
	complete chan struct{}    // to be closed once all is loaded
	drained  chan struct{}    // closed by the task once all is committed
	batches  chan batch.Stats // every committed batch, in order
	stop     func() error     // stops the task and returns its error; once
}

// pipelineOptions are what tests change of a pipeline. The zero value is a fresh one of one partition.
type pipelineOptions struct {
	partitions int              // of the source's topic; 0 for 1
	dataDir    string           // "" for a fresh one
	broker     *embedded.Broker // nil for one of its own, in memory
	redis      *embeddedredis.Redis
	log        *slog.Logger
}

// startPipeline starts all parts. They end with the test.
func startPipeline(t testing.TB, p *features.Project, o pipelineOptions) *pipeline {
	t.Helper()
	for _, s := range p.Sources {
		if s.DeadLetter == "" {
			s.DeadLetter = s.Topic + ".dead-letter" // as dev does
		}
	}
	o = o.withDefaults(t, p)
	pl := &pipeline{t: t, project: p, broker: o.broker, redis: o.redis, registry: prometheus.NewRegistry(),
		complete: make(chan struct{}), drained: make(chan struct{}), batches: make(chan batch.Stats, 100_000)}
	ctx, cancel := context.WithCancel(context.Background())
	flags := redisFlags{Redis: []string{pl.redis.Addr()}}
	web, err := newWeb("127.0.0.1:0", flags, p.Name, pl.registry, nil, o.log)
	if err != nil {
		t.Fatal(err)
	}
	pl.client = e2e.Client{Base: "http://" + web.address()}
	machine, err := newMachine(pl.registry, o.log)
	if err != nil {
		t.Fatal(err)
	}
	pl.engine, err = newEngine(ctx, engineOptions{project: p, kafka: kafkaFlags{Kafka: pl.broker.Addrs()}, redis: flags, dataDir: o.dataDir, address: web.address(), cacheBytes: 32 << 20, machine: machine, tombstoneTTL: 7 * 24 * time.Hour,
		metrics: batch.NewMetrics(pl.registry), figures: newCollector(pl.registry), log: o.log, complete: pl.complete, onBatch: func(s batch.Stats) { pl.batches <- s }, onDrained: func() { close(pl.drained) }})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- pl.engine.Run(ctx) }()
	go func() { ended <- web.Run(ctx) }()
	stopped := false
	pl.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		err := errors.Join(<-ended, <-ended, pl.engine.Close())
		web.Close()
		return err
	}
	t.Cleanup(func() {
		if err := pl.stop(); err != nil {
			t.Errorf("stop the pipeline: %v", err)
		}
	})
	return pl
}

func (o pipelineOptions) withDefaults(t testing.TB, p *features.Project) pipelineOptions {
	t.Helper()
	if o.partitions == 0 {
		o.partitions = 1
	}
	if o.dataDir == "" {
		o.dataDir = t.TempDir()
	}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if o.broker == nil {
		topics := map[string]int{}
		for _, s := range p.Sources {
			topics[s.Topic], topics[s.DeadLetter] = o.partitions, 1
		}
		o.broker = startBroker(t, embedded.Options{Topics: topics})
	}
	if o.redis == nil {
		o.redis = redistest.Embedded(t, nil)
	}
	return o
}

// startBroker starts an embedded broker that ends with the test.
func startBroker(t testing.TB, o embedded.Options) *embedded.Broker {
	t.Helper()
	b, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// load puts rows into the source's topic, as dev does: rows that are there already are skipped.
func (pl *pipeline) load(rows iter.Seq2[kafka.Row, error]) {
	pl.t.Helper()
	if _, err := kafka.Load(pl.t.Context(), kafka.LoadOptions{Brokers: pl.broker.Addrs(), Topic: pl.project.Sources[0].Topic, Partitions: 1}, rows, nil); err != nil {
		pl.t.Fatal(err)
	}
}

// await reads committed batches until the task's position is as wanted.
func (pl *pipeline) await(what string, wanted func(batch.Position) bool) {
	pl.t.Helper()
	deadline := time.After(patience)
	for {
		if p, _, _ := pl.engine.task.Position(); wanted(p) {
			return
		}
		select {
		case <-pl.batches:
		case <-deadline:
			p, _, _ := pl.engine.task.Position()
			_, stalled := pl.engine.task.Behind()
			pl.t.Fatalf("waited %s for %s; the task is at %+v, stalled by %v", patience, what, p, stalled)
		}
	}
}

// awaitEvents waits until the batches of so many records have been committed.
func (pl *pipeline) awaitEvents(n int64) {
	pl.t.Helper()
	pl.await("the records loaded", func(p batch.Position) bool {
		return p.Counters.Events+p.Counters.DeadLetter >= n
	})
}

// drain says that all is loaded, and waits until all is committed.
func (pl *pipeline) drain() {
	pl.t.Helper()
	close(pl.complete)
	select {
	case <-pl.drained:
	case <-time.After(patience):
		pl.t.Fatalf("the task did not drain within %s", patience)
	}
}

// rowsOf returns an iterator over rows without errors.
func rowsOf(rows []kafka.Row) iter.Seq2[kafka.Row, error] {
	return func(yield func(kafka.Row, error) bool) {
		for r := range slices.Values(rows) {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// listen takes a free port of the loopback interface.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
