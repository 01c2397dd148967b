package batch

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"highwater/features"
	"highwater/windows"
)

// How much a task tells its log. A batch a second for a year is 31 million lines, which nobody reads: each is told at debug level, and at info a line every few minutes says what they came to.
// What does not work is told when it begins, then ever less often, with how many attempts have failed since, and when it ends, with how long it took.
const (
	summaryEvery = 5 * time.Minute
	remindFirst  = time.Minute      // the second line about a trouble
	remindMost   = 30 * time.Minute // each wait is twice the one before it, up to this
	behindAfter  = time.Minute      // a spike that is worked off sooner is not worth a line
)

// journal is what a task tells its log, and what it knows of its own troubles. Every line says the act; those about a batch say its generation and sequence. Times are the process's own (monotonic). Safe for concurrent use.
type journal struct {
	log    *slog.Logger
	limits features.BatchLimits

	mu       sync.Mutex // guards what follows
	version  features.Version
	troubles map[string]*trouble // by what does not work
	since    time.Time           // the last summary
	sum      tally
	behind   struct {
		offsets int64
		since   time.Time // it is a batch or more; zero while it is less
		told    bool
	}
}

// tally is what committed batches came to since the last summary.
type tally struct {
	batches, records, vectors, late, dead int64
	slowest                               time.Duration // the longest of their stages' sums
}

// trouble is something that does not work at the moment.
type trouble struct {
	Trouble
	next time.Time     // when the log is reminded of it
	wait time.Duration // until the reminder after that
}

func newJournal(log *slog.Logger, limits features.BatchLimits) *journal {
	return &journal{log: log, limits: limits, troubles: map[string]*trouble{}, since: time.Now()}
}

// at are the attributes of a line about a batch.
func at(act string, v features.Version) slog.Attr {
	return slog.Group("", slog.String("act", act), slog.Uint64("generation", uint64(v.Generation)), slog.Uint64("sequence", v.Sequence))
}

// started tells where a task goes on.
func (j *journal) started(p Position, pending int) {
	j.begin(p.Version)
	j.log.Info("task started", at("start", p.Version), "pending_plans", pending, "frontier", timeOf(p.Frontier), "watermark", timeOf(p.Watermark), "offsets", offsetsOf(p.Partitions))
}

// stopped tells where a task can be taken up again, and what has not been summed up yet.
func (j *journal) stopped(p Position, err error) {
	j.mu.Lock()
	sum := j.sum
	j.mu.Unlock()
	why := slog.Group("", "why", "told to")
	if err != nil {
		why = slog.Group("", "why", "failed", "err", err)
	}
	j.log.Info("task stopped", at("stop", p.Version), why, sum.attr(), "frontier", timeOf(p.Frontier), "watermark", timeOf(p.Watermark), "offsets", offsetsOf(p.Partitions))
}

// begin notes which batch is in hand, for lines about what keeps it from going on.
func (j *journal) begin(v features.Version) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.version = v
}

// committed tells of a batch at debug level, and from time to time of all of them together.
func (j *journal) committed(stats Stats, before, after Counters) {
	s := stats.Stages
	j.log.Debug("batch committed", at("commit", stats.Version), "trigger", stats.Trigger, "records", stats.Records, "vectors", stats.Vectors,
		"plan", s.Plan, "read", s.Read, "transform", s.Transform, "publish", s.Publish, "commit", s.Commit)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sum.batches++
	j.sum.records += stats.Records
	j.sum.vectors += stats.Vectors
	j.sum.late += after.Late - before.Late
	j.sum.dead += after.DeadLetter - before.DeadLetter
	j.sum.slowest = max(j.sum.slowest, s.Plan+s.Read+s.Transform+s.Publish+s.Commit)
	if over := time.Since(j.since); over >= summaryEvery {
		j.log.Info("batches committed", at("commit", stats.Version), "over", over.Round(time.Second), j.sum.attr(), "behind", j.behind.offsets)
		j.sum, j.since = tally{}, time.Now()
	}
}

func (t tally) attr() slog.Attr {
	return slog.Group("", "batches", t.batches, "records", t.records, "vectors", t.vectors, "late", t.late, "dead_letters", t.dead, "slowest", t.slowest.Round(time.Millisecond))
}

// failed notes that an attempt at what failed, and will be repeated.
func (j *journal) failed(what string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	t := j.troubles[what]
	if t == nil {
		t = &trouble{Trouble: Trouble{What: what, Since: now}, next: now, wait: remindFirst}
		j.troubles[what] = t
	}
	t.Attempts++
	t.Kind, t.Err = KindOf(err), err.Error()
	if now.Before(t.next) {
		return
	}
	j.log.Warn("does not work for now; nothing is lost, retrying", at("retry", j.version), "what", what, "kind", t.Kind, "err", err, "attempts", t.Attempts, "for", now.Sub(t.Since).Round(time.Second))
	t.next, t.wait = now.Add(t.wait), min(2*t.wait, remindMost)
}

// mended notes that what works.
func (j *journal) mended(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.troubles[what]
	if t == nil {
		return
	}
	delete(j.troubles, what)
	j.log.Info("works again", at("retry", j.version), "what", what, "attempts", t.Attempts, "after", time.Since(t.Since).Round(time.Millisecond))
}

// lag notes how far the task is behind the logs' ends. It tells when that has been more than a batch for a while, and when it no longer is.
func (j *journal) lag(offsets int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b, now := &j.behind, time.Now()
	b.offsets = offsets
	if offsets < j.limits.MaxRecords {
		if b.told {
			j.log.Info("caught up", at("read", j.version), "behind", offsets, "after", now.Sub(b.since).Round(time.Second))
		}
		b.since, b.told = time.Time{}, false
		return
	}
	if b.since.IsZero() {
		b.since = now
	}
	if !b.told && now.Sub(b.since) >= behindAfter {
		b.told = true
		j.log.Warn("behind: more is waiting than one batch takes", at("read", j.version), "behind", offsets, "batches", math.Round(batchesOf(offsets, j.limits)), "for", now.Sub(b.since).Round(time.Second))
	}
}

// list returns the troubles of this moment, by name.
func (j *journal) list() []Trouble {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []Trouble
	for _, t := range j.troubles {
		all = append(all, t.Trouble)
	}
	slices.SortFunc(all, func(a, b Trouble) int { return strings.Compare(a.What, b.What) })
	return all
}

// stalled returns the newest error of each trouble.
func (j *journal) stalled() map[string]string {
	stalled := map[string]string{}
	for _, t := range j.list() {
		stalled[t.What] = t.Err
	}
	return stalled
}

// offsetsOf writes positions as the log shows them; of a task with many partitions, the first.
func offsetsOf(partitions []PartitionPosition) string {
	const most = 24
	var b strings.Builder
	for i, p := range partitions {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(partitions)-most)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s/%d:%d", p.Partition.Topic, p.Partition.Number, max(p.Next, 0))
	}
	return b.String()
}

// timeOf is an event time for people.
func timeOf(us int64) string {
	if us == windows.NoTime {
		return "none"
	}
	return stamp(us)
}
