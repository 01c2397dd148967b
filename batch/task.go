package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"highwater/features"
	"highwater/windows"
)

// Options wires a task. Everything but Address, Complete, OnBatch and OnDrained is required.
type Options struct {
	Project *features.Project
	// Definitions returns the project of a plan that was made under other definitions than Project's, by its hash.
	Definitions func(hash string) (*features.Project, error)
	// Rebind tells the state which project its views are of; it is called when a plan was made under other definitions than the one before it.
	Rebind  func(*features.Project) error
	Decoder func(*features.Source) Decoder

	Source Source
	Plans  Plans
	State  State
	Sinks  []Sink
	Key    TaskKey
	// Announce writes what readers need to know of the project beside its vectors. It is called before a republish: what lost vectors has lost that too.
	Announce func(ctx context.Context) error

	Now          func() time.Time
	TombstoneTTL time.Duration // how long sinks remember tombstones
	Metrics      *Metrics
	Log          *slog.Logger

	RepublishRate int // vectors a second that a republish writes at most, and keys a second that a sweep reads; 0 for 100,000

	Owner    string // this process, to people and to other owners: no two have the same. "" where owners share a plan log
	TakeOver bool   // begin a new generation where another directory owns the task, even if its owner is alive
	Reset    *Reset // begin a new generation by hand; nil for none

	// Objective is how soon after an event its features should be published, for alerts alone; 0 for six intervals.
	Objective time.Duration

	Address   string          // of the owner's HTTP server, for the heartbeat; "" for none
	Complete  <-chan struct{} // closed when all that will ever come has been loaded (dev); nil for never
	OnBatch   func(Stats)     // hears of each committed batch; nil for nobody
	OnDrained func()          // hears, once, that everything that was to come has been committed (see Complete); nil for nobody
}

// Stats is what a committed batch was.
type Stats struct {
	Version  features.Version
	Trigger  string
	Records  int64
	Vectors  int64
	Stages   Stages
	Took     time.Duration // plan, read, and from the start of transform to the commit: all but the wait for the batch before it
	Finished time.Time
}

// Stages is how long each stage took. Transform and publish overlap within a batch, and read with the batch before.
type Stages struct{ Plan, Read, Transform, Publish, Commit time.Duration }

// Task runs one task: make it with [New], then call [Task.Run] once. Its other methods are safe for concurrent use.
type Task struct {
	o        Options
	requests chan func(context.Context) error // run between batches, by the goroutine that owns the state

	position    Position         // owned by Run's main goroutine
	pending     []*Plan          // plans found at the start without their commit
	recovering  features.Version // the newest plan found at the start: until it is committed, more may have been published than the state knows
	lookedOn    bool             // the plan log was read since mustRestore, see canRestore
	mustRestore bool             // vectors may have been lost: republish before the task key moves again
	why         string           // of mustRestore
	pass        *pass            // the republish under way; nil for none
	waiting     []chan<- int64   // who asked for a republish by hand: each hears how many vectors it was
	force       chan string

	ours         bool          // the task was claimed: its heartbeat is ours to write
	drained      bool          // everything that was to come has been committed, and OnDrained has not heard of it
	afterPending error         // what ends the run once the pending plans are executed; nil for nothing
	sweeping     bool          // vectors of lower generations may be left
	restored     chan struct{} // closed once all that the state knows is published under its generation

	confirmed atomic.Pointer[features.Version] // the last version that the task key was moved to by us; nil while it is withheld
	lost      chan string                      // the heartbeat found the task key missing or behind
	rate      atomic.Int64                     // see SetRepublishRate
	stale     atomic.Int64                     // of this process
	divergent atomic.Int64

	journal *journal
	mu      sync.Mutex // guards status
	status  status
}

// New checks the options against the state and the plans, and returns a task ready to run.
func New(o Options) (*Task, error) {
	if o.TombstoneTTL < leastTombstoneTTL {
		return nil, fmt.Errorf("tombstones must live for at least %s, not %s: a call that was planned longer ago than they live is refused", leastTombstoneTTL, o.TombstoneTTL)
	}
	o.Metrics.bind(&o)
	o.Log = o.Log.With("project", o.Project.Name, "task", 0)
	t := &Task{o: o, journal: newJournal(o.Log, o.Project.Batch), requests: make(chan func(context.Context) error), restored: make(chan struct{}), force: make(chan string, 1), lost: make(chan string, 1)}
	o.Metrics.ages.bind(o.Sinks, t.journal.list)
	t.SetRepublishRate(o.RepublishRate)
	return t, nil
}

