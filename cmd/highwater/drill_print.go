package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// roundResult is what a round shows.
type roundResult struct {
	Round       int          `json:"round"`
	Seed        uint64       `json:"seed"`
	Kills       int          `json:"kills"`
	Stopped     int          `json:"stopped"`         // by a fault that ends a worker as a broken disk would
	CutOff      int          `json:"cut_off"`         // of these, because Kafka had lost the ends of its logs
	Faults      int          `json:"faults"`          // all others
	Losses      int          `json:"losses"`          // of Redis
	Strays      int64        `json:"strays"`          // calls to Redis that came once more
	StraysLeft  int64        `json:"strays_left_out"` // that did not, as there is no room to keep them all
	Batches     int64        `json:"batches"`
	Values      int64        `json:"values"`  // held against those of a run left alone
	Vectors     int64        `json:"vectors"` // held, byte for byte, against a clean execution of the plans
	State       int64        `json:"state"`   // entries of the state, likewise
	Differences int64        `json:"differences"`
	First       []difference `json:"first_differences,omitempty"`
	StepsBack   int64        `json:"steps_back"`
	StepsLost   int64        `json:"steps_back_by_losses"` // that a loss of Redis explains
	Steps       []stepBack   `json:"first_steps_back,omitempty"`
	Polls       int64        `json:"polls"` // of the reader
	Seen        int64        `json:"seen"`  // vectors that it has read
	Reads       []readCount  `json:"reads"` // both, by the ways in which it reads
	Seconds     float64      `json:"seconds"`
	Error       string       `json:"error,omitempty"` // why it could not be brought to its end, or not be compared
}

// differs reports whether something was seen that is not as promised.
func (r roundResult) differs() bool { return r.Differences > 0 || r.StepsBack > 0 }

// sound reports whether everything was as promised, and all of it was looked at.
func (r roundResult) sound() bool { return r.Error == "" && !r.differs() }

// drillReport prints a drill: a line a round as it ends, and the verdict; or, as JSON, all of it at the end.
type drillReport struct {
	d      *drill
	out    io.Writer
	rounds []roundResult
}

func newDrillReport(d *drill) *drillReport { return &drillReport{d: d, out: d.out} }

// columns are the table's: a header, and the width of what stands below it.
var columns = []struct {
	name  string
	width int
}{{"round", 5}, {"seed", 10}, {"kills", 5}, {"stops", 5}, {"faults", 6}, {"losses", 6}, {"batches", 7}, {"values", 9}, {"bytes of", 9}, {"differences", 11}, {"steps back", 10}, {"by losses", 9}, {"seconds", 7}}

func (p *drillReport) head() {
	if p.d.JSON {
		return
	}
	p.d.aside(func() {
		fmt.Fprintf(p.out, "drill of %s: %d events, %d vectors, seed %d\n\n", p.d.name, p.d.records, len(p.d.alone.values), *p.d.Seed)
		cells := make([]any, len(columns))
		for i, c := range columns {
			cells[i] = c.name
		}
		p.line(cells...)
	})
}

func (p *drillReport) line(cells ...any) {
	var b strings.Builder
	for i, c := range columns {
		fmt.Fprintf(&b, "%*v  ", c.width, cells[i])
	}
	fmt.Fprintln(p.out, strings.TrimRight(b.String(), " "))
}

// add takes a round's result.
func (p *drillReport) add(r roundResult) {
	p.rounds = append(p.rounds, r)
	if p.d.JSON {
		return
	}
	p.d.aside(func() {
		p.line(r.Round, r.Seed, r.Kills, r.Stopped, r.Faults, r.Losses, r.Batches, r.Values, r.Vectors+r.State, r.Differences, r.StepsBack, r.StepsLost, fmt.Sprintf("%.1f", r.Seconds))
		for _, one := range r.First {
			fmt.Fprintf(p.out, "      %s\n", one)
		}
		for _, one := range r.Steps {
			fmt.Fprintf(p.out, "      %s\n", one)
		}
		if r.Error != "" {
			fmt.Fprintf(p.out, "      this round was not brought to its end: %s\n", strings.ReplaceAll(r.Error, "\n", "\n      "))
		}
		if !r.sound() {
			fmt.Fprintf(p.out, "      again: %s\n      what it has left: %s, and -clean beside it\n", p.d.repeat(r.Seed), p.d.roundDir(r.Round-1))
		}
	})
}

// aside has do print while the bar, where there is one, is out of the way.
func (d *drill) aside(do func()) {
	if d.bar != nil {
		_ = d.bar.Clear()
	}
	do()
}

