package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/store/online"
)

// replayRow is what became of one plan's vectors.
type replayRow struct {
	Generation uint32 `json:"generation"`
	Sequence   uint64 `json:"sequence"`
	Clock      string `json:"clock"` // the plan's clock reading
	replayCounts
}

// replayCounts count vectors by what the store has of them.
type replayCounts struct {
	Records   int64 `json:"records"`
	Vectors   int64 `json:"vectors"`
	Equal     int64 `json:"equal"`
	Stale     int64 `json:"stale"`
	Missing   int64 `json:"missing"`
	Divergent int64 `json:"divergent"`
	Expired   int64 `json:"expired"` // not in the store, because a tombstone has expired there since
	Written   int64 `json:"written"` // of the missing, with --write: the store has them now
	Refused   int64 `json:"refused"` // with --write: their plan is older than a tombstone lives
}

func (c *replayCounts) add(o replayCounts) {
	c.Records += o.Records
	c.Vectors += o.Vectors
	c.Equal += o.Equal
	c.Stale += o.Stale
	c.Missing += o.Missing
	c.Divergent += o.Divergent
	c.Expired += o.Expired
	c.Written += o.Written
	c.Refused += o.Refused
}

// replayFinding is a vector that the store has not, or has with other bytes.
type replayFinding struct {
	Verdict    string `json:"verdict"` // missing, divergent
	View       string `json:"feature_view"`
	Entity     string `json:"entity"`
	Generation uint32 `json:"generation"` // of the plan that made it
	Sequence   uint64 `json:"sequence"`
	Stored     string `json:"stored"` // what the store has instead
}

// mostFindings is how many vectors a report names.
const mostFindings = 20

// comparer is the sink of a replay: it compares each vector with what the online store holds and, with a writer, upserts it as a worker does. Safe for concurrent use.
type comparer struct {
	reader *online.Reader
	writer *online.Store    // nil: nothing is written
	first  features.Version // vectors of plans before it are neither compared nor written
	ttl    time.Duration    // how long tombstones live
	now    func() time.Time

	mu       sync.Mutex // guards what follows
	counts   map[features.Version]*replayCounts
	compared map[chunkName][]online.Comparison // of chunks that are not written yet: a retry must not find its own writes
	suspects map[features.VectorKey][]features.Version
	findings []replayFinding
}

// chunkName tells the chunks of a replay apart.
type chunkName struct {
	version features.Version
	view    string
	entity  string // of its first vector
}

func newComparer(reader *online.Reader, writer *online.Store, first features.Version, ttl time.Duration) *comparer {
	return &comparer{reader: reader, writer: writer, first: first, ttl: ttl, now: time.Now,
		counts: map[features.Version]*replayCounts{}, compared: map[chunkName][]online.Comparison{}, suspects: map[features.VectorKey][]features.Version{}}
}

// Name implements [batch.Sink].
func (c *comparer) Name() string { return "redis" }

// Takes implements [batch.Selective]: vectors, and nothing else.
func (c *comparer) Takes(out *batch.Output) bool {
	return len(out.Vectors) > 0 && !out.Version.Less(c.first)
}

