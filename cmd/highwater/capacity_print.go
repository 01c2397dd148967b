package main

import (
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"highwater/batch/capacity"
)

// capacityReport is an answer, and how it came about.
type capacityReport struct {
	answer   capacity.Answer
	target   batchTarget
	rated    bool         // a rate was given; else only what one worker can do is told
	measured *measurement // nil where the speed was given
}

// print writes the report for people.
func (r *capacityReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if r.measured != nil {
		r.printMeasurement(t)
	}
	if r.rated && r.measured != nil {
		fmt.Fprintln(t)
	}
	if r.rated {
		r.printSteps(t)
		fmt.Fprintf(t, "\n%s\n", r.thumb())
	}
	fmt.Fprintf(t, "\n%s\n", r.oneWorker())
	return t.Flush()
}

func (r *capacityReport) printSteps(t io.Writer) {
	a := &r.answer
	speed := "given (--worker-speed)"
	if m := r.measured; m != nil {
		speed = "measured, the median round"
	}
	target := "given (--target)"
	if r.target.part > 0 {
		target = fmt.Sprintf("%s of the interval", r.target.part)
	}
	fmt.Fprintf(t, "step\tarithmetic\tresult\n")
	step := func(name, how, result string) { fmt.Fprintf(t, "%s\t%s\t%s\n", name, how, result) }
	step("events a batch", fmt.Sprintf("%s/s × %s", grouped(a.Rate), a.Interval), ratText(a.Batch))
	step("target: time to process a batch", target, a.Target.String())
	step("speed of one worker", speed, grouped(a.Speed)+"/s")
	step("events a worker processes in the target", fmt.Sprintf("%s/s × %s", grouped(a.Speed), a.Target), ratText(a.Share))
	step("workers to meet the target", fmt.Sprintf("%s ÷ %s = %s", ratText(a.Batch), ratText(a.Share), ratText(a.Bare.Exact)), grouped(a.Bare.Count))
	step("with "+a.Low.Headroom.String()+" headroom", headroomText(a, a.Low), grouped(a.Low.Count))
	if a.High.Headroom != a.Low.Headroom {
		step("with "+a.High.Headroom.String()+" headroom", headroomText(a, a.High), grouped(a.High.Count))
	}
	step("workers", "rounded up once, with the headroom on it", workersText(a))
}

func headroomText(a *capacity.Answer, w capacity.Workers) string {
	factor := new(big.Rat).Add(big.NewRat(1, 1), big.NewRat(int64(w.Headroom), 100_00))
	return fmt.Sprintf("%s × %s = %s", ratText(a.Bare.Exact), ratText(factor), ratText(w.Exact))
}

// workersText is the range with headroom.
func workersText(a *capacity.Answer) string {
	if a.Low.Count == a.High.Count {
		return grouped(a.Low.Count)
	}
	return grouped(a.Low.Count) + " to " + grouped(a.High.Count)
}

// thumb is what a widely read rule says instead, and why.
func (r *capacityReport) thumb() string {
	a := &r.answer
	if a.Target == time.Second {
		return "A target of one second is also what a widely read rule of thumb assumes, which divides a batch's events by a worker's events a second, whatever the interval."
	}
	t := capacity.RuleOfThumb(a.Question)
	text := fmt.Sprintf("A widely read rule of thumb divides a batch's events by a worker's events a second: %s ÷ %s = %s, so %s (%s with headroom).\nThat allows one second for a batch (--target 1s), whatever the interval",
		ratText(t.Batch), grouped(t.Speed), ratText(t.Bare.Exact), plural(t.Bare.Count, "worker"), workersText(&t))
	if a.Interval < time.Second {
		return text + ", and here that is longer than the interval: batches would come faster than they are done."
	}
	return text + "; here it is " + a.Target.String() + "."
}

