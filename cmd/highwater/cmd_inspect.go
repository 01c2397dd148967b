package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

type inspectCommand struct {
	DataDir     string `help:"Data directory of the task." type:"path" required:""`
	Definitions string `help:"Definitions file; needed only where no worker runs." type:"path"`
	Plans       int    `help:"How many of the newest plans to show." default:"5" deployment:"-"`
	Entity      string `help:"One entity's tiles, as VIEW/KEY; several keys parted by /." placeholder:"VIEW/KEY" deployment:"-"`
	JSON        bool   `name:"json" help:"Print JSON." deployment:"-"`
}

func (c *inspectCommand) Help() string {
	return `Asks the worker that owns the directory, and opens it only when none runs.

Examples:
  highwater inspect --data-dir /var/lib/highwater
  highwater inspect --data-dir /var/lib/highwater --entity segment_activity/9e45ef67`
}

// inspectQuery is what is asked for.
type inspectQuery struct {
	plans  int
	entity string
}

func (q inspectQuery) values() url.Values {
	return url.Values{"plans": {strconv.Itoa(q.plans)}, "entity": {q.entity}}
}

func queryOf(v url.Values) inspectQuery {
	plans, _ := strconv.Atoi(v.Get("plans")) // what is no number shows no plans
	return inspectQuery{plans: plans, entity: v.Get("entity")}
}

// inspection is what a state directory says of itself. Times are RFC 3339; null where there is none yet.
type inspection struct {
	Log       string            `json:"plan_log"`
	Position  inspectedPosition `json:"position"`
	Timers    map[string]string `json:"next_timers"`
	Pending   int               `json:"pending_plans"`
	Plans     []inspectedPlan   `json:"plans"`
	Entity    *inspectedEntity  `json:"entity,omitempty"`
	DiskBytes uint64            `json:"disk_bytes"`
}

type inspectedPosition struct {
	Generation uint32               `json:"generation"`
	Sequence   uint64               `json:"sequence"`
	Frontier   string               `json:"frontier"`
	Watermark  string               `json:"watermark"`
	Clock      string               `json:"clock"`
	Counters   batch.Counters       `json:"counters"`
	Partitions []inspectedPartition `json:"partitions"`
}