// Publish compares, and with a writer upserts. Divergent vectors, and keys that hold something else, do not stop a replay: all of them are to be found.
func (c *comparer) Publish(ctx context.Context, out *batch.Output) (batch.Outcome, error) {
	found, err := c.compare(ctx, out)
	if err != nil {
		return batch.Outcome{}, err
	}
	var outcome batch.Outcome
	written := make([]bool, len(found))
	if c.writer != nil {
		if outcome, err = c.write(ctx, out, found, written); err != nil {
			return batch.Outcome{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.compared, chunkOf(out))
	n := c.of(out.Version)
	n.Vectors += int64(len(out.Vectors))
	n.Refused += int64(outcome.Refused)
	gone := !c.now().Before(time.UnixMicro(out.Clock).Add(c.ttl)) // a tombstone of then has expired
	for i := range out.Vectors {
		c.tally(n, &out.Vectors[i], found[i], written[i], gone)
	}
	return batch.Outcome{}, nil
}

// write upserts, and says of each vector that was missing whether the store has it now. The outcome does not tell: an attempt that failed, and was made again, may have written what the last one found equal.
// Keys that turn out to be somebody else's are divergent.
func (c *comparer) write(ctx context.Context, out *batch.Output, found []online.Comparison, written []bool) (batch.Outcome, error) {
	outcome, err := c.writer.Publish(ctx, out)
	foreign, others := errors.AsType[*online.ForeignError](err)
	if err != nil && !others {
		return batch.Outcome{}, err
	}
	theirs := map[features.VectorKey]bool{}
	if others {
		for _, k := range foreign.Vectors {
			theirs[k] = true
		}
	}
	missing := 0
	for i, v := range out.Vectors {
		if theirs[features.VectorKey{View: v.View.Name, Entity: v.Entity}] && found[i].Verdict != online.Divergent {
			found[i] = online.Comparison{Verdict: online.Divergent, Detail: "something that is no vector"}
		}
		if found[i].Verdict == online.Missing {
			missing++
		}
	}
	var now []online.Comparison // nil where the outcome does tell
	if outcome.Written != missing {
		if now, err = c.reader.Compare(ctx, out.Vectors); err != nil {
			return batch.Outcome{}, err
		}
	}
	for i, f := range found {
		written[i] = f.Verdict == online.Missing && (now == nil || now[i].Verdict == online.Equal || now[i].Verdict == online.Stale)
	}
	return outcome, nil
}

func chunkOf(out *batch.Output) chunkName {
	return chunkName{out.Version, out.Vectors[0].View.Name, out.Vectors[0].Entity}
}

// compare returns what the store held before anything of out was written.
func (c *comparer) compare(ctx context.Context, out *batch.Output) ([]online.Comparison, error) {
	name := chunkOf(out)
	c.mu.Lock()
	found := c.compared[name]
	c.mu.Unlock()
	if found != nil {
		return found, nil
	}
	found, err := c.reader.Compare(ctx, out.Vectors)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.compared[name] = found
	return found, nil
}

// of returns the counts of a plan. c.mu is held.
func (c *comparer) of(v features.Version) *replayCounts {
	n := c.counts[v]
	if n == nil {
		n = &replayCounts{}
		c.counts[v] = n
	}
	return n
}

// tally counts one vector. A vector that is not there at all, of a plan that is older than tombstones live, may have been followed by a tombstone that has expired: it is a loss only if the plans to come do not make that. One that is written now was missing before. c.mu is held.
func (c *comparer) tally(n *replayCounts, v *features.Vector, found online.Comparison, written, gone bool) {
	key := features.VectorKey{View: v.View.Name, Entity: v.Entity}
	switch found.Verdict {
	case online.Equal:
		n.Equal++
	case online.Stale:
		n.Stale++
	case online.Divergent:
		n.Divergent++
		c.find("divergent", v, found.Detail)
	case online.Missing:
		switch {
		case written:
			n.Written++
		case found.Absent && gone && v.Tombstone:
			n.Expired++
			c.clear(key)
			return
		case found.Absent && gone:
			c.suspects[key] = append(c.suspects[key], v.Version)
		}
		n.Missing++
		stored := "nothing"
		if !found.Absent {
			stored = "version " + versionText(found.Stored)
		}
		c.find("missing", v, stored)
	}
}

// find names a vector, where there is room: one that is divergent takes that of one that is missing. c.mu is held.
func (c *comparer) find(verdict string, v *features.Vector, stored string) {
	if len(c.findings) == mostFindings && verdict == "divergent" {
		if i := slices.IndexFunc(c.findings, func(f replayFinding) bool { return f.Verdict == "missing" }); i >= 0 {
			c.findings = slices.Delete(c.findings, i, i+1)
		}
	}
	if len(c.findings) < mostFindings {
		c.findings = append(c.findings, replayFinding{verdict, v.View.Name, v.Entity, v.Version.Generation, v.Version.Sequence, stored})
	}
}

// clear takes back that earlier vectors of a key are missing: a tombstone has followed them, and expired.
func (c *comparer) clear(key features.VectorKey) {
	for _, v := range c.suspects[key] {
		n := c.of(v)
		n.Missing--
		n.Expired++
	}
	if c.suspects[key] != nil {
		delete(c.suspects, key)
		c.findings = slices.DeleteFunc(c.findings, func(f replayFinding) bool {
			return f.Verdict == "missing" && f.View == key.View && f.Entity == key.Entity
		})
	}
}

// replayReport is what a replay prints.
type replayReport struct {
	rows     []replayRow
	findings []replayFinding
	before   int    // plans that were executed to get to the first row, and not compared
	opening  string // of a generation among the rows; "" for none
	wrote    bool
	cut      bool // the replay failed after these rows
}

// report puts the counts beside the plans that were executed. ran are they, in order.
func (c *comparer) report(ran []replayRow) *replayReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &replayReport{findings: c.findings, wrote: c.writer != nil}
	for _, row := range ran {
		v := features.Version{Generation: row.Generation, Sequence: row.Sequence}
		if v.Less(c.first) {
			r.before++
			continue
		}
		if n := c.counts[v]; n != nil {
			records := row.Records
			row.replayCounts = *n
			row.Records = records
		}
		r.rows = append(r.rows, row)
	}
	return r
}

// total is the rows' sum.
func (r *replayReport) total() (sum replayCounts) {
	for _, row := range r.rows {
		sum.add(row.replayCounts)
	}
	return sum
}

// verdict is an error where the store does not hold what the plans make.
func (r *replayReport) verdict() error {
	t := r.total()
	lost := t.Missing - t.Written
	switch {
	case t.Divergent > 0 && lost > 0:
		return fmt.Errorf("%d vectors are divergent and %d missing", t.Divergent, lost)
	case t.Divergent > 0:
		return fmt.Errorf("%d vectors are divergent: the store has their versions with other bytes, or something that is no vector of this task under their keys", t.Divergent)
	case lost > 0 && r.wrote && t.Refused == 0:
		return fmt.Errorf("%d vectors are missing, although they were written: somebody takes them away again", lost)
	case lost > 0 && r.wrote:
		return fmt.Errorf("%d vectors are missing: their plans are older than tombstones live, so that Redis refused them; highwater republish writes them from the state", lost)
	case lost > 0:
		return fmt.Errorf("%d vectors are missing; highwater republish writes again what the state knows, and so does this with --write", lost)
	}
	return nil
}

// printJSON prints one line a plan, and a last one for all of them.
func (r *replayReport) printJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	for _, row := range r.rows {
		if err := e.Encode(row); err != nil {
			return err
		}
	}
	total := struct {
		Plans  int `json:"plans"`
		Before int `json:"plans_before"` // executed to get there, and not compared
		replayCounts
		OK       bool            `json:"ok"`
		Findings []replayFinding `json:"findings"` // the first of them
	}{len(r.rows), r.before, r.total(), !r.cut && r.verdict() == nil, append([]replayFinding{}, r.findings...)}
	return e.Encode(map[string]any{"total": total})
}

