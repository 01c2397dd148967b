package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"highwater/batch"
	"highwater/features"
	"highwater/store/online"
)

type replayCommand struct {
	redisFlags
	kafkaFlags
	DataDir      string        `help:"Data directory whose plans are run again; a worker (or dev) may be running on it." type:"path" required:""`
	State        string        `help:"A copy of the data directory from before the plans. Without it the replay begins with the generation's first plan." type:"path" placeholder:"DIR" deployment:"-"`
	From         string        `help:"The first plan to compare: a sequence, GENERATION/SEQUENCE, or a time (RFC 3339) by the plans' clock readings; the first there is if not given." placeholder:"PLAN" deployment:"-"`
	To           string        `help:"The last plan to run; the newest committed one if not given." placeholder:"PLAN" deployment:"-"`
	Write        bool          `help:"Upsert the vectors too: what the store has lost comes back, and what is stale is rejected there." deployment:"-"`
	DeadLetters  bool          `help:"Send dead letters to their topics once more." deployment:"-"`
	WorkDir      string        `help:"Where the replay keeps its own state while it runs; the temporary directory if not given." type:"path" placeholder:"DIR"`
	TombstoneTTL time.Duration `help:"As the worker has it; a running one is asked." default:"168h"`
	JSON         bool          `name:"json" help:"Print one line of JSON a plan, and one for all of them." deployment:"-"`
}

func (c *replayCommand) Help() string {
	return `Runs recorded plans again, from a state before them, and compares each vector that they make with what Redis holds: equal, stale (Redis has a newer version, as it does of all but the last plan that touched an entity), missing or divergent.
It runs in a state of its own: the data directory, the task key and the consumer group stay as they are. Exits 1 where a vector is missing or divergent.

Examples:
  highwater replay --data-dir /var/lib/highwater --kafka kafka:9092 --redis redis:6379
  highwater replay --data-dir /var/lib/highwater --state /backup/monday --from 2026-11-02T08:00:00Z --kafka kafka:9092 --redis redis:6379
  highwater replay --data-dir /var/lib/highwater --from 120 --to 200 --json`
}

