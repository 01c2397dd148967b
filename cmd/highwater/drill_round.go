package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"highwater/batch"
	"highwater/batch/faults/resp"
	"highwater/features"
	"highwater/store/online"
	embeddedredis "highwater/store/online/embedded"
)

// drillRound is one round: a directory and a Redis, and the worker that lives on them again and again, until it is through.
type drillRound struct {
	*drill
	seed    uint64
	dir     string
	changes drillChanges
	cache   int64

	redis  *embeddedredis.Redis // nil where one was given
	relay  *resp.Relay          // before Redis; nil where there can be none
	direct redisFlags           // to Redis itself
	calls  scriptCalls
	reader *drillReader
	bits   *rand.Rand // of the round as a whole; each life has its own, so that none depends on how the one before it ended

	kills  int       // that are planned
	loseIn int       // the life in which Redis loses something; -1 for none
	whole  time.Time // when the logs have their ends again
	result roundResult
	found  differences
}

// round runs a round from its seed. An error is a round that could not be ended, or compared.
func (d *drill) round(ctx context.Context, n int, seed uint64) (result roundResult, err error) {
	began := time.Now()
	o := &drillRound{drill: d, seed: seed, dir: d.roundDir(n), direct: d.redisFlags, loseIn: -1, bits: rand.New(rand.NewChaCha8(randomOf(seed)))}
	o.result.Round, o.result.Seed = n+1, seed
	o.changes = d.changes(fmt.Sprintf("drill_%s_%d", d.id, n+1), d.records/(20+o.bits.Int64N(41)))
	o.cache = []int64{1 << 20, 16 << 20, 128 << 20}[o.bits.IntN(3)]
	o.kills = d.Kills - o.bits.IntN(d.Kills/2+1)
	if len(d.Redis) == 0 && o.bits.IntN(2) == 0 {
		o.loseIn = o.bits.IntN(o.kills + 1)
	}
	if err := o.startRedis(ctx); err != nil {
		return o.result, unlessInterrupted(ctx, err)
	}
	err = o.watched(ctx)
	if err == nil {
		err = o.compare(ctx)
	}
	err = errors.Join(unlessInterrupted(ctx, err), o.endRedis(context.WithoutCancel(ctx)))
	o.result.Seconds = time.Since(began).Seconds()
	o.result.Differences, o.result.First = o.found.count, o.found.first
	return o.result, err
}

// startRedis starts what stands between the worker and Redis, and Redis, where none was given.
func (o *drillRound) startRedis(ctx context.Context) (err error) {
	if len(o.Redis) == 0 {
		o.redis = embeddedredis.New(o.calls.hear)
		if err := o.redis.Start("127.0.0.1:0"); err != nil {
			return err
		}
		o.direct = redisFlags{Redis: []string{o.redis.Addr()}}
	} else if err := o.claimRedis(ctx); err != nil {
		return err
	}
	if f := o.direct; len(f.Redis) == 1 && !f.RedisCluster && f.RedisSentinelMaster == "" && !f.RedisTLS {
		o.relay, err = resp.Start(f.Redis[0])
	}
	return err
}

// claimRedis makes sure that nobody has anything under the name that was made up.
func (o *drillRound) claimRedis(ctx context.Context) error {
	return o.withStore(ctx, func(store *online.Store) error {
		empty, err := store.Empty(ctx)
		if err == nil && !empty {
			err = fmt.Errorf("redis has keys %s:* already, and they are not touched", o.changes.Project)
		}
		return err
	})
}

