package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/batch/kafka/embedded"
	"highwater/features"
	"highwater/store/online"
	embeddedredis "highwater/store/online/embedded"
)

// A measurement is one worker, run over a sample again and again. First it warms up, for a few batches: its rough speed says how much to load. Then it starts anew on what has been loaded, and the time is taken from the end of its
// first batch (start-up, and a cold cache) to the end of the last full one, in rounds: a fifth of the batches each. Nothing is waited for meanwhile: batches follow one another as they do in a worker that has fallen behind, which
// is the speed that decides whether it catches up.
const (
	measureRounds    = 5
	warmBatches      = 3
	leastBatches     = 7 // of the run that counts; the first of them does not
	mostLoaded       = 4 << 30
	sharedPartitions = 8 // that several sources share out
)

// measurer runs one measurement.
type measurer struct {
	*capacityCommand
	project *features.Project // a copy, set up for the measurement
	limits  features.BatchLimits
	target  time.Duration
	sample  *sample
	log     *slog.Logger
	bar     *progressbar.ProgressBar // nil where there is none

	dir     string
	brokers []string
	redis   redisFlags
	batch   int64 // records
	loaded  int64 // events in the topics
	written bool  // Redis may hold something
	result  measurement
}

// batchEnd is the end of one batch.
type batchEnd struct {
	batch.Stats
	offsets           int64         // committed so far
	late, deadLetters int64         // so far
	processor         time.Duration // that this process has used so far
	busy              time.Duration // that all processes have used so far; 0 where that is not known
}

