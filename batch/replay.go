package batch

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"highwater/features"
	"highwater/windows"
)

// ReplayOptions wires a replay. Everything but Opening and OnPlan is required.
type ReplayOptions struct {
	Plans        iter.Seq2[*Plan, error] // what to execute, in order: the first is the one after the state's position. It is walked twice
	Opening      Opening                 // how the generation began that the plans end in, where the state or the first plans are of the one before it
	Definitions  func(hash string) (*features.Project, error)
	Rebind       func(*features.Project) error
	Decoder      func(*features.Source) Decoder
	Source       Source
	State        State
	Sinks        []Sink
	TombstoneTTL time.Duration // as it was when the plans were executed first
	Log          *slog.Logger
	OnPlan       func(*Plan, Stats) // hears of each plan once it is committed to the state; nil for nobody
}

// Replay executes recorded plans from where the state stands, exactly as a task does that finds them without their commit, and nothing else: it plans nothing, claims no task, moves no task key and tells the brokers no positions.
// What the plans read must still be there, and still be the log that they were made of: else it is a [*LostError], a [*TruncatedError], or an error that names the topic. An outage of a sink is waited for. ctx ends it.
func Replay(ctx context.Context, o ReplayOptions) error {
	s, err := surveyPlans(o)
	if err != nil || s.last == nil {
		return err
	}
	project, err := definitionsOf(s.last, o.Definitions)
	if err != nil {
		return err
	}
	t := &Task{o: Options{Project: project, Definitions: o.Definitions, Rebind: o.Rebind, Decoder: o.Decoder, Source: o.Source, State: o.State, Sinks: o.Sinks,
		Now: time.Now, TombstoneTTL: o.TombstoneTTL, Metrics: NewMetrics(prometheus.NewRegistry()), Log: o.Log}, journal: newJournal(o.Log, project.Batch)}
	t.o.Metrics.bind(&t.o)
	if err := t.startReplay(ctx, s); err != nil {
		return err
	}
	inputs, free := make(chan *input), make(chan *input, 2)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(inputs)
		return t.readRecorded(ctx, o.Plans, inputs, free)
	})
	g.Go(func() error {
		for in := range inputs {
			if err := t.replay(ctx, in, o); err != nil {
				return fmt.Errorf("batch %s: %w", in.plan.Version, err)
			}
			select {
			case free <- in:
			default:
			}
		}
		return nil
	})
	return g.Wait()
}

// survey is what recorded plans are about, all together.
type survey struct {
	last   *Plan               // nil for no plans
	starts map[Partition]int64 // where the first plan of a partition begins
	ends   map[Partition]int64 // where its last one ends
}

// surveyPlans walks the plans once, before anything is read, so that a gap among them is told at once.
func surveyPlans(o ReplayOptions) (survey, error) {
	s := survey{starts: map[Partition]int64{}, ends: map[Partition]int64{}}
	at, _ := o.State.Position()
	version := at.Version
	if version.Generation == 0 {
		version.Generation = 1
	}
	for p, err := range o.Plans {
		if err != nil {
			return s, err
		}
		follows := p.Version == features.Version{Generation: version.Generation, Sequence: version.Sequence + 1}
		if !follows && !opens(p, version, o.Opening) {
			return s, fmt.Errorf("plan %s does not follow on from %s", p.Version, version)
		}
		for _, slice := range p.Slices {
			end, known := s.ends[slice.Partition]
			if known && end != slice.Start {
				return s, fmt.Errorf("plan %s begins at offset %d of %s, and the plan before it ended at %d: the log was cut off in between", p.Version, slice.Start, slice.Partition, end)
			}
			if !known {
				s.starts[slice.Partition] = slice.Start
			}
			s.ends[slice.Partition] = slice.End
		}
		s.last, version = p, p.Version
	}
	return s, nil
}

// opens reports whether p is the first plan of the generation that began so, and the state before it stands at v.
func opens(p *Plan, v features.Version, o Opening) bool {
	return p.Version.Sequence == 1 && v.Generation < p.Version.Generation && o.Parent == v
}

func definitionsOf(p *Plan, definitions func(string) (*features.Project, error)) (*features.Project, error) {
	project, err := definitions(p.Definitions)
	if err != nil {
		return nil, fmt.Errorf("plan %s was made under definitions %s: %w", p.Version, p.Definitions, err)
	}
	return project, nil
}