func (o *drillRound) withStore(ctx context.Context, do func(*online.Store) error) error {
	store, err := online.Open(ctx, o.direct.options(o.changes.Project, online.DefaultTombstoneTTL, o.log))
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

// endRedis takes away what startRedis has made.
func (o *drillRound) endRedis(ctx context.Context) error {
	var errs []error
	if o.relay != nil {
		errs = append(errs, o.relay.Close())
	}
	if o.redis != nil {
		o.redis.Close()
		return errors.Join(errs...)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := o.withStore(ctx, func(store *online.Store) error { return store.Erase(ctx) }); err != nil {
		errs = append(errs, fmt.Errorf("remove the keys %s:*; remove them by hand: %w", o.changes.Project, err))
	}
	return errors.Join(errs...)
}

// watched runs the worker to its end, with a reader beside it.
func (o *drillRound) watched(ctx context.Context) (err error) {
	p, err := o.parse(o.changes)
	if err != nil {
		return err
	}
	web, err := newWeb("127.0.0.1:0", o.direct, p.Name, prometheus.NewRegistry(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer web.Close()
	store, err := online.NewReader(o.direct.options(p.Name, 0, o.log))
	if err != nil {
		return err
	}
	defer store.Close()
	o.reader = &drillReader{project: p, base: "http://" + web.address(), store: store, wanted: wantedOf(o.alone.values)}
	ctx, stop := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return web.Run(ctx) })
	g.Go(func() error { return o.reader.Run(ctx) })
	g.Go(func() error {
		defer stop()
		if err := o.lives(ctx); err != nil {
			return err
		}
		if err := o.sendStrays(ctx); err != nil {
			return err
		}
		return o.reader.awaitAnswers(ctx)
	})
	err = g.Wait()
	stop()
	o.result.StepsBack, o.result.StepsLost, o.result.Steps, o.result.Reads = o.reader.back, o.reader.lost, o.reader.steps, o.reader.counts()
	for _, n := range o.result.Reads {
		o.result.Polls, o.result.Seen = o.result.Polls+n.Polls, o.result.Seen+n.Seen
	}
	return err
}

// lives runs the worker until it is through: as often as it is killed, and then as often as a fault ends it.
func (o *drillRound) lives(ctx context.Context) error {
	const most = 100
	for n := range most + o.kills {
		l := o.life(n)
		end, err := o.live(ctx, l)
		if err != nil {
			return fmt.Errorf("life %d (%s): %w", n+1, l, err)
		}
		switch end {
		case endKilled:
			o.result.Kills++
		case endStopped:
			o.result.Stopped++
		case endCut:
			o.result.Stopped++
			o.result.CutOff++
		case endDrained:
			return o.untilWhole(ctx)
		}
	}
	return fmt.Errorf("the worker is not through after %d lives", most+o.kills)
}

// ending is how a life has ended.
type ending int

const (
	endKilled  ending = iota
	endStopped        // by a fault that no retry mends
	endCut            // where the ends of its logs were gone
	endDrained        // with everything committed
)

// live runs one process.
func (o *drillRound) live(ctx context.Context, l drillLife) (ending, error) {
	orders := drillOrders{File: o.name, Definitions: o.text, Changes: o.changes, Kafka: o.brokers, Redis: o.direct, DataDir: o.dir, CacheBytes: o.cache, Faults: l.faults, Disk: l.disk, PowerCut: l.unsync}
	if o.relay != nil {
		orders.Redis.Redis = []string{o.relay.Addr()}
		o.relay.Clear()
		for _, f := range l.redis {
			o.relay.Inject(f)
		}
		defer o.countStruck()()
	}
	for _, f := range l.kafka {
		if err := o.broker.Disturb(f); err != nil {
			return 0, err
		}
		o.result.Faults++
	}
	if l.lose != "" {
		if err := o.redis.Snapshot(); err != nil {
			return 0, err
		}
	}
	child := make(chan *drillProcess, 1)
	o.calls.expect(l, child)
	defer o.calls.expect(drillLife{}, nil)
	process, err := startDrillProcess(o.program, orders)
	if err != nil {
		return 0, err
	}
	defer process.end()
	child <- process
	if l.atOnce {
		timer := time.AfterFunc(l.after, process.kill)
		defer timer.Stop()
	}
	return o.attend(ctx, l, process)
}

// progress moves the bar within the round: its batches take half of it, and the clean execution of its plans the other.
func (o *drillRound) progress(half int, at features.Version) {
	batches := o.records/o.changes.MaxRecords + 1
	o.show(o.result.Round, (float64(half)+min(1, float64(at.Sequence)/float64(batches)))/2)
}

// countStruck returns what adds to the faults those that the relay has carried out from here on.
func (o *drillRound) countStruck() func() {
	sum := func() (n int) {
		for _, times := range o.relay.Struck() {
			n += times
		}
		return n
	}
	before := sum()
	return func() { o.result.Faults += sum() - before }
}

// attend hears what the process says, and has what it is to meet come upon it.
func (o *drillRound) attend(ctx context.Context, l drillLife, process *drillProcess) (ending, error) {
	batches, fired, began := 0, 0, time.Now()
	defer func() { o.result.Faults += fired }()
	patience := time.NewTimer(drillMost)
	defer patience.Stop()
	var last childWord
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-patience.C:
			return 0, fmt.Errorf("nothing was heard of the worker for %s; its log:\n%s", drillMost, process.log())
		case word, more := <-process.words:
			if !more {
				return process.ending(last, began.Before(o.whole))
			}
			patience.Reset(drillMost)
			last, fired = word, word.Fired
			switch {
			case word.Batch != nil:
				batches++
				o.progress(0, *word.Batch)
				if o.meddle != nil {
					o.meddle(o.direct.Redis[0], *word.Batch)
				}
				if err := o.lose(l, batches); err != nil {
					return 0, err
				}
				if err := o.cut(l, batches); err != nil {
					return 0, err
				}
				if batches == l.atBatch && !l.atOnce {
					timer := time.AfterFunc(l.after, process.kill)
					defer timer.Stop()
				}
			case word.Drained != nil && word.Offsets < o.alone.offsets && began.Before(o.whole): // it was through with what was left of the logs
				process.end()
				return endCut, nil
			case word.Drained != nil:
				o.result.Batches = word.Batches
				return o.letGo(ctx, l, process, *word.Drained, began)
			}
		}
	}
}

