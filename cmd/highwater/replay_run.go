package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"time"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/batch/kafka"
	"highwater/batch/kafka/embedded"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

// scratch is a state of its own in which a directory's recorded plans are executed again: nothing of the directory is touched. Its plans are copied into it first, so that the directory is let go of before anything runs.
type scratch struct {
	store    *state.Store
	head     recordPage // what the directory says of itself
	base     features.Version
	index    []planIndex                  // the plans that can be executed, in order: the first follows on from base
	projects map[string]*features.Project // the definitions that made them, by hash
	log      *slog.Logger
}

// planIndex is a recorded plan in short.
type planIndex struct {
	version     features.Version
	clock       int64 // µs
	offsets     int64
	definitions string
}

// newScratch makes a scratch state in dir, which must not exist or be empty: a clone of the state in copyOf, a copy of the data directory from before the plans; or, with "", an empty one from before the first plan of the generation.
// It takes over all committed plans of the lineage beyond that.
func newScratch(ctx context.Context, from *recordSource, dir, copyOf string, log *slog.Logger) (s *scratch, err error) {
	s = &scratch{projects: map[string]*features.Project{}, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.head, err = from.head(ctx); err != nil {
		return s, err
	}
	if s.head.Position.Version == (features.Version{}) {
		return s, fmt.Errorf("%s has no committed plan yet: there is nothing to replay", from.dataDir)
	}
	if copyOf == "" {
		err = s.begin(ctx, from, dir)
	} else {
		err = s.clone(ctx, from, dir, copyOf)
	}
	if err != nil {
		return s, err
	}
	stretches, err := s.stretches()
	if err != nil {
		return s, err
	}
	for _, st := range stretches {
		if err := s.adopt(ctx, from, st); err != nil {
			return s, err
		}
	}
	return s, nil
}

// begin makes an empty state, as the generation's first plan found it.
func (s *scratch) begin(ctx context.Context, from *recordSource, dir string) error {
	at, opening := s.head.Position.Version, s.head.Position.Opening
	s.base = features.Version{Generation: at.Generation}
	if opening.Parent != (features.Version{}) {
		if s.base.Generation = opening.Parent.Generation; s.base.Generation > 1 {
			return fmt.Errorf("generation %d went on from the state of %s (%s), and what that one began with is not known: give --state, a copy of the data directory from then or later", at.Generation, versionText(opening.Parent), opening.Why)
		}
	}
	first, err := from.page(ctx, s.base, at, 1)
	if err != nil {
		return err
	}
	if len(first.Plans) == 0 {
		return fmt.Errorf("%s keeps no plan of generation %d: give --state, a copy of the data directory, or wait for a batch", from.dataDir, at.Generation)
	}
	if err := s.follows(s.base, first.Plans[0]); err != nil {
		return err
	}
	if err := s.learn(first.Record); err != nil {
		return err
	}
	project, err := s.project(first.Plans[0].Definitions)
	if err != nil {
		return err
	}
	if s.store, err = state.Open(dir, project, scratchOptions(s.log)); err != nil {
		return err
	}
	if s.base.Generation == 1 {
		return nil
	}
	if err := s.store.Adopt(ctx, first.Record); err != nil {
		return err
	}
	return s.store.Raise(ctx, batch.Position{Version: s.base, Frontier: windows.NoTime, Watermark: windows.NoTime, Opening: opening}, true)
}

// scratchOptions keep every plan: whoever executes them will look at the clock of today.
func scratchOptions(log *slog.Logger) state.Options {
	return state.Options{PlanRetention: 100 * 365 * 24 * time.Hour, NewMeaning: true, Log: log, Owner: "highwater replay"}
}

// clone takes over the state of a copy of the data directory, of which it must be an earlier state.
func (s *scratch) clone(ctx context.Context, from *recordSource, dir, copyOf string) (err error) {
	if err := state.Clone(dir, filepath.Join(copyOf, "state")); err != nil {
		return fmt.Errorf("--state %s: %w", copyOf, err)
	}
	if s.store, err = state.OpenKept(dir, scratchOptions(s.log)); err != nil {
		return fmt.Errorf("--state %s: %w", copyOf, err)
	}
	position, found := s.store.Position()
	s.base = position.Version
	own := s.head.Position.Version
	switch name, log := s.store.Project().Name, s.store.Plans().ID(); {
	case name != s.head.Project:
		return usagef("--state %s holds the state of project %q, and --data-dir that of %q", copyOf, name, s.head.Project)
	case !found:
		return usagef("--state %s has no committed plan: leave --state out, to begin with the first plan", copyOf)
	case s.base.Generation == own.Generation && log != s.head.Log:
		return usagef("--state %s is no copy of --data-dir: its plan log is %s, and that one's is %s", copyOf, log, s.head.Log)
	case own.Less(s.base):
		return usagef("--state %s stands at %s, beyond --data-dir, which stands at %s: are they the wrong way round?", copyOf, versionText(s.base), versionText(own))
	}
	return s.sameHistory(ctx, from, copyOf)
}

// sameHistory compares the plan that the copy stands at with the directory's own, where both still have it.
func (s *scratch) sameHistory(ctx context.Context, from *recordSource, copyOf string) error {
	before := s.base
	if before.Sequence > 0 {
		before.Sequence--
	}
	theirs, err := from.page(ctx, before, s.base, 1)
	if err != nil {
		return err
	}
	ours, err := s.store.PlansBetween(ctx, before, s.base)
	if err != nil {
		return err
	}
	if len(ours) == 1 && len(theirs.Plans) == 1 && !reflect.DeepEqual(ours[0], theirs.Plans[0]) {
		return usagef("--state %s is no copy of --data-dir: their plans %s differ", copyOf, versionText(s.base))
	}
	return nil
}

// stretch is plans of one generation: those beyond after, up to and with last.
type stretch struct{ after, last features.Version }

// stretches returns which plans lead from the scratch's state to where the directory stands. Plans of a generation beyond the place that the next one went on from are void, and never among them.
func (s *scratch) stretches() ([]stretch, error) {
	own, opening := s.head.Position.Version, s.head.Position.Opening
	switch {
	case s.base.Generation == own.Generation:
		return []stretch{{s.base, own}}, nil
	case s.base.Generation == opening.Parent.Generation && !opening.Parent.Less(s.base):
		all := []stretch{{s.base, opening.Parent}}
		if own.Sequence > 0 {
			all = append(all, stretch{features.Version{Generation: own.Generation}, own})
		}
		return all, nil
	case opening.Parent == (features.Version{}):
		return nil, fmt.Errorf("the state stands at %s, and generation %d began with an empty state (%s): leave --state out, or give a copy from within that generation", versionText(s.base), own.Generation, opening.Why)
	}
	return nil, fmt.Errorf("the state stands at %s, which is not on the way to where the directory is: generation %d went on from %s (%s); give a copy from before that within generation %d, or from after it", versionText(s.base), own.Generation, versionText(opening.Parent), opening.Why, opening.Parent.Generation)
}

// adopt copies a stretch of plans into the scratch state.
func (s *scratch) adopt(ctx context.Context, from *recordSource, st stretch) error {
	at := st.after
	err := from.each(ctx, s.head.Log, st.after, st.last, func(r state.Record) error {
		if err := s.learn(r); err != nil {
			return err
		}
		for _, p := range r.Plans {
			if err := s.follows(at, p); err != nil {
				return err
			}
			s.index, at = append(s.index, planIndex{p.Version, p.Clock, p.Offsets(), p.Definitions}), p.Version
		}
		return s.store.Adopt(ctx, r)
	})
	if err == nil && at != st.last {
		err = fmt.Errorf("the plans from %s up to %s are gone, and the state before what is left cannot be made: give --state, a copy of the data directory from after them", versionText(next(at)), versionText(st.last))
	}
	return err
}

func next(v features.Version) features.Version {
	v.Sequence++
	return v
}

// follows reports that plans are gone, where p is not the one after at.
func (s *scratch) follows(at features.Version, p *batch.Plan) error {
	if p.Version == next(at) {
		return nil
	}
	return fmt.Errorf("the plans from %s on are gone: the oldest one kept is %s, of %s (--plan-retention says how long the worker keeps them); a replay begins with the state before its first plan: "+
		"give --state, a copy of the data directory that stands at %d/%d or later (highwater inspect shows where it stands)", versionText(next(at)), versionText(p.Version), timeText(p.Clock), p.Version.Generation, p.Version.Sequence-1)
}

// learn parses the definitions of a record that are not known yet.
func (s *scratch) learn(r state.Record) error {
	for hash, text := range r.Definitions {
		if s.projects[hash] != nil {
			continue
		}
		p, err := features.Parse("definitions "+hash, []byte(text))
		if err != nil {
			return fmt.Errorf("the definitions %s that plans were made under cannot be read any more: %w", hash, err)
		}
		s.projects[hash] = p
	}
	return nil
}

func (s *scratch) project(hash string) (*features.Project, error) {
	if p := s.projects[hash]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("definitions %s are not kept with the plans", hash)
}

// plans walks the plans up to and with last.
func (s *scratch) plans(ctx context.Context, last features.Version) iter.Seq2[*batch.Plan, error] {
	return func(yield func(*batch.Plan, error) bool) {
		const page = 500
		for i := 0; i < len(s.index) && !last.Less(s.index[i].version); i += page {
			end := min(i+page, len(s.index))
			for i < end && last.Less(s.index[end-1].version) {
				end--
			}
			plans, err := s.pageOf(ctx, s.index[i:end])
			if err != nil {
				yield(nil, err)
				return
			}
			for _, p := range plans {
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}

// pageOf reads the plans of a part of the index. Void plans may lie between two generations.
func (s *scratch) pageOf(ctx context.Context, part []planIndex) ([]*batch.Plan, error) {
	if len(part) == 0 {
		return nil, nil
	}
	after := part[0].version
	after.Sequence--
	between, err := s.store.PlansBetween(ctx, after, part[len(part)-1].version)
	if err != nil {
		return nil, err
	}
	plans := make([]*batch.Plan, 0, len(part))
	for _, p := range between {
		if len(plans) < len(part) && p.Version == part[len(plans)].version {
			plans = append(plans, p)
		}
	}
	if len(plans) != len(part) {
		return nil, fmt.Errorf("%d plans are kept where %d were copied", len(plans), len(part))
	}
	return plans, nil
}

// at returns where in the index the first plan beyond or at a version stands.
func (s *scratch) at(v features.Version) int {
	return sort.Search(len(s.index), func(i int) bool { return !s.index[i].version.Less(v) })
}

// Close closes the scratch state. Its files stay.
func (s *scratch) Close() error {
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// executeOptions are how recorded plans are executed.
type executeOptions struct {
	last         features.Version // the last plan
	kafka        kafkaFlags
	sinks        []batch.Sink
	deadLetters  bool // sent to their topics once more
	tombstoneTTL time.Duration
	onPlan       func(*batch.Plan, batch.Stats)
}

// execute runs the plans up to the last one, each as it was made: its vectors go to the sinks, its state into the scratch. It claims no task, moves no task key and commits no group's offsets.
func (s *scratch) execute(ctx context.Context, o executeOptions) error {
	i := s.at(o.last)
	if i == len(s.index) {
		return fmt.Errorf("there is no plan %s", versionText(o.last))
	}
	sources, maxBytes, dropped, err := s.sources(s.index[:i+1])
	if err != nil {
		return err
	}
	source, err := kafka.Open(ctx, kafka.Options{Brokers: o.kafka.Kafka, Security: o.kafka.security(), Sources: sources, MemoryBytes: max(128<<20, 2*maxBytes), Log: s.log})
	if batch.IsPermanent(err) && dropped {
		return fmt.Errorf("%w; plans up to %s read sources that the definitions have no more, and are replayed only while those can be read: where a topic is gone, replay later plans, from a --state after them", err, versionText(o.last))
	}
	if err != nil {
		return err
	}
	defer source.Close()
	sinks := o.sinks
	if o.deadLetters {
		dead, err := kafka.NewDeadLetters(kafka.DeadLetterOptions{Brokers: o.kafka.Kafka, Security: o.kafka.security(), Sources: sources, Log: s.log})
		if err != nil {
			return err
		}
		defer dead.Close()
		sinks = append(sinks, dead)
	}
	err = batch.Replay(ctx, batch.ReplayOptions{
		Plans: s.plans(ctx, o.last), Opening: s.head.Position.Opening, Definitions: s.project, Rebind: s.store.Rebind, Decoder: decode.New,
		Source: source, State: s.store, Sinks: sinks, TombstoneTTL: o.tombstoneTTL, Log: s.log, OnPlan: o.onPlan,
	})
	if lost, ok := errors.AsType[*batch.LostError](err); ok {
		return fmt.Errorf("the records of these plans are gone: topic %s, partition %d, offsets %d to %d (retention, or a deletion, took them); replay later plans, from a --state after them", lost.Partition.Topic, lost.Partition.Number, lost.Start, lost.End-1)
	}
	return err
}

// sources returns what plans read: every source of the definitions that made them, also one that later definitions have no more, or have with another topic; the newest come last. maxBytes is the largest batch that any of them allow, dropped whether the last of them have no more what an earlier one had.
func (s *scratch) sources(plans []planIndex) (all []*features.Source, maxBytes int64, dropped bool, err error) {
	known, readBy := map[string]bool{}, map[string]*features.Source{} // by hash, by topic
	for _, p := range slices.Backward(plans) {
		if known[p.definitions] {
			continue
		}
		known[p.definitions] = true
		project, err := s.project(p.definitions)
		if err != nil {
			return nil, 0, false, err
		}
		maxBytes = max(maxBytes, project.Batch.MaxBytes)
		for _, source := range project.Sources {
			switch other := readBy[source.Topic]; {
			case other == nil:
				readBy[source.Topic] = source
				all, dropped = append(all, source), dropped || len(known) > 1
			case other.Name != source.Name:
				return nil, 0, false, fmt.Errorf("topic %q was read by source %s up to plan %s, and by source %s later: a replay cannot go across that; end it there (--to %s), or begin after it, with a --state that stands there or later",
					source.Topic, source.Name, versionText(p.version), other.Name, versionText(p.version))
			}
		}
	}
	slices.Reverse(all)
	return all, maxBytes, dropped, nil
}

// executeRecord is the clean execution of all that a directory records: its committed plans, from the generation's first, in an empty directory, into sinks. The state that they leave is in dir/state.
func executeRecord(ctx context.Context, dataDir, dir string, o executeOptions, log *slog.Logger) (err error) {
	from, err := openRecord(ctx, dataDir, log)
	if err != nil {
		return err
	}
	s, err := newScratch(ctx, from, filepath.Join(dir, "state"), "", log)
	if err := errors.Join(err, from.Close()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if len(s.index) == 0 {
		return nil
	}
	o.last = s.index[len(s.index)-1].version
	return s.execute(ctx, o)
}

// copyBroker starts an embedded broker on a copy of the one that dev keeps in a data directory. Nobody may run on it meanwhile.
func copyBroker(dataDir, dir string, log *slog.Logger) (*embedded.Broker, error) {
	kept := filepath.Join(dataDir, "kafka")
	if _, err := os.Stat(kept); err != nil {
		return nil, usagef("--kafka is required: where the events come from (%s holds no embedded Kafka's log)", dataDir)
	}
	copied := filepath.Join(dir, "kafka")
	if err := os.CopyFS(copied, os.DirFS(kept)); err != nil {
		return nil, fmt.Errorf("copy the embedded Kafka's log: %w", err)
	}
	return embedded.Start(embedded.Options{DataDir: copied, Log: log})
}

// versionText is a version for people: generation and sequence.
func versionText(v features.Version) string {
	return fmt.Sprintf("%d/%d", v.Generation, v.Sequence)
}