// startReplay begins to fetch where the plans begin. Partitions that none of them reads are fetched from their ends: nothing is taken from those.
func (t *Task) startReplay(ctx context.Context, s survey) error {
	position, found := t.o.State.Position()
	if !found {
		position = Position{Version: features.Version{Generation: 1}, Frontier: windows.NoTime, Watermark: windows.NoTime}
	}
	t.position = t.partitionsOf(position)
	if topics := t.recreated(); len(topics) > 0 {
		return fmt.Errorf("topics were deleted and made again since the plans were made: %v; the records that they read are gone with the old ones", topics)
	}
	ends, err := t.ends(ctx)
	if err != nil {
		return fmt.Errorf("ask for the logs' ends: %w", err)
	}
	places := make([]Place, len(t.position.Partitions))
	for i := range t.position.Partitions {
		p := &t.position.Partitions[i]
		start, read := s.starts[p.Partition]
		switch {
		case !read:
			start = ends[i].LogEnd
		case p.Next != Beginning && p.Next != start && t.position.Version.Generation == s.last.Version.Generation:
			return fmt.Errorf("the plans go on at offset %d of %s, and the state stands at %d: it is of another task, or of another lineage", start, p.Partition, p.Next)
		case s.ends[p.Partition] > ends[i].LogEnd:
			return fmt.Errorf("%s ends at offset %d, and the plans read up to %d: this is not the log that they were made of, or its end was cut off", p.Partition, ends[i].LogEnd, s.ends[p.Partition])
		}
		places[i] = Place{Next: start, LeaderEpoch: p.LeaderEpoch}
		if p.Next == Beginning {
			p.Next = start
		}
	}
	return t.o.Source.Start(ctx, places)
}

// readRecorded reads plan after plan, one ahead of what is executed.
func (t *Task) readRecorded(ctx context.Context, plans iter.Seq2[*Plan, error], inputs chan<- *input, free chan *input) error {
	r := &reader{source: t.o.Source, free: free, marks: marks{frontier: t.position.Frontier, watermark: t.position.Watermark}}
	next := make([]int64, len(t.position.Partitions))
	for i, p := range t.position.Partitions {
		r.marks.eventTime = append(r.marks.eventTime, p.EventTime)
		next[i] = p.Next
	}
	var current *binding
	for plan, err := range plans {
		if err != nil {
			return err
		}
		if current == nil || current.project.Hash != plan.Definitions {
			project, err := definitionsOf(plan, t.o.Definitions)
			if err != nil {
				return err
			}
			current = newBinding(project, t.o.Decoder)
		}
		taking := current.partitions(t.o.Source.Partitions())
		if plan, err = alignPlan(plan, next, taking); err != nil {
			return err
		}
		in, err := readPlan(ctx, r, plan, current, taking)
		if err != nil {
			return err
		}
		in.trigger = byRecovery
		for i := range plan.Slices {
			next[i] = plan.Slices[i].End
		}
		select {
		case inputs <- in:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// replay takes one input through transform, publish and commit.
func (t *Task) replay(ctx context.Context, in *input, o ReplayOptions) error {
	t.journal.begin(in.plan.Version)
	if err := t.reopen(ctx, in.plan, o.Opening); err != nil {
		return err
	}
	if err := t.rebind(in); err != nil {
		return err
	}
	stats := Stats{Version: in.plan.Version, Trigger: in.trigger, Records: in.counts.events, Stages: Stages{Read: in.read}}
	change := t.o.State.Begin()
	defer change.Discard()
	counters, _, err := t.transformAndPublish(ctx, in, change, &stats)
	if err != nil {
		return err
	}
	position := t.after(in, counters)
	start := time.Now()
	if err := t.whenRoom(ctx, func() error { return change.Commit(ctx, position) }); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	stats.Stages.Commit, stats.Finished = time.Since(start), time.Now()
	stats.Vectors = counters.VectorsWritten - t.position.Counters.VectorsWritten
	t.position = position
	if o.OnPlan != nil {
		o.OnPlan(in.plan, stats)
	}
	return nil
}

// reopen begins the plan's generation where the state is of the one before it.
func (t *Task) reopen(ctx context.Context, plan *Plan, opening Opening) error {
	if plan.Version.Generation == t.position.Version.Generation {
		return nil
	}
	p := t.position
	p.Version, p.Opening = features.Version{Generation: plan.Version.Generation}, opening
	if err := t.o.State.Raise(ctx, p, false); err != nil {
		return fmt.Errorf("begin generation %d: %w", p.Version.Generation, err)
	}
	t.o.Log.Info("a generation begins among the plans", at("replay", p.Version), "after", opening.Parent, "why", opening.Why)
	t.position = p
	return nil
}