// lose takes out of Redis what the life is to lose at this batch.
func (o *drillRound) lose(l drillLife, batches int) error {
	if l.lose == "" || batches != l.loseAt {
		return nil
	}
	o.result.Losses++
	return o.reader.lose(func() error {
		if l.lose == "all" {
			o.redis.Empty()
			return nil
		}
		return o.redis.Rollback()
	})
}

// cut has the broker lose the ends of its logs, where the life is to meet that at this batch. A worker that is beyond them has to stop, and to stop again when it is started, until they are back.
func (o *drillRound) cut(l drillLife, batches int) error {
	if l.cut == nil || batches != l.cutAt {
		return nil
	}
	o.result.Faults++
	err := o.broker.Disturb(*l.cut)
	o.whole = time.Now().Add(l.cut.For)
	return err
}

// untilWhole waits until the logs have their ends again.
func (o *drillRound) untilWhole(ctx context.Context) error {
	return pause(ctx, time.Until(o.whole))
}

// letGo ends a process that is through: once the task key is where the last batch is, which after a loss is when all is written again. A kill that was under way may come before.
func (o *drillRound) letGo(ctx context.Context, l drillLife, process *drillProcess, last features.Version, began time.Time) (ending, error) {
	if o.relay != nil {
		o.relay.Clear()
	}
	ctx, cancel := context.WithTimeout(ctx, drillMost)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	var said childWord
	for {
		fetched, err := o.reader.store.Fetch(ctx, nil)
		if err == nil && fetched.Mark.Found && fetched.Mark.Version == last {
			break
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("all is committed, up to %s, and the task key stands at %+v: %w; the worker's log:\n%s", last, fetched.Mark, errors.Join(err, ctx.Err()), process.log())
		case word, more := <-process.words:
			if !more {
				return process.ending(said, began.Before(o.whole))
			}
			said = word
		case <-look.C:
		}
	}
	switch code := process.end(); code {
	case exitDone:
		return endDrained, nil
	case -1:
		return endKilled, nil
	default:
		return 0, fmt.Errorf("it ended with %d; its log:\n%s", code, process.log())
	}
}

// compare holds what the round has left against the run left alone, and against a clean execution of its own plans.
func (o *drillRound) compare(ctx context.Context) error {
	end, err := o.endOf(ctx, o.changes, o.dir, o.direct)
	if err != nil {
		return err
	}
	o.result.Values = compareValues(end, o.alone, &o.found)
	got, err := storedBytes(ctx, o.direct, o.changes.Project)
	if err != nil {
		return err
	}
	clean := o.dir + "-clean"
	p, err := o.parse(o.changes)
	if err != nil {
		return err
	}
	if err := copyPlans(p, o.dir, clean); err != nil {
		return err
	}
	redis, err := o.runClean(ctx, o.changes, clean, func(s batch.Stats) { o.progress(1, s.Version) })
	if err != nil {
		return fmt.Errorf("a clean execution of the recorded plans: %w", err)
	}
	defer redis.Close()
	want, err := storedBytes(ctx, redisFlags{Redis: []string{redis.Addr()}}, o.changes.Project)
	if err != nil {
		return err
	}
	compareBytes(got, want, &o.found)
	o.result.Vectors = int64(len(want))
	if o.result.State, err = o.compareStates(p, clean); err != nil {
		return err
	}
	if o.found.count > 0 {
		return nil // both directories stay, to be looked at
	}
	return os.RemoveAll(clean)
}

func (o *drillRound) compareStates(p *features.Project, clean string) (entries int64, err error) {
	got, err := openDrilled(p, o.dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, got.Close()) }()
	want, err := openDrilled(p, clean)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, want.Close()) }()
	return compareStates(got, want, &o.found)
}

// copyPlans puts the plans of one directory into another, which is made.
func copyPlans(p *features.Project, from, to string) (err error) {
	src, err := openDrilled(p, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	dst, err := openDrilled(p, to)
	if err != nil {
		return err
	}
	return errors.Join(src.CopyPlans(dst), dst.Close())
}

func newDrillMetrics() *batch.Metrics { return batch.NewMetrics(prometheus.NewRegistry()) }