// oneWorker says what one can do at most, and what more than one means today.
func (r *capacityReport) oneWorker() string {
	q := r.answer.Question
	low, high := q.MostForOne(q.Headroom.Low), q.MostForOne(q.Headroom.High)
	kept := grouped(high)
	if low != high {
		kept += " to " + grouped(low)
	}
	text := fmt.Sprintf("One worker keeps up to %s events/s within %s of every %s, and %s with headroom; above %s events/s it falls behind and never catches up.",
		grouped(q.MostForOne(0)), q.Target, q.Interval, kept, grouped(q.Speed))
	if r.rated && r.answer.High.Count == 1 {
		return text
	}
	return text + "\n" + moreThanOne
}

const moreThanOne = `Highwater runs a project as one task, on one worker. Until a task can be divided, more workers mean more projects, each with its own name, data directory and definitions:
with topics of its own (a worker reads a topic whole), or over the same topics with a part of the views; but then each reads every event, so measure each. See docs/capacity.md.`

// document is the report for programs.
func (r *capacityReport) document() any {
	a := &r.answer
	type workers struct {
		Headroom  float64 `json:"headroom_percent"`
		Unrounded float64 `json:"unrounded"`
		Workers   int64   `json:"workers"`
	}
	type sizing struct {
		Target      float64 `json:"target_seconds"`
		WorkerBatch float64 `json:"events_per_worker"`
		Bare        workers `json:"without_headroom"`
		Low         workers `json:"low"`
		High        workers `json:"high"`
	}
	sizingOf := func(a capacity.Answer) sizing {
		w := func(w capacity.Workers) workers {
			return workers{float64(w.Headroom) / 100, ratFloat(w.Exact), w.Count}
		}
		return sizing{a.Target.Seconds(), ratFloat(a.Share), w(a.Bare), w(a.Low), w(a.High)}
	}
	type load struct {
		Rate  int64   `json:"events_per_second"`
		Batch float64 `json:"events_per_batch"`
		sizing
		Thumb sizing `json:"rule_of_thumb"`
	}
	type most struct {
		Bare int64 `json:"without_headroom"`
		Low  int64 `json:"low"`
		High int64 `json:"high"`
		Ever int64 `json:"never_catches_up_above"`
	}
	doc := struct {
		Interval float64      `json:"interval_seconds"`
		Target   float64      `json:"target_seconds"`
		Speed    int64        `json:"worker_speed"`
		Measured bool         `json:"worker_speed_measured"`
		Load     *load        `json:"load,omitempty"`
		One      most         `json:"one_worker_events_per_second"`
		Run      *measurement `json:"measurement,omitempty"`
		Notes    []string     `json:"notes,omitempty"`
	}{Interval: a.Interval.Seconds(), Target: a.Target.Seconds(), Speed: a.Speed, Measured: r.measured != nil, Run: r.measured,
		One: most{a.MostForOne(0), a.MostForOne(a.Headroom.Low), a.MostForOne(a.Headroom.High), a.Speed}}
	if r.rated {
		doc.Load = &load{a.Rate, ratFloat(a.Batch), sizingOf(*a), sizingOf(capacity.RuleOfThumb(a.Question))}
	}
	if r.measured != nil {
		doc.Notes = r.notes()
	}
	return doc
}

// grouped writes a number in groups of three digits.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is a count with its noun.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(n) + " " + noun + "s"
}

// ratText writes a number to two decimals, or to as many more as show that it is no whole number: what is rounded up must not look whole.
func ratText(r *big.Rat) string {
	const mostDecimals = 12
	for decimals := 2; ; decimals++ {
		whole, fraction, _ := strings.Cut(r.FloatString(decimals), ".")
		fraction = strings.TrimRight(fraction, "0")
		if fraction == "" && !r.IsInt() && decimals < mostDecimals {
			continue
		}
		if n, err := strconv.ParseInt(whole, 10, 64); err == nil {
			whole = grouped(n)
		}
		if fraction == "" {
			return whole
		}
		return whole + "." + fraction
	}
}

func ratFloat(r *big.Rat) float64 {
	f, _ := r.Float64()
	return f
}