// Run runs recorded plans again.
func (c *replayCommand) Run(ctx context.Context, s streams) (err error) {
	if err := errors.Join(c.kafkaFlags.check(), c.checkRange()); err != nil {
		return err
	}
	work, err := os.MkdirTemp(c.WorkDir, "highwater-replay-")
	if err != nil {
		return fmt.Errorf("make a directory for the replay's own state: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	r := &replay{replayCommand: c, streams: s, work: work, bar: newBar(s.err, "replaying"), quiet: s.log, now: time.Now}
	if r.bar != nil {
		r.quiet = slog.New(minLevel{s.log.Handler(), slog.LevelWarn})
	}
	return r.run(ctx)
}

// checkRange reads --from and --to before anything is opened.
func (c *replayCommand) checkRange() error {
	_, fromErr := parsePlace("--from", c.From)
	_, toErr := parsePlace("--to", c.To)
	return errors.Join(fromErr, toErr)
}

// replay is one run of the command.
type replay struct {
	*replayCommand
	streams
	work  string
	bar   *progressbar.ProgressBar // nil where there is none
	quiet *slog.Logger
	now   func() time.Time
}

func (r *replay) run(ctx context.Context) (err error) {
	plans, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plans.Close()) }()
	if len(r.Kafka) == 0 {
		broker, err := copyBroker(r.DataDir, r.work, r.quiet)
		if err != nil {
			return err
		}
		defer broker.Close()
		r.kafkaFlags = kafkaFlags{Kafka: broker.Addrs()}
	}
	first, last, err := r.between(plans)
	if errors.Is(err, errIdle) {
		return r.sayIdle(plans)
	}
	if err != nil {
		return err
	}
	compare, closeStore, err := r.store(ctx, plans, first.version, last.version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	var ran []replayRow
	show := r.show(plans, last.version)
	err = plans.execute(ctx, executeOptions{last: last.version, kafka: r.kafkaFlags, sinks: []batch.Sink{compare}, deadLetters: r.DeadLetters, tombstoneTTL: r.TombstoneTTL,
		onPlan: func(p *batch.Plan, stats batch.Stats) {
			ran = append(ran, replayRow{Generation: p.Version.Generation, Sequence: p.Version.Sequence, Clock: timeText(p.Clock), replayCounts: replayCounts{Records: stats.Records}})
			show(p)
		}})
	if r.bar != nil {
		err = errors.Join(err, r.bar.Finish())
	}
	if err != nil && len(ran) == 0 {
		return err
	}
	report := compare.report(ran)
	report.cut = err != nil
	report.opening = openingText(plans, first.version, last.version)
	printed := report.print
	if r.JSON {
		printed = report.printJSON
	}
	return errors.Join(err, printed(r.out), report.verdict())
}

// open copies the plans into a scratch state, and takes over what a running worker says of the outside.
func (r *replay) open(ctx context.Context) (s *scratch, err error) {
	from, err := openRecord(ctx, r.DataDir, r.quiet)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if s, err = newScratch(ctx, from, filepath.Join(r.work, "state"), r.State, r.quiet); err != nil {
		return s, err
	}
	outside := s.head.Outside
	if len(r.Kafka) == 0 {
		r.Kafka = outside.Kafka
	}
	if len(r.Redis) == 0 {
		r.Redis = outside.Redis
	}
	if outside.TombstoneTTL > 0 {
		r.TombstoneTTL = outside.TombstoneTTL
	}
	if len(r.Redis) == 0 {
		return s, errors.Join(usagef("--redis is required: where the vectors are"), s.Close())
	}
	return s, nil
}

// place is what --from and --to name: a plan, or an instant by the plans' clock readings.
type place struct {
	version features.Version // generation 0: the present one's
	clock   int64            // µs; 0 for a version
	given   bool
}

func parsePlace(flag, text string) (p place, err error) {
	if text == "" {
		return p, nil
	}
	p.given = true
	generation, sequence, both := strings.Cut(text, "/")
	if !both {
		generation, sequence = "0", text
	}
	g, gErr := strconv.ParseUint(generation, 10, 32)
	n, nErr := strconv.ParseUint(sequence, 10, 64)
	if gErr == nil && nErr == nil && n > 0 {
		p.version = features.Version{Generation: uint32(g), Sequence: n}
		return p, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return p, usagef("%s %s: want a sequence like 120, a generation and a sequence like 2/120, or a time like 2026-11-01T00:00:00Z", flag, text)
	}
	p.clock = at.UnixMicro()
	return p, nil
}

// errIdle says that no plan was made in the time that a replay was asked for.
var errIdle = errors.New("there is nothing to replay")

// idle reports whether --from is an instant after the newest plan, and not one to come: the task has made no plan since. Whoever replays every hour meets that in an hour without events, and has made no mistake.
func (r *replay) idle(s *scratch, from, to place) bool {
	return from.clock > s.head.Position.Clock && from.clock <= r.now().UnixMicro() && (!to.given || to.clock >= from.clock)
}

// sayIdle prints a report of no plan.
func (r *replay) sayIdle(s *scratch) error {
	if r.JSON {
		return (&replayReport{}).printJSON(r.out)
	}
	fmt.Fprintf(r.out, "nothing to replay: the newest plan is %s, of %s, and --from is %s\n", versionText(s.head.Position.Version), timeText(s.head.Position.Clock), r.From)
	return nil
}

// between returns the first plan to compare, and the last one to run.
func (r *replay) between(s *scratch) (first, last planIndex, err error) {
	from, _ := parsePlace("--from", r.From)
	to, _ := parsePlace("--to", r.To)
	if r.idle(s, from, to) {
		return first, last, errIdle
	}
	if len(s.index) == 0 {
		return first, last, fmt.Errorf("there is no committed plan beyond %s, where the state stands", versionText(s.base))
	}
	if from.version.Generation == 0 {
		from.version.Generation = s.head.Position.Version.Generation
	}
	if to.version.Generation == 0 {
		to.version.Generation = s.head.Position.Version.Generation
	}
	i, j := 0, len(s.index)-1
	switch {
	case from.clock != 0:
		i = slices.IndexFunc(s.index, func(p planIndex) bool { return p.clock >= from.clock })
	case from.given && !s.base.Less(from.version):
		return first, last, usagef("--from %s: the state stands at %s already; a replay begins with a state from before its first plan", r.From, versionText(s.base))
	case from.given:
		i = slices.IndexFunc(s.index, func(p planIndex) bool { return p.version == from.version })
	}
	switch {
	case to.clock != 0:
		j = -1
		for k, p := range s.index {
			if p.clock <= to.clock {
				j = k
			}
		}
	case to.given:
		j = slices.IndexFunc(s.index, func(p planIndex) bool { return p.version == to.version })
	}
	oldest, newest := s.index[0], s.index[len(s.index)-1]
	switch {
	case i < 0 || j < 0 || i > j:
		return first, last, usagef("there is no committed plan from %s to %s: those beyond the state are %s, of %s, to %s, of %s", cmp.Or(r.From, "the first"), cmp.Or(r.To, "the newest"),
			versionText(oldest.version), timeText(oldest.clock), versionText(newest.version), timeText(newest.clock))
	}
	return s.index[i], s.index[j], nil
}

// store opens the online store, to compare with and, with --write, to write to.
func (r *replay) store(ctx context.Context, s *scratch, first, last features.Version) (c *comparer, closeAll func() error, err error) {
	o := r.redisFlags.options(s.head.Project, r.TombstoneTTL, r.quiet)
	reader, err := online.NewReader(o)
	if err != nil {
		return nil, nil, err
	}
	if _, _, err := reader.Catalogue(ctx); err != nil { // an outage later is waited for; at the start it is more likely a wrong address
		return nil, nil, errors.Join(err, reader.Close())
	}
	if !r.Write {
		return newComparer(reader, nil, first, r.TombstoneTTL), reader.Close, nil
	}
	if err := r.mayWrite(ctx, s, reader, last); err != nil {
		return nil, nil, errors.Join(err, reader.Close())
	}
	writer, err := online.Open(ctx, o)
	if err != nil {
		return nil, nil, errors.Join(err, reader.Close())
	}
	if err := writer.Check(ctx); err != nil {
		return nil, nil, errors.Join(err, reader.Close(), writer.Close())
	}
	return newComparer(reader, writer, first, r.TombstoneTTL), func() error { return errors.Join(reader.Close(), writer.Close()) }, nil
}

// mayWrite refuses to end before the newest plan where the store's task key stands beyond: a vector that came back as of an earlier one would be shown as holding at the task key's frontier.
func (r *replay) mayWrite(ctx context.Context, s *scratch, reader *online.Reader, last features.Version) error {
	newest := s.index[len(s.index)-1].version
	if last == newest {
		return nil
	}
	fetched, err := reader.Fetch(ctx, nil)
	if err != nil {
		return err
	}
	if mark := fetched.Mark; mark.Found && last.Less(mark.Version) {
		return usagef("--write --to %s: the store's task key stands at %s, and what is written as of an earlier plan would be shown as holding there; leave --to out, or replay into another Redis", r.To, versionText(mark.Version))
	}
	return nil
}

// show returns what draws the share of the offsets that are executed.
func (r *replay) show(s *scratch, last features.Version) func(*batch.Plan) {
	if r.bar == nil {
		return func(*batch.Plan) {}
	}
	var total, done int64
	for _, p := range s.index[:s.at(last)+1] {
		total += p.offsets + 1
	}
	return func(p *batch.Plan) {
		done += p.Offsets() + 1
		r.bar.Describe("replaying plan " + versionText(p.Version))
		_ = r.bar.Set64(done * 100 / total)
	}
}

// openingText says of a generation that began among the plans.
func openingText(s *scratch, first, last features.Version) string {
	if first.Generation == last.Generation {
		return ""
	}
	o := s.head.Position.Opening
	return fmt.Sprintf("generation %d begins among them, from where %s left the state (%s); plans of generation %d beyond that are void, and were not run", last.Generation, versionText(o.Parent), o.Why, o.Parent.Generation)
}
