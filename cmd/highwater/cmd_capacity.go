package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"highwater/batch/capacity"
	"highwater/batch/decode"
	"highwater/features"
)

type capacityCommand struct {
	redisFlags
	Rate            eventRate      `help:"Events a second at the peak: 200000, 200k, 1.5M." placeholder:"N"`
	Interval        *time.Duration `help:"From one batch to the next; the definitions' interval if not given, 5s without definitions." placeholder:"DURATION"`
	Target          batchTarget    `help:"What processing one batch may take: a duration, or a part of the interval." default:"50%" placeholder:"DURATION|PERCENT"`
	WorkerSpeed     eventRate      `help:"Events a second that one worker processes while it is busy." placeholder:"N"`
	Headroom        headroom       `help:"What to keep free on top: a percentage, or a range of two." default:"30%..50%" placeholder:"LOW..HIGH"`
	Measure         bool           `help:"Take the worker's speed from a run of the definitions on the events, here and now."`
	Definitions     string         `help:"Definitions file." type:"path" placeholder:"FILE"`
	Events          []string       `help:"Events to measure with, as [SOURCE=]FILE with .csv or .jsonl, also .gz; repeatable." placeholder:"[SOURCE=]FILE" sep:"none"`
	Example         string         `help:"Measure with a shipped example, without --definitions: ads, logs or surge." enum:",ads,logs,surge" default:"" placeholder:"NAME"`
	MeasureFor      time.Duration  `help:"How long the part of the run that counts is to take, about." default:"10s"`
	BatchMaxRecords int64          `help:"Records a batch while measuring; what a batch would hold if not given." placeholder:"N"`
	DataDir         string         `help:"Measure with the state in a new directory below this one, which is removed again: name the disk that the worker will use. The system's temporary directory if not given." type:"path" placeholder:"DIR"`
	CacheSize       byteSize       `help:"Memory for decoded hot state while measuring." default:"128MiB"`
	JSON            bool           `name:"json" help:"Print one line of JSON."`
}

func (c *capacityCommand) Help() string {
	return `How many workers a load needs, with every step shown. The formula, its assumptions and worked examples are in docs/capacity.md.

--measure runs a worker on a sample of your events: the embedded Kafka, Pebble in a temporary directory, and the embedded Redis, which is slow, or your own (--redis; what is written there goes under
a project name of its own, and is removed). Give at least as many events as a batch holds, in the order of their time.

Examples:
  highwater capacity --rate 200k --interval 5s --worker-speed 50k
  highwater capacity --rate 50k --interval 3s --worker-speed 15k --headroom 40%
  highwater capacity --rate 200k --interval 5s --worker-speed 50k --target 1s
  highwater capacity --rate 20k --measure --definitions my.yaml --events clicks.csv.gz --redis 127.0.0.1:6379
  highwater capacity --measure --example ads`
}

// Run answers from a given speed, or measures it first.
func (c *capacityCommand) Run(ctx context.Context, s streams) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	project, events, err := c.input()
	if err != nil {
		return err
	}
	defer func() {
		for _, e := range events {
			err = errors.Join(err, e.Close())
		}
	}()
	question := c.question(project)
	if !c.Measure {
		return c.answer(s.out, question, nil)
	}
	measured, err := c.measure(ctx, s, project, events, question)
	if measured == nil {
		return err
	}
	question.Speed = measured.Speed
	return errors.Join(c.answer(s.out, question, measured), err)
}

// answer prints what the question needs.
func (c *capacityCommand) answer(w io.Writer, q capacity.Question, measured *measurement) error {
	a, err := capacity.Size(q)
	if err != nil {
		return usageError{err}
	}
	r := capacityReport{answer: a, target: c.Target, rated: c.Rate > 0, measured: measured}
	if c.JSON {
		return json.NewEncoder(w).Encode(r.document())
	}
	return r.print(w)
}

// measure takes the worker's speed from a run. What else is wrong with the question is told before it, not after.
func (c *capacityCommand) measure(ctx context.Context, s streams, p *features.Project, events map[*features.Source]*decode.Events, q capacity.Question) (*measurement, error) {
	q.Speed = 1
	if err := q.Check(); err != nil {
		return nil, usageError{err}
	}
	pace := int64(1000)
	if c.Rate > 0 {
		pace = int64(c.Rate)
	}
	sample, err := readSample(p, events, pace)
	if err != nil {
		return nil, err
	}
	return measureSpeed(ctx, s, c, p, q.Target, sample)
}

// check holds the flags against each other; every mistake at once.
func (c *capacityCommand) check() error {
	var mistakes []error
	wrong := func(when bool, format string) {
		if when {
			mistakes = append(mistakes, errors.New(format))
		}
	}
	wrong(c.Measure && c.WorkerSpeed > 0, "--measure and --worker-speed are two answers to one question: give one of them")
	wrong(!c.Measure && c.WorkerSpeed == 0, "how fast one worker is decides everything: give --worker-speed, or --measure it")
	wrong(!c.Measure && c.Rate == 0, "--rate is required: events a second at the peak")
	wrong(!c.Measure && (len(c.Events) > 0 || c.Example != ""), "--events and --example are what --measure measures with: add --measure, or leave them out")
	wrong(c.Measure && c.Definitions == "" && c.Example == "", "--measure needs --definitions and --events, or --example")
	wrong(c.Measure && c.Definitions != "" && len(c.Events) == 0, "--measure needs events: give --events [SOURCE=]FILE")
	wrong(c.Example != "" && (c.Definitions != "" || len(c.Events) > 0), "--example brings its own definitions and events: leave out --definitions and --events, or --example")
	wrong(c.MeasureFor <= 0 || c.MeasureFor > time.Hour, "--measure-for: give a duration up to 1h, such as 10s")
	wrong(c.BatchMaxRecords < 0, "--batch-max-records: give a positive number of records")
	if len(mistakes) == 0 {
		return nil
	}
	return usageError{errors.Join(mistakes...)}
}

// input returns the definitions, nil where none were given, and, to measure with, the events.
func (c *capacityCommand) input() (*features.Project, map[*features.Source]*decode.Events, error) {
	switch {
	case c.Measure:
		return (&devCommand{Definitions: c.Definitions, Events: c.Events, Example: c.Example}).project()
	case c.Definitions != "":
		p, err := features.Load(c.Definitions)
		return p, nil, err
	}
	return nil, nil, nil
}

// question is what was asked, as far as it is known before a measurement. Without a rate it is asked for one event a second, and its answer not shown.
func (c *capacityCommand) question(p *features.Project) capacity.Question {
	q := capacity.Question{Rate: max(1, int64(c.Rate)), Speed: int64(c.WorkerSpeed), Interval: 5 * time.Second, Headroom: capacity.Headroom(c.Headroom)}
	switch {
	case c.Interval != nil:
		q.Interval = *c.Interval
	case p != nil:
		q.Interval = p.Batch.Interval
	}
	q.Target = c.Target.of(q.Interval)
	return q
}
