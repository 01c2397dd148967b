package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/batch/kafka"
	"highwater/batch/kafka/embedded"
	"highwater/examples"
	"highwater/features"
	embeddedredis "highwater/store/online/embedded"
	"highwater/windows"
)

type devCommand struct {
	taskFlags
	redisFlags
	printFlags
	kafkaFlags
	Example         string        `help:"The shipped example to run when no definitions are given: ads, logs or surge." default:"ads" enum:"ads,logs,surge"`
	Definitions     string        `help:"Definitions file of your own." type:"path" placeholder:"FILE"`
	Events          []string      `help:"Events to load, as [SOURCE=]FILE with .csv or .jsonl, also .gz; repeatable." placeholder:"[SOURCE=]FILE" sep:"none"`
	Addr            string        `help:"Where the HTTP API listens." default:"127.0.0.1:8080"`
	DataDir         string        `help:"Where Kafka's log and the state are kept, to go on from after a restart; a temporary directory if not given." type:"path"`
	Partitions      int           `help:"Partitions of each embedded topic." default:"1"`
	BatchInterval   time.Duration `help:"Cut a batch at least this often; overrides the definitions."`
	BatchMaxRecords int64         `help:"Cut a batch at this many records; overrides the definitions."`
	ExitWhenDrained bool          `help:"Stop once every event has been committed." deployment:"-"`
	JSON            bool          `name:"json" help:"Print the summary as one line of JSON." deployment:"-"`
}

func (c *devCommand) Help() string {
	return `Kafka, Pebble, Redis and the HTTP API run inside this process. The events are loaded into the topic in the file's order, become vectors, and stay served until you press Ctrl-C.
Killed at any moment and started again on the same --data-dir, it goes on where it stopped.

Examples:
  highwater dev
  highwater dev --example surge --exit-when-drained
  highwater dev --definitions my.yaml --events clicks.csv.gz --data-dir /var/tmp/clicks`
}

// Run runs everything in one process.
func (c *devCommand) Run(ctx context.Context, s streams) (err error) {
	if err := c.kafkaFlags.check(); err != nil {
		return err
	}
	p, events, err := c.project()
	if err != nil {
		return err
	}
	defer func() {
		for _, e := range events {
			err = errors.Join(err, e.Close())
		}
	}()
	dir, remove, err := c.directory()
	if err != nil {
		return err
	}
	defer remove()
	d := &dev{devCommand: c, streams: s, project: p, events: events, dir: dir, started: time.Now(), complete: make(chan struct{})}
	return d.run(ctx)
}

// project returns the definitions to run, with dev's own settings, and the events to load by source.
func (c *devCommand) project() (*features.Project, map[*features.Source]*decode.Events, error) {
	var p *features.Project
	var err error
	if c.Definitions != "" {
		p, err = features.Load(c.Definitions)
	} else {
		p, err = features.Parse(c.Example+"/definitions.yaml", examples.Definitions(c.Example))
	}
	if err != nil {
		return nil, nil, err
	}
	if c.BatchInterval > 0 {
		p.Batch.Interval = c.BatchInterval
	}
	if c.BatchMaxRecords > 0 {
		p.Batch.MaxRecords = c.BatchMaxRecords
	}
	for _, source := range p.Sources {
		if source.DeadLetter == "" {
			source.DeadLetter = source.Topic + ".dead-letter"
		}
	}
	events, err := c.openEvents(p)
	return p, events, err
}

// openEvents opens every events file before anything starts, so that a wrong name or header is told at once.
func (c *devCommand) openEvents(p *features.Project) (map[*features.Source]*decode.Events, error) {
	opened := map[*features.Source]*decode.Events{}
	if c.Definitions == "" && len(c.Events) == 0 {
		name, gz := examples.Events(c.Example)
		e, err := decode.NewEvents(name, bytes.NewReader(gz), p.Sources[0])
		if err != nil {
			return nil, err
		}
		opened[p.Sources[0]] = e
		return opened, nil
	}
	for _, arg := range c.Events {
		source, path, err := eventsArg(p, arg)
		if err != nil {
			return opened, err
		}
		if opened[source] != nil {
			return opened, usagef("--events %s: source %s has a file already; put its events in one", arg, source.Name)
		}
		if opened[source], err = decode.OpenEvents(path, source); err != nil {
			delete(opened, source)
			return opened, err
		}
	}
	return opened, nil
}

// eventsArg reads [SOURCE=]FILE.
func eventsArg(p *features.Project, arg string) (*features.Source, string, error) {
	if name, path, ok := strings.Cut(arg, "="); ok {
		if s := p.Source(name); s != nil {
			return s, path, nil
		}
		if _, err := os.Stat(arg); err != nil { // a path may contain "=" too
			names := make([]string, 0, len(p.Sources))
			for _, s := range p.Sources {
				names = append(names, s.Name)
			}
			return nil, "", usagef("--events %s: project %s has no source %s; it has %s", arg, p.Name, name, strings.Join(names, ", "))
		}
	}
	if len(p.Sources) != 1 {
		return nil, "", usagef("--events %s: project %s has %d sources: write --events SOURCE=FILE", arg, p.Name, len(p.Sources))
	}
	return p.Sources[0], arg, nil
}