// SetRepublishRate changes how many vectors a second a republish writes at most (see Options.RepublishRate), also of one that is under way.
func (t *Task) SetRepublishRate(perSecond int) {
	if perSecond <= 0 {
		perSecond = 100_000
	}
	t.rate.Store(int64(perSecond))
}

const leastTombstoneTTL = time.Minute

// grace is how long a task that is told to stop may go on with the batch in hand. What does not end within it is left to the next start, which runs the same plan again.
const grace = 6 * time.Second

// Run runs batches until ctx ends or something fails that retrying cannot mend. When ctx ends it finishes the batch in hand, within a few seconds, and returns nil.
func (t *Task) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if err := t.start(ctx); err != nil {
		err = ignoreCancel(ctx, err)
		if err != nil && t.ours {
			t.sayFailed(err)
		}
		return err
	}
	t.journal.started(t.position, len(t.pending))
	t.setRunning(true)
	inputs, free := make(chan *input), make(chan *input, 2)
	g, gctx := errgroup.WithContext(ctx)
	context.AfterFunc(gctx, func() { // told to stop, or failed: the batch in hand gets its grace, and no more
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(work, func() { timer.Stop() })
	})
	g.Go(func() error {
		defer close(inputs)
		return t.plan(gctx, inputs, free)
	})
	g.Go(func() error {
		return t.beat(gctx)
	})
	if t.sweeping {
		g.Go(func() error {
			return t.sweep(gctx)
		})
	}
	g.Go(func() error {
		return t.execute(work, inputs, free)
	})
	err := ignoreCancel(ctx, g.Wait())
	if err == nil {
		t.sayStopped()
	} else {
		t.sayFailed(err)
	}
	t.setRunning(false)
	t.journal.stopped(t.position, err)
	return err
}