type inspectedPartition struct {
	Source    string `json:"source"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Next      int64  `json:"next"`
	EventTime string `json:"newest_event"`
}

type inspectedPlan struct {
	Generation uint32   `json:"generation"`
	Sequence   uint64   `json:"sequence"`
	Committed  bool     `json:"committed"`
	Clock      string   `json:"clock"`
	Offsets    int64    `json:"offsets"`
	CaughtUp   bool     `json:"caught_up"`
	Final      bool     `json:"final,omitempty"`
	Slices     []string `json:"slices"`
}

type inspectedEntity struct {
	View      string         `json:"feature_view"`
	Entity    string         `json:"entity"`
	Published string         `json:"published_version"`
	Tombstone bool           `json:"tombstone"`
	EventTime string         `json:"newest_event"`
	Timers    []string       `json:"timers"`
	Features  []windows.Part `json:"features"`
}

// Run shows a task's state.
func (c *inspectCommand) Run(ctx context.Context, s streams) error {
	q := inspectQuery{plans: c.Plans, entity: c.Entity}
	var in inspection
	running, err := askWorker(ctx, c.DataDir, http.MethodGet, "/inspect", q.values(), &in)
	if err == nil && !running {
		in, err = c.open(q, s)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		return e.Encode(in)
	}
	return in.print(s)
}

// open reads the directory itself.
func (c *inspectCommand) open(q inspectQuery, s streams) (in inspection, err error) {
	if c.Definitions == "" {
		return in, usagef("no worker runs on %s: give its --definitions, to open the directory", c.DataDir)
	}
	p, err := features.Load(c.Definitions)
	if err != nil {
		return in, err
	}
	store, err := state.Open(filepath.Join(c.DataDir, "state"), p, state.Options{ReadOnly: true, Log: s.log, Owner: "highwater inspect"})
	if err != nil {
		return in, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return inspect(store, q)
}

// inspect reads what q asks for; it disturbs nothing and may run beside the task.
func inspect(store *state.Store, q inspectQuery) (inspection, error) {
	ctx := context.Background()
	p, _ := store.Position()
	in := inspection{Log: store.Plans().ID(), Timers: map[string]string{}, DiskBytes: uint64(store.Metrics().DiskBytes), Position: positionOf(p)}
	for clock, name := range []string{"frontier", "watermark", "reading"} {
		next, err := store.FirstTimer(batch.TimerClock(clock))
		if err != nil {
			return in, err
		}
		if next != windows.Never {
			in.Timers[name] = timeText(next)
		}
	}
	first := features.Version{Generation: p.Version.Generation}
	if p.Version.Sequence > uint64(q.plans) {
		first.Sequence = p.Version.Sequence - uint64(q.plans)
	}
	plans, err := store.Plans().After(ctx, first)
	if err != nil {
		return in, err
	}
	for _, plan := range plans {
		in.Plans = append(in.Plans, planOf(plan, p.Version))
		if p.Version.Less(plan.Version) {
			in.Pending++
		}
	}
	if q.entity != "" {
		in.Entity, err = entityOf(store, q.entity)
	}
	return in, err
}

func positionOf(p batch.Position) inspectedPosition {
	out := inspectedPosition{Generation: p.Version.Generation, Sequence: p.Version.Sequence, Frontier: timeText(p.Frontier), Watermark: timeText(p.Watermark), Clock: timeText(p.Clock), Counters: p.Counters}
	for _, pp := range p.Partitions {
		out.Partitions = append(out.Partitions, inspectedPartition{Source: pp.Partition.Source, Topic: pp.Partition.Topic, Partition: pp.Partition.Number, Next: pp.Next, EventTime: timeText(pp.EventTime)})
	}
	return out
}

func planOf(p *batch.Plan, committed features.Version) inspectedPlan {
	out := inspectedPlan{Generation: p.Version.Generation, Sequence: p.Version.Sequence, Committed: !committed.Less(p.Version), Clock: timeText(p.Clock), Offsets: p.Offsets(), CaughtUp: p.CaughtUp(), Final: p.Final}
	for _, s := range p.Slices {
		out.Slices = append(out.Slices, fmt.Sprintf("%s [%d, %d)", s.Partition, s.Start, s.End))
	}
	return out
}

// timeText is a time for people: "none" before the first event, or where nothing is to come.
func timeText(us int64) string {
	if us == windows.NoTime || us == windows.Never || us == 0 {
		return "none"
	}
	return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000Z")
}

// print shows an inspection as tables.
func (in inspection) print(s streams) error {
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	p := in.Position
	fmt.Fprintf(w, "plan log\t%s\nposition\tgeneration %d, sequence %d\nfrontier\t%s\nwatermark\t%s\n", in.Log, p.Generation, p.Sequence, p.Frontier, p.Watermark)
	fmt.Fprintf(w, "events\t%d (late %d, dead letters %d)\nvectors\t%d in %d batches\non disk\t%.1f MiB\n", p.Counters.Events, p.Counters.Late, p.Counters.DeadLetter, p.Counters.VectorsWritten, p.Counters.Batches, float64(in.DiskBytes)/(1<<20))
	for _, clock := range slices.Sorted(maps.Keys(in.Timers)) {
		fmt.Fprintf(w, "next timer by %s\t%s\n", clock, in.Timers[clock])
	}
	fmt.Fprintf(w, "\nTOPIC\tPARTITION\tNEXT OFFSET\tNEWEST EVENT\n")
	for _, pp := range p.Partitions {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", pp.Topic, pp.Partition, pp.Next, pp.EventTime)
	}
	fmt.Fprintf(w, "\nSEQUENCE\tSTATE\tCLOCK\tOFFSETS\tSLICES\n")
	for _, plan := range in.Plans {
		state := "pending"
		if plan.Committed {
			state = "committed"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\n", plan.Sequence, state, plan.Clock, plan.Offsets, plan.Slices)
	}
	if in.Entity != nil {
		in.Entity.print(w)
	}
	return w.Flush()
}