// directory returns where to keep things, and what to do with it at the end.
func (c *devCommand) directory() (string, func(), error) {
	if c.DataDir != "" {
		return c.DataDir, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "highwater-dev-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// dev is one run of the command.
type dev struct {
	*devCommand
	streams
	project  *features.Project
	events   map[*features.Source]*decode.Events
	dir      string
	started  time.Time
	complete chan struct{} // closed once all events are in the topic
}

// run starts the parts in the order of the data's way, and stops them in the reverse.
func (d *dev) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if len(d.Kafka) == 0 {
		broker, err := embedded.Start(embedded.Options{DataDir: filepath.Join(d.dir, "kafka"), Topics: d.topics(), Log: d.log})
		if err != nil {
			return err
		}
		defer broker.Close()
		d.kafkaFlags = kafkaFlags{Kafka: broker.Addrs()}
	}
	g, ctx := errgroup.WithContext(ctx)
	if len(d.Redis) == 0 {
		redis := embeddedredis.New(nil)
		if err := redis.Start("127.0.0.1:0"); err != nil {
			return err
		}
		defer redis.Close()
		g.Go(func() error { return redis.Tick(ctx) })
		d.Redis = []string{redis.Addr()}
	}
	registry := prometheus.NewRegistry()
	tellInfo(registry, d.project.Name, d.project.Hash)
	machine, err := newMachine(registry, d.log)
	if err != nil {
		return err
	}
	web, err := newWeb(d.Addr, d.redisFlags, d.project.Name, registry, nil, d.log)
	if err != nil {
		return err
	}
	defer web.Close()
	bar := newProgress(d.err, d.events)
	drained := make(chan struct{})
	var current atomic.Pointer[engine]
	o := engineOptions{project: d.project, kafka: d.kafkaFlags, redis: d.redisFlags, dataDir: d.dir, address: web.address(),
		acceptLoss: d.AcceptLoss, takeOver: d.TakeOver, cacheBytes: int64(d.CacheSize), diskReserve: int64(d.DiskReserve), machine: machine, tombstoneTTL: d.TombstoneTTL, keepPlans: d.PlanRetention, objective: d.Objective, republishRate: d.RepublishRate, metrics: batch.NewMetrics(registry), figures: newCollector(registry), log: bar.logger(d.log), complete: d.complete, onBatch: bar.batch,
		onDrained: sync.OnceFunc(func() { close(drained) })}
	g.Go(func() error { return runEngine(ctx, o, func(e *engine) { current.Store(e) }) })
	g.Go(func() error { return web.Run(ctx) })
	g.Go(func() error { return d.load(ctx, bar) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-drained:
		}
		if err := errors.Join(bar.finish(), d.summarize(ctx, current.Load(), web.address())); err != nil {
			return err
		}
		if d.ExitWhenDrained {
			stop()
		}
		return nil
	})
	err = unlessStopped(ctx, g.Wait())
	return errors.Join(err, bar.finish())
}

// unlessStopped returns err, but nil where it only says that ctx ended: whoever is told to stop, and does, has not failed.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// topics returns the embedded topics and their partitions.
func (d *dev) topics() map[string]int {
	topics := map[string]int{}
	for _, s := range d.project.Sources {
		topics[s.Topic], topics[s.DeadLetter] = d.Partitions, 1
	}
	return topics
}

// load puts every event into its topic, in the files' order; what a run before this one has loaded is skipped.
func (d *dev) load(ctx context.Context, bar *progress) error {
	for _, s := range slices.SortedFunc(maps.Keys(d.events), func(a, b *features.Source) int { return strings.Compare(a.Name, b.Name) }) {
		_, err := kafka.Load(ctx, kafka.LoadOptions{Brokers: d.Kafka, Security: d.security(), Topic: s.Topic, Partitions: d.Partitions, Log: d.log}, loadRows(d.events[s]), bar.loaded)
		if err != nil {
			return fmt.Errorf("load %s: %w", s.Name, err)
		}
	}
	if len(d.events) > 0 || d.ExitWhenDrained {
		close(d.complete)
	}
	return nil
}

// loadRows turns an events file's rows into what the loader takes.
func loadRows(events *decode.Events) iter.Seq2[kafka.Row, error] {
	return func(yield func(kafka.Row, error) bool) {
		for row, err := range events.Rows() {
			if !yield(kafka.Row{Key: row.Key, Value: row.Value, Headers: row.Headers, Time: row.Time}, err) {
				return
			}
		}
	}
}

// summary is what dev prints once everything is committed: counts since the task's first batch, but stale, divergent and seconds of this process.
type summary struct {
	Events         int64   `json:"events"`
	Batches        int64   `json:"batches"`
	Late           int64   `json:"late"`
	DeadLetter     int64   `json:"dead_letter"`
	VectorsWritten int64   `json:"vectors_written"`
	Stale          int64   `json:"stale"`
	Divergent      int64   `json:"divergent"`
	Frontier       *string `json:"frontier"`
	Seconds        float64 `json:"seconds"`
}

func (d *dev) summarize(ctx context.Context, e *engine, address string) error {
	p, stale, divergent := e.task.Position()
	c := p.Counters
	sum := summary{Events: c.Events, Batches: c.Batches, Late: c.Late, DeadLetter: c.DeadLetter, VectorsWritten: c.VectorsWritten, Stale: stale, Divergent: divergent, Seconds: time.Since(d.started).Seconds()}
	if p.Frontier != windows.NoTime {
		f := time.UnixMicro(p.Frontier).UTC().Format("2006-01-02T15:04:05.000Z")
		sum.Frontier = &f
	}
	if d.JSON {
		return json.NewEncoder(d.out).Encode(sum)
	}
	frontier := "none"
	if sum.Frontier != nil {
		frontier = *sum.Frontier
	}
	fmt.Fprintf(d.out, "\n%s: %d events in %d batches became %d vectors in %.1f s (late %d, dead letters %d, stale %d, divergent %d); frontier %s\n",
		d.project.Name, sum.Events, sum.Batches, sum.VectorsWritten, sum.Seconds, sum.Late, sum.DeadLetter, stale, divergent, frontier)
	if d.ExitWhenDrained {
		return nil
	}
	return d.suggest(ctx, e, address)
}