// print prints a table.
func (r *replayReport) print(out io.Writer) error {
	if r.before > 0 {
		fmt.Fprintf(out, "%d plans were executed to get there, and not compared\n", r.before)
	}
	if r.opening != "" {
		fmt.Fprintln(out, r.opening)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	head := "PLAN\tCLOCK\tRECORDS\tVECTORS\tEQUAL\tSTALE\tMISSING\tDIVERGENT\tEXPIRED\t"
	if r.wrote {
		head += "WRITTEN\tREFUSED\t"
	}
	fmt.Fprintln(w, head)
	line := func(plan, clock string, c replayCounts) {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t", plan, clock, c.Records, c.Vectors, c.Equal, c.Stale, c.Missing, c.Divergent, c.Expired)
		if r.wrote {
			fmt.Fprintf(w, "%d\t%d\t", c.Written, c.Refused)
		}
		fmt.Fprintln(w)
	}
	for _, row := range r.rows {
		line(versionText(features.Version{Generation: row.Generation, Sequence: row.Sequence}), row.Clock, row.replayCounts)
	}
	line("in all", strconv.Itoa(len(r.rows))+" plans", r.total())
	if err := w.Flush(); err != nil {
		return err
	}
	for _, f := range r.findings {
		fmt.Fprintf(out, "%s: %s %q, which plan %d/%d makes; the store has %s\n", f.Verdict, f.View, f.Entity, f.Generation, f.Sequence, f.Stored)
	}
	if t := r.total(); t.Missing+t.Divergent > int64(len(r.findings)) {
		fmt.Fprintf(out, "and %d more\n", t.Missing+t.Divergent-int64(len(r.findings)))
	}
	return nil
}
