package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/batch/kafka/embedded"
	"highwater/features"
	"highwater/store/online"
	embeddedredis "highwater/store/online/embedded"
	"highwater/store/state"
)

// drill is one run of the command: events in topics, a run left alone to compare with, and rounds.
type drill struct {
	*drillCommand
	streams
	log *slog.Logger
	bar *progressbar.ProgressBar // nil where there is none

	dir     string
	name    string // of the file with the definitions
	text    string
	id      string            // what is made up for this drill has it in its name
	topics  map[string]string // by source
	brokers kafkaFlags
	broker  *embedded.Broker // nil where brokers were given
	ends    []func(context.Context) error

	program string                                         // what is started as the worker
	meddle  func(redis string, committed features.Version) // what a test does to a Redis after a batch; nil for nothing
	fate    func(life int) drillLife                       // what a test has in store; nil for what is drawn

	alone   drillEnd // a run left alone
	records int64    // in the topics
	keep    bool     // the directory holds what differed
}

// drillEnd is what a run leaves, as far as no cut shows in it.
type drillEnd struct {
	counters batch.Counters
	offsets  int64 // read, by all partitions
	frontier int64
	values   map[features.VectorKey]drillVector
}

// drillMost bounds how long anything may take that has to happen: a child that says nothing for so long hangs.
const drillMost = 2 * time.Minute

// newDrill starts what the rounds stand on, loads the events, and runs them once.
func newDrill(ctx context.Context, c *drillCommand, s streams) (d *drill, err error) {
	d = &drill{drillCommand: c, streams: s, log: slog.New(minLevel{s.log.Handler(), slog.LevelWarn}), bar: newBar(s.err, "loading the events"), id: randomHex(), topics: map[string]string{}}
	if d.dir, err = os.MkdirTemp(c.DataDir, "highwater-drill-"); err != nil {
		return nil, fmt.Errorf("make a directory to drill in: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(unlessInterrupted(ctx, err), d.close(context.WithoutCancel(ctx)))
		}
	}()
	if d.program, err = os.Executable(); err != nil {
		return d, fmt.Errorf("find this program, to start workers of it: %w", err)
	}
	if err = d.load(ctx); err != nil {
		return d, err
	}
	d.describe("running it once, left alone")
	if d.alone, err = d.runAlone(ctx); err != nil {
		return d, fmt.Errorf("a run left alone: %w", err)
	}
	return d, nil
}

// load puts the events into topics.
func (d *drill) load(ctx context.Context) (err error) {
	dev := d.dev()
	p, events, err := dev.project()
	defer func() {
		for _, e := range events {
			err = errors.Join(err, e.Close())
		}
	}()
	if err != nil {
		return err
	}
	loading := func(int64, int64) {
		var read, total int64
		for _, e := range events {
			r, t := e.Progress()
			read, total = read+r, total+t
		}
		d.show(0, float64(read)/float64(max(1, total))/2)
	}
	d.text, d.name = p.Text, d.Definitions
	if d.name == "" {
		d.name = d.Example + "/definitions.yaml"
	}
	created := map[string]int{}
	for _, s := range p.Sources {
		d.topics[s.Name] = s.Topic + ".drill-" + d.id
		created[d.topics[s.Name]], created[d.topics[s.Name]+".dead-letter"] = d.Partitions, 1
	}
	if err := d.createTopics(ctx, created); err != nil {
		return err
	}
	for source, rows := range events {
		n, err := kafka.Load(ctx, kafka.LoadOptions{Brokers: d.brokers.Kafka, Security: d.brokers.security(), Topic: d.topics[source.Name], Partitions: d.Partitions, Log: d.log}, loadRows(rows), loading)
		if err != nil {
			return fmt.Errorf("load %s: %w", source.Name, err)
		}
		d.records += n
	}
	if d.records == 0 {
		return usagef("there are no events to drill with")
	}
	return nil
}

// createTopics makes the topics in the brokers that were named, or in one of its own.
func (d *drill) createTopics(ctx context.Context, topics map[string]int) error {
	if d.brokers = d.kafkaFlags; len(d.Kafka) > 0 {
		scratch, err := kafka.CreateScratch(ctx, kafka.ScratchOptions{Brokers: d.Kafka, Security: d.security(), Topics: topics})
		if err != nil {
			return err
		}
		d.ends = append(d.ends, scratch.Delete)
		return nil
	}
	broker, err := embedded.Start(embedded.Options{DataDir: filepath.Join(d.dir, "kafka"), Topics: topics, Log: d.log})
	if err != nil {
		return err
	}
	d.ends = append(d.ends, func(context.Context) error { return broker.Close() })
	d.broker, d.brokers = broker, kafkaFlags{Kafka: broker.Addrs()}
	return nil
}