// total adds the rounds up.
func (p *drillReport) total() (t roundResult) {
	for _, r := range p.rounds {
		t.Kills, t.Stopped, t.Faults, t.Losses, t.Strays = t.Kills+r.Kills, t.Stopped+r.Stopped, t.Faults+r.Faults, t.Losses+r.Losses, t.Strays+r.Strays
		t.Batches, t.Values, t.Vectors, t.State = t.Batches+r.Batches, t.Values+r.Values, t.Vectors+r.Vectors, t.State+r.State
		t.StraysLeft += r.StraysLeft
		t.Differences, t.StepsBack, t.StepsLost = t.Differences+r.Differences, t.StepsBack+r.StepsBack, t.StepsLost+r.StepsLost
		t.Polls, t.Seen, t.Seconds = t.Polls+r.Polls, t.Seen+r.Seen, t.Seconds+r.Seconds
	}
	return t
}

// The verdicts of a drill, as a word. Where differences were found they are the verdict, whatever else went wrong.
const (
	drillEqual       = "equal"       // every round was brought to its end, and everything was as promised
	drillDifferent   = "different"   // something was not
	drillFailed      = "failed"      // a round could not be brought to its end, or not be compared
	drillInterrupted = "interrupted" // somebody stopped the drill
)

// word returns the verdict. cut is why the drill has ended before its time; nil where it has not.
func (p *drillReport) word(cut error) string {
	switch {
	case p.total().differs():
		return drillDifferent
	case errors.Is(cut, errInterrupted):
		return drillInterrupted
	case cut != nil:
		return drillFailed
	}
	return drillEqual
}

// verdict prints what all rounds show together. It returns errDiffers where something was not as promised, and with it cut, which is why the drill has ended before its time, nil where it has not: such a drill proves nothing.
func (p *drillReport) verdict(cut error) error {
	word, err := p.word(cut), cut
	if word == drillDifferent {
		err = errors.Join(errDiffers, cut)
	}
	if !p.d.JSON {
		p.d.aside(func() { p.print(word) })
		return err
	}
	type document struct {
		Project     string        `json:"project"`
		Seed        uint64        `json:"seed"`
		Events      int64         `json:"events"`
		Rounds      []roundResult `json:"rounds"` // the last of them may be one that was not brought to its end
		Kills       int           `json:"kills"`
		Values      int64         `json:"values"`
		Differences int64         `json:"differences"`
		StepsBack   int64         `json:"steps_back"`
		Verdict     string        `json:"verdict"`         // equal, different, failed, interrupted
		Error       string        `json:"error,omitempty"` // why it has ended before its time
		Seconds     float64       `json:"seconds"`
	}
	t := p.total()
	doc := document{Project: p.d.name, Seed: *p.d.Seed, Events: p.d.records, Rounds: append([]roundResult{}, p.rounds...), Kills: t.Kills, Values: t.Values, Differences: t.Differences, StepsBack: t.StepsBack, Verdict: word, Seconds: t.Seconds}
	if cut != nil {
		doc.Error = cut.Error()
	}
	return errors.Join(err, json.NewEncoder(p.out).Encode(doc))
}

// print prints what all rounds show together, for people. Only rounds that were compared are spoken of.
func (p *drillReport) print(word string) {
	t, whole, leftOut := p.total(), 0, ""
	if t.StraysLeft > 0 {
		leftOut = fmt.Sprintf(" (%s more were not kept for that: they are beyond the first %d MiB of a round)", grouped(t.StraysLeft), mostKept>>20)
	}
	for _, r := range p.rounds {
		if r.Error == "" {
			whole++
		}
	}
	fmt.Fprintf(p.out, "\n%d of %d rounds brought to their end, in %.0f s: %s batches, %d kills, %d stops and %d other faults, %d losses of Redis, %s stray calls%s.\n", whole, p.d.Rounds, t.Seconds, grouped(t.Batches), t.Kills, t.Stopped, t.Faults, t.Losses, grouped(t.Strays), leftOut)
	if whole > 0 || t.differs() {
		fmt.Fprintf(p.out, "%s values held against a run left alone, %s vectors and %s entries of state, byte for byte, against a clean execution of the recorded plans: %d differences.\n", grouped(t.Values), grouped(t.Vectors), grouped(t.State), t.Differences)
		fmt.Fprintf(p.out, "%s vectors read meanwhile, in %s polls: %d steps back", grouped(t.Seen), grouped(t.Polls), t.StepsBack)
		if t.StepsLost > 0 {
			fmt.Fprintf(p.out, ", and %s that Redis itself took, where it lost what it had confirmed", grouped(t.StepsLost))
		}
		fmt.Fprintln(p.out, ".")
	}
	switch word {
	case drillFailed:
		fmt.Fprintln(p.out, "The drill has failed: a round could not be brought to its end, so that nothing is proved.")
	case drillInterrupted:
		fmt.Fprintln(p.out, "The drill was stopped before its time, so that nothing is proved.")
	}
}