// measureSpeed measures how fast a worker is with these definitions on these events. A measurement that comes with an error is whole, but what was written to measure could not be removed.
func measureSpeed(ctx context.Context, s streams, c *capacityCommand, p *features.Project, target time.Duration, events *sample) (*measurement, error) {
	dir, err := os.MkdirTemp(c.DataDir, "highwater-capacity-")
	if err != nil {
		return nil, fmt.Errorf("make a directory to measure in: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	project := *p
	project.Name = p.Name + "_capacity_" + randomHex() // in a Redis that others use, too, it meets nobody
	project.Clock = features.EventClock                // the events are history, and the measurement ends with them
	m := &measurer{capacityCommand: c, project: &project, limits: p.Batch, target: target, sample: events, dir: dir, redis: c.redisFlags,
		log: slog.New(minLevel{s.log.Handler(), slog.LevelWarn}), bar: newBar(s.err, "warming up")}
	s.log.Debug("measuring", "project", project.Name, "dir", dir, "events", events.events)
	err = m.run(ctx)
	if ctx.Err() != nil {
		err = errors.New("stopped before the measurement was done")
	}
	left := m.erase(context.WithoutCancel(ctx))
	if m.bar != nil {
		_ = m.bar.Finish() // a bar that stays is no reason to throw the figures away
	}
	if err != nil {
		return nil, errors.Join(err, left)
	}
	return &m.result, left
}

// run starts what a worker stands on, and measures.
func (m *measurer) run(ctx context.Context) (err error) {
	broker, err := embedded.Start(embedded.Options{DataDir: filepath.Join(m.dir, "kafka"), Topics: m.topics(), Log: m.log})
	if err != nil {
		return err
	}
	defer broker.Close()
	m.brokers = broker.Addrs()
	if m.givenRedis() {
		return m.measure(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() {
		stop()
		err = errors.Join(err, g.Wait())
	}()
	redis := embeddedredis.New(nil)
	if err := redis.Start("127.0.0.1:0"); err != nil {
		return err
	}
	defer redis.Close()
	g.Go(func() error { return redis.Tick(ctx) })
	m.redis.Redis = []string{redis.Addr()}
	return m.measure(ctx)
}

// givenRedis reports whether vectors go to a Redis that was there before, and will be after.
func (m *measurer) givenRedis() bool { return len(m.redisFlags.Redis) > 0 }

// topics returns the embedded topics and their partitions. Batches take as much of each partition: sources share them out as their events are, so that a batch is made of them as the sample is.
func (m *measurer) topics() map[string]int {
	topics := map[string]int{}
	for _, s := range m.sample.sources {
		n := 1
		if len(m.sample.sources) > 1 {
			n = max(1, int((sharedPartitions*int64(len(s.rows))+m.sample.events/2)/m.sample.events))
		}
		topics[s.source.Topic], topics[s.source.DeadLetter] = n, 1
	}
	return topics
}

// measure warms up, chooses the size of batches, and takes the time.
func (m *measurer) measure(ctx context.Context) error {
	m.setBatch(min(m.limits.MaxRecords, m.sample.events))
	ends, err := m.process(ctx, warmBatches*m.batch, 0, 0.15, nil)
	if err != nil {
		return err
	}
	speed := speedOf(steady(ends))
	m.setBatch(min(m.batch, max(1, int64(speed*m.target.Seconds()))))
	batches := int64(speed*m.MeasureFor.Seconds())/m.batch + 1
	most := mostLoaded / (m.batch * m.sample.bytes / m.sample.events)
	if m.bar != nil {
		m.bar.Describe("measuring")
	}
	ends, err = m.process(ctx, max(leastBatches, min(batches, most))*m.batch, 0.15, 1, func(ctx context.Context, e *engine) error {
		return m.result.weigh(ctx, e)
	})
	if err != nil {
		return err
	}
	m.conclude(steady(ends))
	return nil
}

// setBatch makes batches of that many records, or of as many as were asked for; nothing but their size cuts them.
func (m *measurer) setBatch(records int64) {
	if m.BatchMaxRecords > 0 {
		records = m.BatchMaxRecords
	}
	m.batch = records
	const ahead = 8 << 20 // bytes that are always fetched ahead
	perBatch := records * (m.sample.bytes/m.sample.events + 64)
	m.project.Batch = features.BatchLimits{Interval: 24 * time.Hour, MaxRecords: records, MaxBytes: min(m.limits.MaxBytes, max(ahead, 3*perBatch/2))}
}

// process loads so many events more, lets the worker process them, and returns its batches. from and to are the shares of the whole measurement that it begins and ends at. after, which may be nil, looks at the worker once it
// has stopped.
func (m *measurer) process(ctx context.Context, events int64, from, to float64, after func(context.Context, *engine) error) ([]batchEnd, error) {
	m.loaded += events
	total := int64(0)
	for _, s := range m.sample.sources {
		n := m.loaded * int64(len(s.rows)) / m.sample.events
		loaded, err := kafka.Load(ctx, kafka.LoadOptions{Brokers: m.brokers, Topic: s.source.Topic, Partitions: 1, Log: m.log}, s.first(n, m.sample.span), nil)
		if err != nil {
			return nil, fmt.Errorf("load events to measure with: %w", err)
		}
		total += loaded
	}
	show := func(left int64) {
		if m.bar != nil {
			_ = m.bar.Set64(int64(100 * (to - (to-from)*float64(left)/float64(events))))
		}
	}
	return m.work(ctx, total, show, after)
}

// work runs the worker until it has committed that many offsets.
func (m *measurer) work(ctx context.Context, total int64, show func(left int64), after func(context.Context, *engine) error) (ends []batchEnd, err error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	rest := make(chan struct{})
	cutRest := sync.OnceFunc(func() { close(rest) })
	var e *engine
	e, err = newEngine(ctx, engineOptions{project: m.project, kafka: kafkaFlags{Kafka: m.brokers}, redis: m.redis, dataDir: m.dir, cacheBytes: int64(m.CacheSize), tombstoneTTL: online.DefaultTombstoneTTL,
		metrics: batch.NewMetrics(prometheus.NewRegistry()), log: m.log, complete: rest,
		onBatch: func(stats batch.Stats) {
			p, _, _ := e.task.Position()
			end := batchEnd{Stats: stats, late: p.Counters.Late, deadLetters: p.Counters.DeadLetter, processor: processorTime(), busy: busyTime()}
			for _, part := range p.Partitions {
				end.offsets += part.Next
			}
			ends = append(ends, end)
			show(total - end.offsets)
			if total-end.offsets < m.batch {
				cutRest() // no full batch is left
			}
			if end.offsets >= total {
				stop()
			}
		}})
	if err != nil {
		return nil, err
	}
	m.written = true
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := e.Run(running); err != nil {
		return nil, err
	}
	if len(ends) < 3 || ends[len(ends)-1].offsets < total {
		return nil, fmt.Errorf("the worker stopped after %d batches, before the measurement was done", len(ends))
	}
	if after != nil {
		return ends, after(ctx, e)
	}
	return ends, nil
}

// erase takes what was written out of a Redis that was given.
func (m *measurer) erase(ctx context.Context) error {
	if !m.written || !m.givenRedis() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	store, err := online.Open(ctx, m.redis.options(m.project.Name, online.DefaultTombstoneTTL, m.log))
	if err != nil {
		return err
	}
	if err = store.Erase(ctx); err != nil {
		err = fmt.Errorf("remove what was written to measure with, the keys %s:*; remove them by hand: %w", m.project.Name, err)
	}
	return errors.Join(err, store.Close())
}

// steady returns the batches between whose ends time is taken: from the first, whose own time is start-up, to the last that was full.
func steady(ends []batchEnd) []batchEnd {
	for len(ends) > 2 && ends[len(ends)-1].Trigger != "size" {
		ends = ends[:len(ends)-1]
	}
	return ends
}

// speedOf returns the events a second between the end of the first batch and the end of the last; there are at least two.
func speedOf(ends []batchEnd) float64 {
	first, last := ends[0], ends[len(ends)-1]
	return float64(last.offsets-first.offsets) / last.Finished.Sub(first.Finished).Seconds()
}

func randomHex() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}