// close stops what newDrill has started, and takes away what it has made, but for a directory that holds what differed.
func (d *drill) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var errs []error
	if d.bar != nil {
		_ = d.bar.Finish()
	}
	for i := len(d.ends) - 1; i >= 0; i-- {
		errs = append(errs, d.ends[i](ctx))
	}
	d.ends = nil
	if !d.keep {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

func (d *drill) describe(what string) {
	if d.bar != nil {
		d.bar.Describe(what)
	}
}

// show moves the bar: so many rounds are done, and this share of the next. What comes before the first takes the place of one: loading half of it, the run left alone the other.
func (d *drill) show(rounds int, share float64) {
	if d.bar != nil {
		const most = 99 // the last step is close's
		_ = d.bar.Set64(min(most, int64(100*(float64(rounds)+min(1, share))/float64(d.Rounds+1))))
	}
}

// changes are the settings of a run.
func (d *drill) changes(project string, maxRecords int64) drillChanges {
	return drillChanges{Project: project, Topics: d.topics, MaxRecords: max(1, maxRecords), Interval: 200 * time.Millisecond}
}

// runAlone runs the definitions with nothing that goes wrong.
func (d *drill) runAlone(ctx context.Context) (end drillEnd, err error) {
	changes := d.changes("drill_"+d.id+"_alone", d.records/4)
	dir := filepath.Join(d.dir, "alone")
	var committed int64
	redis, err := d.runClean(ctx, changes, dir, func(s batch.Stats) {
		committed += s.Records
		d.show(0, 0.5+float64(committed)/float64(d.records)/2)
	})
	if err != nil {
		return end, err
	}
	defer redis.Close()
	if end, err = d.endOf(ctx, changes, dir, redisFlags{Redis: []string{redis.Addr()}}); err != nil {
		return end, err
	}
	if len(end.values) == 0 {
		return end, usagef("the events of %s leave no vector: there is nothing to compare", d.name)
	}
	return end, os.RemoveAll(dir)
}

// runClean runs a directory's task until all is committed, in this process and on an embedded Redis, which it returns running. onBatch hears of each batch.
func (d *drill) runClean(ctx context.Context, changes drillChanges, dir string, onBatch func(batch.Stats)) (redis *embeddedredis.Redis, err error) {
	p, err := d.parse(changes)
	if err != nil {
		return nil, err
	}
	redis = embeddedredis.New(nil)
	if err := redis.Start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	complete, drained := make(chan struct{}), false
	close(complete)
	err = runEngine(ctx, engineOptions{project: p, kafka: d.brokers, redis: redisFlags{Redis: []string{redis.Addr()}}, dataDir: dir, cacheBytes: 64 << 20, tombstoneTTL: online.DefaultTombstoneTTL,
		metrics: newDrillMetrics(), log: d.log, complete: complete, onBatch: onBatch, onDrained: func() {
			drained = true
			stop()
		}}, func(*engine) {})
	if err = unlessStopped(ctx, err); err == nil && !drained {
		err = context.Cause(ctx)
	}
	if err != nil {
		redis.Close()
		return nil, err
	}
	return redis, nil
}

func (d *drill) parse(changes drillChanges) (*features.Project, error) {
	return drillOrders{File: d.name, Definitions: d.text, Changes: changes}.project()
}

// endOf reads what a run has left.
func (d *drill) endOf(ctx context.Context, changes drillChanges, dir string, redis redisFlags) (end drillEnd, err error) {
	p, err := d.parse(changes)
	if err != nil {
		return end, err
	}
	s, err := openDrilled(p, dir)
	if err != nil {
		return end, err
	}
	position, _ := s.Position()
	end.counters, end.frontier, end.offsets = position.Counters, position.Frontier, offsetsOf(position)
	if err := s.Close(); err != nil {
		return end, err
	}
	end.values, err = readVectors(ctx, redis, p.Name)
	return end, err
}

func openDrilled(p *features.Project, dir string) (*state.Store, error) {
	return state.Open(filepath.Join(dir, "state"), p, state.Options{PlanRetention: online.DefaultTombstoneTTL})
}

// run runs the rounds, prints them, and says what they show.
func (d *drill) run(ctx context.Context) error {
	report := newDrillReport(d)
	report.head()
	for n := range d.Rounds {
		seed := *d.Seed + uint64(n)
		d.describe(fmt.Sprintf("round %d of %d", n+1, d.Rounds))
		result, err := d.round(ctx, n, seed)
		if errors.Is(err, errInterrupted) {
			return errors.Join(report.verdict(err), d.forget(n))
		}
		if err != nil {
			d.keep = true
			result.Error = err.Error()
			report.add(result)
			return report.verdict(fmt.Errorf("round %d (%s): %w; what it has left is in %s", n+1, d.repeat(seed), err, d.roundDir(n)))
		}
		report.add(result)
		d.show(n+2, 0)
		if !result.sound() {
			d.keep = true
		} else if err := os.RemoveAll(d.roundDir(n)); err != nil {
			return report.verdict(err)
		}
	}
	return report.verdict(nil)
}

// forget removes what a round has left that was not brought to its end because somebody stopped the drill.
func (d *drill) forget(n int) error {
	return errors.Join(os.RemoveAll(d.roundDir(n)), os.RemoveAll(d.roundDir(n)+"-clean"))
}

func (d *drill) roundDir(n int) string { return filepath.Join(d.dir, fmt.Sprintf("round-%d", n+1)) }

// randomOf makes a seed's bytes for a generator: neighbours have nothing in common.
func randomOf(seed uint64) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "highwater drill %d", seed))
}