// ignoreCancel turns the end of ctx into a clean return.
func ignoreCancel(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// start finds out where the task stands, and whether the task key lets it go on from there.
func (t *Task) start(ctx context.Context) error {
	position, found := t.o.State.Position()
	if !found {
		position = Position{Version: features.Version{Generation: 1}, Frontier: windows.NoTime, Watermark: windows.NoTime}
	}
	t.position = t.partitionsOf(position)
	t.setPosition(t.position)
	if err := t.claim(ctx, found); err != nil {
		return err
	}
	if err := t.retryKey(ctx)(func() error { return t.o.Announce(ctx) }); err != nil {
		return fmt.Errorf("announce the project: %w", err)
	}
	return t.startSource(ctx)
}

// findPending reads the plans beyond the position. It comes after a look at the task key: what is planned there was durable before (I1), so a log that does not hold it has lost plans,
// and one that is shared with another owner holds all that the other has told of.
func (t *Task) findPending(ctx context.Context) error {
	pending, err := t.o.Plans.After(ctx, t.position.Version)
	if err != nil {
		return fmt.Errorf("read pending plans: %w", err)
	}
	t.pending, t.recovering = pending, t.position.Version
	if len(pending) > 0 {
		t.recovering = pending[len(pending)-1].Version
	}
	return nil
}

// startSource begins to fetch where the position is; where there is none yet, where the first pending plan begins, or at the beginning.
func (t *Task) startSource(ctx context.Context) error {
	places := make([]Place, len(t.position.Partitions))
	for i, p := range t.position.Partitions {
		places[i] = Place{Next: p.Next, LeaderEpoch: p.LeaderEpoch}
		for _, plan := range t.pending {
			if s, ok := plan.slice(p.Partition); ok && places[i].Next == Beginning {
				places[i].Next = s.Start
			}
		}
	}
	if err := t.o.Source.Start(ctx, places); err != nil {
		return err
	}
	for i := range places {
		t.position.Partitions[i].Next = places[i].Next
	}
	t.setPosition(t.position)
	return nil
}

// partitionsOf gives a position the source's partitions, in their order: those it does not know yet are read from their beginning.
func (t *Task) partitionsOf(p Position) Position {
	known := map[Partition]PartitionPosition{}
	for _, pp := range p.Partitions {
		known[pp.Partition] = pp
	}
	ids := t.o.Source.TopicIDs()
	p.Partitions = nil
	for i, part := range t.o.Source.Partitions() {
		pp, ok := known[part]
		if !ok {
			pp = PartitionPosition{Partition: part, Next: Beginning, LeaderEpoch: -1, EventTime: windows.NoTime}
		}
		pp.TopicID = cmp.Or(pp.TopicID, ids[i])
		p.Partitions = append(p.Partitions, pp)
	}
	return p
}

// plan plans and reads, one batch ahead of execute. Plans that were found without their commit come first, exactly as they are (I2).
func (t *Task) plan(ctx context.Context, inputs chan<- *input, free chan *input) error {
	current := newBinding(t.o.Project, t.o.Decoder)
	partitions := current.partitions(t.o.Source.Partitions())
	r := &reader{source: t.o.Source, free: free, marks: marks{frontier: t.position.Frontier, watermark: t.position.Watermark}}
	p := &planner{source: t.o.Source, plans: patientPlans{t.o.Plans, t}, limits: t.o.Project.Batch, clock: t.o.Project.Clock, partitions: partitions, hash: t.o.Project.Hash,
		now: t.o.Now, log: t.o.Log, complete: t.o.Complete, force: t.force, behind: t.o.Metrics.clockBehind.Set,
		version: t.position.Version, reading: t.position.Clock, deadline: t.o.Now().Add(t.o.Project.Batch.Interval), changed: t.redefined()}
	for _, pp := range t.position.Partitions {
		r.marks.eventTime = append(r.marks.eventTime, pp.EventTime)
		p.ends = append(p.ends, pp.Next)
		p.lastSeen = append(p.lastSeen, t.o.Now())
	}
	send := func(plan *Plan, b *binding, partitions []partition, trigger string, took time.Duration) error {
		in, err := readPlan(ctx, r, plan, b, partitions)
		if err != nil {
			return err
		}
		in.trigger, in.planned = trigger, took
		select {
		case inputs <- in:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	run := func(plan *Plan, trigger string) error {
		b, err := t.bindingOf(plan, current)
		if err != nil {
			return err
		}
		taking := b.partitions(t.o.Source.Partitions())
		if plan, err = alignPlan(plan, p.ends, taking); err != nil {
			return err
		}
		p.resume(plan)
		return send(plan, b, taking, trigger, p.took)
	}
	for _, plan := range t.pending {
		t.o.Log.Info("running a plan that was found without its commit", at("recover", plan.Version), "records", plan.Offsets())
		if err := run(plan, byRecovery); err != nil {
			return err
		}
	}
	if t.afterPending != nil {
		return nil
	}
	for {
		plan, trigger, drained, err := p.next(ctx, &r.marks)
		switch {
		case err != nil:
			return err
		case drained:
			p.complete = nil
			select {
			case inputs <- &input{drained: true}:
			case <-ctx.Done():
				return nil
			}
		case plan == nil:
			return nil
		default:
			if err := run(plan, trigger); err != nil { // maybe not the one that was made here: another owner may have won its sequence
				return err
			}
		}
	}
}

// readPlan reads a plan; a failure names it.
func readPlan(ctx context.Context, r *reader, plan *Plan, b *binding, partitions []partition) (*input, error) {
	in, err := r.read(ctx, plan, b, partitions)
	if err != nil {
		return nil, fmt.Errorf("read batch %s: %w", plan.Version, err)
	}
	return in, nil
}

// bindingOf returns the definitions that made a plan.
func (t *Task) bindingOf(plan *Plan, current *binding) (*binding, error) {
	if plan.Definitions == current.project.Hash {
		return current, nil
	}
	p, err := t.o.Definitions(plan.Definitions)
	if err != nil {
		return nil, fmt.Errorf("plan %s was made under definitions %s: %w", plan.Version, plan.Definitions, err)
	}
	return newBinding(p, t.o.Decoder), nil
}

// alignPlan gives a plan one slice for each of the task's partitions, in the task's order. Partitions that came after the plan are marked absent: they stay where they are, and hold nothing up.
func alignPlan(p *Plan, next []int64, partitions []partition) (*Plan, error) {
	aligned := *p
	aligned.Slices = nil
	for i, part := range partitions {
		s, ok := p.slice(part.Partition)
		if !ok {
			s = Slice{Partition: part.Partition, Start: next[i], End: next[i], LogEnd: next[i], LeaderEpoch: -1}
			partitions[i].absent = true
		}
		aligned.Slices = append(aligned.Slices, s)
	}
	for _, s := range p.Slices {
		if !slices.ContainsFunc(partitions, func(part partition) bool { return part.Partition == s.Partition }) {
			return nil, fmt.Errorf("plan %s reads source %s, topic %s partition %d, which is no longer there: put the source and its topic back until the task has caught up, then take them away",
				p.Version, s.Partition.Source, s.Partition.Topic, s.Partition.Number)
		}
	}
	return &aligned, nil
}

// redefined reports whether the state was last moved under other definitions than the project's.
func (t *Task) redefined() bool {
	return t.position.Published() != (features.Version{}) && t.position.Definitions != t.o.Project.Hash
}

// execute runs inputs in order, and between them what has been asked of it. It is the goroutine that owns the state.
func (t *Task) execute(work context.Context, inputs <-chan *input, free chan<- *input) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, err := t.restore(work)
		if err != nil {
			return err
		}
		t.sayDrained()
		timer.Reset(wait)
		select {
		case <-timer.C: // the next slice of a republish
		case in, ok := <-inputs:
			switch {
			case !ok:
				return t.afterPending
			case in.drained:
				t.drained = true
				continue
			}
			if err := t.batch(work, in); err != nil {
				outcome := failed
				if work.Err() != nil {
					outcome = abandoned
				}
				t.o.Metrics.batches.WithLabelValues(in.trigger, outcome).Inc()
				return fmt.Errorf("batch %s: %w", in.plan.Version, err)
			}
			select {
			case free <- in:
			default:
			}
		case why := <-t.lost:
			t.withhold(why)
		case do := <-t.requests:
			if err := do(work); err != nil {
				return err
			}
		}
	}
}

// sayDrained tells, once, that everything that was to come has been committed, and that nothing is left to publish again.
func (t *Task) sayDrained() {
	if t.drained && !t.mustRestore && t.o.OnDrained != nil {
		t.drained = false
		t.o.OnDrained()
	}
}

// batch takes one input through transform, publish and commit.
func (t *Task) batch(ctx context.Context, in *input) error {
	t.journal.begin(in.plan.Version)
	stats := Stats{Version: in.plan.Version, Trigger: in.trigger, Records: in.counts.events, Stages: Stages{Plan: in.planned, Read: in.read}}
	began := time.Now()
	if err := t.rebind(in); err != nil {
		return err
	}
	if err := t.tellPlanned(ctx, in.plan.Version); err != nil {
		return err
	}
	change := t.o.State.Begin()
	defer change.Discard()
	counters, refused, err := t.transformAndPublish(ctx, in, change, &stats)
	if err != nil {
		return err
	}
	position := t.after(in, counters)
	if refused > 0 {
		t.withhold(fmt.Sprintf("%d upserts were refused: this owner was away for longer than tombstones live", refused))
	}
	if err := t.confirm(ctx, position); err != nil {
		return err
	}
	start := time.Now()
	if err := t.whenRoom(ctx, func() error { return change.Commit(ctx, position) }); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	stats.Stages.Commit, stats.Finished = time.Since(start), t.o.Now()
	stats.Took = in.planned + in.read + time.Since(began)
	stats.Vectors = counters.VectorsWritten - t.position.Counters.VectorsWritten
	t.committed(in, position, stats)
	return nil
}

// rebind points the state at the definitions that made the input's plan.
func (t *Task) rebind(in *input) error {
	if err := t.o.Rebind(in.binding.project); err != nil {
		return fmt.Errorf("bind the state to definitions %s: %w", in.binding.project.Hash, err)
	}
	return nil
}

// transformAndPublish runs the two stages side by side: while one chunk is on its way to the sinks, the next is computed. It returns once every sink has confirmed everything.
func (t *Task) transformAndPublish(ctx context.Context, in *input, change Change, stats *Stats) (Counters, int, error) {
	counters := t.count(in)
	chunks, empty := make(chan *chunk), make(chan *chunk, publishers+2)
	for range cap(empty) {
		empty <- &chunk{}
	}
	pub := &publisher{task: t, version: in.plan.Version, clock: in.plan.Clock}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return pub.deadLetters(gctx, in.dead) })
	for range publishers {
		g.Go(func() error {
			for c := range chunks {
				if err := pub.vectors(gctx, c.vectors); err != nil {
					return err
				}
				t.published(c)
				select {
				case empty <- c:
				default: // one that was made in a hurry, when all was over
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(chunks)
		start, blocked := time.Now(), time.Duration(0)
		tr := &transformer{in: in, change: change, state: t.o.State, tomb: t.o.TombstoneTTL.Microseconds(), counters: &counters, metrics: t.o.Metrics, redone: t.redone(in)}
		tr.chunks = func() *chunk {
			since := time.Now()
			defer func() { blocked += time.Since(since) }()
			select {
			case c := <-empty:
				clear(c.vectors)
				clear(c.values)
				c.vectors, c.values, c.newest = c.vectors[:0], c.values[:0], c.newest[:0]
				return c
			case <-gctx.Done():
				return &chunk{}
			}
		}
		tr.emit = func(ctx context.Context, c *chunk) error {
			since := time.Now()
			defer func() { blocked += time.Since(since) }()
			select {
			case chunks <- c:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := tr.run(gctx)
		stats.Stages.Transform = time.Since(start) - blocked
		return err
	})
	err := g.Wait()
	if err == nil {
		err = pub.outlived()
	}
	stats.Stages.Publish = time.Duration(pub.took.Load()) / publishers
	return counters, int(pub.refused.Load()), err
}

// redone returns which views' vectors are all to be written, because a changed definition gave them another shape.
func (t *Task) redone(in *input) func(view int) bool {
	if t.position.Published() == (features.Version{}) || t.position.Definitions == in.plan.Definitions {
		return func(int) bool { return false }
	}
	if t.position.Version.Sequence == 0 { // the generation rose, maybe because they mean something else
		return func(int) bool { return true }
	}
	old, err := t.o.Definitions(t.position.Definitions)
	return func(view int) bool {
		v := in.binding.project.Views[view]
		if err != nil {
			return true
		}
		before := old.View(v.Name)
		return before != nil && (before.Schema.ID != v.Schema.ID || before.TTL != v.TTL)
	}
}

// count adds what the read stage met to the counters.
func (t *Task) count(in *input) Counters {
	c := t.position.Counters.clone()
	c.Batches++
	c.Events += in.counts.events
	for reason, n := range in.counts.reasons {
		addTo(&c.Reasons, string(reason), n)
		if reason == ReasonLate {
			c.Late += n
		} else {
			c.DeadLetter += n
		}
	}
	return c
}

// after is where the task stands once the input's batch is committed.
func (t *Task) after(in *input, c Counters) Position {
	p := Position{Version: in.plan.Version, Frontier: in.after.frontier, Watermark: in.after.watermark, Clock: in.plan.Clock, Definitions: in.plan.Definitions, Counters: c, Opening: t.position.Opening}
	for i, s := range in.plan.Slices {
		p.Partitions = append(p.Partitions, PartitionPosition{Partition: s.Partition, TopicID: t.position.Partitions[i].TopicID, Next: s.End, LeaderEpoch: s.LeaderEpoch, EventTime: in.after.eventTime[i]})
	}
	return p
}

// committed tells the world of a committed batch: metrics, status, listeners, and Kafka's group offsets.
func (t *Task) committed(in *input, p Position, stats Stats) {
	before := t.position.Counters
	t.position = p
	t.setPosition(p)
	t.measure(in, before, p, stats)
	t.remember(in, stats)
	t.journal.committed(stats, before, p.Counters)
	next := make([]int64, len(p.Partitions))
	for i, pp := range p.Partitions {
		next[i] = pp.Next
	}
	t.o.Source.Committed(context.Background(), next)
	if t.o.OnBatch != nil {
		t.o.OnBatch(stats)
	}
}

// Do runs f between two batches, in the goroutine that owns the state; an error of f is returned, and does not stop the task.
func (t *Task) Do(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	run := func(work context.Context) error {
		done <- f(work)
		return nil
	}
	select {
	case t.requests <- run:
	case <-ctx.Done():
		return fmt.Errorf("the task is busy: %w", ctx.Err())
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
