package random

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"highwater/batch"
	"highwater/batch/faults"
	"highwater/features"
	"highwater/windows"
)

// Case is one random test. It is a value that a shrinker may take parts from.
type Case struct {
	Seed       uint64
	Clock      features.Clock
	Interval   time.Duration
	MaxRecords int64
	Sources    []Source
	Views      []View
	Events     []Event // in the order in which they arrive
	Lives      []Life  // one process after the other
}

// Source is a source of a case. All sources have the same fields, see Event.
type Source struct {
	Name        string
	Partitions  int
	Format      features.Format
	Unit        features.Unit // of the field ts; "" where the records' own timestamps count
	MaxLateness time.Duration
}

// View is a feature view of a case.
type View struct {
	Name, Source, Entity, Where string
	TTL                         time.Duration
	Features                    []Feature
}

// Feature is a feature of a view: its name, and its definition as a YAML flow mapping has it.
type Feature struct{ Name, Text string }

// Event is a record of a case's log. A nil field is absent.
type Event struct {
	Source, Partition int
	At                time.Duration // when it arrives, since the start
	Time              int64         // µs: event time
	Stamp             int64         // µs: the record's own timestamp

	User  *string
	Item  *int64
	Kind  *string
	Price *float64
	N     *int64
	OK    *bool

	Bad Bad // what is wrong with the record; "" for nothing
}

// Bad is a way in which a record can be no event: the reason that the engine must give.
type Bad = batch.Reason

// Life is what befalls one process. Those that follow the last of a case are left alone.
type Life struct {
	Faults []faults.Fault
	After  time.Duration // how long nothing runs before it

	// What happens at the nth call that publishes vectors, 0 for never.
	Stop  int // it is told to stop
	Lose  int // the store fails over, and loses some of its vectors
	Stray int // a call from long ago reaches the store once more
}

// MaxFuture and MaxRecordBytes are those of every source.
const (
	MaxFuture      = 2 * time.Minute
	maxRecordBytes = 400
)

// fields are those of every source, ts last where there is one.
const fields = "user: string, item: int64, kind: string, price: double, n: int64, ok: bool"

// Text returns the case's definitions.
func (c Case) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "project: random\nclock: %s\nbatch: {interval: %s, max_records: %d}\nentities:\n", c.Clock, duration(c.Interval), c.MaxRecords)
	b.WriteString("  user: {join_key: user, type: string}\n  item: {join_key: item, type: int64}\n  pair: {join_keys: {user: string, item: int64}}\nsources:\n")
	for _, s := range c.Sources {
		fmt.Fprintf(&b, "  %s:\n    kafka: {topic: %s}\n    format: %s\n", s.Name, s.Name, s.Format)
		stamp := ""
		if s.Unit != "" {
			fmt.Fprintf(&b, "    timestamp: {field: ts, unit: %s}\n", s.Unit)
			stamp = ", ts: " + s.tsKind()
		}
		fmt.Fprintf(&b, "    max_lateness: %s\n    max_future: %s\n    idle_after: 20s\n    max_record_bytes: %d\n    fields: {%s%s}\n", duration(s.MaxLateness), duration(MaxFuture), maxRecordBytes, fields, stamp)
	}
	b.WriteString("feature_views:\n")
	for _, v := range c.Views {
		fmt.Fprintf(&b, "  %s:\n    source: %s\n    entity: %s\n", v.Name, v.Source, v.Entity)
		if v.Where != "" {
			fmt.Fprintf(&b, "    where: %s\n", v.Where)
		}
		if v.TTL > 0 {
			fmt.Fprintf(&b, "    ttl: %s\n", duration(v.TTL))
		}
		b.WriteString("    features:\n")
		for _, f := range v.Features {
			fmt.Fprintf(&b, "      %s: {%s}\n", f.Name, f.Text)
		}
	}
	return b.String()
}

func (s Source) tsKind() string {
	if s.Unit == features.RFC3339 {
		return "string"
	}
	return "int64"
}

// duration writes d as definitions do.
func duration(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// Project parses the case's definitions.
func (c Case) Project() (*features.Project, error) {
	return features.Parse(fmt.Sprintf("seed-%d.yaml", c.Seed), []byte(c.Text()))
}

// Partitions returns the task's partitions, in their order.
func (c Case) Partitions() []batch.Partition {
	var all []batch.Partition
	for _, s := range c.Sources {
		for n := range s.Partitions {
			all = append(all, batch.Partition{Source: s.Name, Topic: s.Name, Number: int32(n)})
		}
	}
	return all
}

// Place returns which of the task's partitions an event is in.
func (c Case) Place(e Event) int {
	place := e.Partition
	for _, s := range c.Sources[:e.Source] {
		place += s.Partitions
	}
	return place
}

// Log returns the events of each of the task's partitions, in the order of their offsets.
func (c Case) Log() [][]Event {
	log := make([][]Event, len(c.Partitions()))
	for _, e := range c.Events {
		log[c.Place(e)] = append(log[c.Place(e)], e)
	}
	return log
}

// Records returns the log as a broker has it.
func (c Case) Records() [][]batch.Record {
	log := c.Log()
	records := make([][]batch.Record, len(log))
	for i, events := range log {
		for offset, e := range events {
			records[i] = append(records[i], batch.Record{Offset: int64(offset), Time: e.Stamp, Value: []byte(e.value(c.Sources[e.Source]))})
		}
	}
	return records
}

// Row returns the values of the declared fields.
func (e Event) Row(s Source) []windows.Value {
	row := make([]windows.Value, 6, 7)
	if e.User != nil {
		row[0] = windows.StringOf(*e.User)
	}
	if e.Item != nil {
		row[1] = windows.IntOf(*e.Item)
	}
	if e.Kind != nil {
		row[2] = windows.StringOf(*e.Kind)
	}
	if e.Price != nil {
		row[3] = windows.DoubleOf(*e.Price)
	}
	if e.N != nil {
		row[4] = windows.IntOf(*e.N)
	}
	if e.OK != nil {
		row[5] = windows.BoolOf(*e.OK)
	}
	switch s.Unit {
	case "":
	case features.RFC3339:
		row = append(row, windows.StringOf(e.ts(s)))
	default:
		n, _ := strconv.ParseInt(e.ts(s), 10, 64)
		row = append(row, windows.IntOf(n))
	}
	return row
}

// ts writes the event's time in its source's unit.
func (e Event) ts(s Source) string {
	switch s.Unit {
	case features.Seconds:
		return strconv.FormatInt(e.Time/1_000_000, 10)
	case features.Milliseconds:
		return strconv.FormatInt(e.Time/1000, 10)
	case features.Nanoseconds:
		return strconv.FormatInt(e.Time*1000, 10)
	case features.RFC3339:
		return time.UnixMicro(e.Time).UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	return strconv.FormatInt(e.Time, 10)
}

// value writes the record's value.
func (e Event) value(s Source) string {
	var cells []string // as JSON, "" for absent
	for _, v := range []any{e.User, e.Item, e.Kind, e.Price, e.N, e.OK} {
		cell, _ := json.Marshal(v)
		if string(cell) == "null" {
			cell = nil
		}
		cells = append(cells, string(cell))
	}
	if s.Unit != "" {
		ts := e.ts(s)
		if s.Unit == features.RFC3339 {
			ts = `"` + ts + `"`
		}
		cells = append(cells, ts)
	}
	if s.Format == features.CSV {
		return e.row(s, cells)
	}
	return e.object(s, cells)
}

func (e Event) object(s Source, cells []string) string {
	names := []string{"user", "item", "kind", "price", "n", "ok", "ts"}
	switch e.Bad {
	case batch.ReasonType:
		cells[1] = `"seven"`
	case batch.ReasonNoTime:
		cells = cells[:6]
	}
	var members []string
	for i, cell := range cells {
		if cell != "" {
			members = append(members, fmt.Sprintf("%q:%s", names[i], cell))
		}
	}
	switch e.Bad {
	case batch.ReasonMalformed:
		members = append(members, "oops")
	case batch.ReasonDuplicate:
		members = append(members, `"kind":"view"`, `"kind":"view"`)
	case batch.ReasonTooLarge:
		members = append(members, `"padding":"`+strings.Repeat("x", maxRecordBytes)+`"`)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (e Event) row(s Source, cells []string) string {
	for i, cell := range cells {
		if strings.HasPrefix(cell, `"`) {
			_ = json.Unmarshal([]byte(cell), &cell)
			cells[i] = `"` + strings.ReplaceAll(cell, `"`, `""`) + `"`
		}
	}
	switch e.Bad {
	case batch.ReasonType:
		cells[1] = "seven"
	case batch.ReasonNoTime:
		cells[6] = ""
	case batch.ReasonMalformed:
		cells = append(cells, "oops")
	case batch.ReasonTooLarge:
		cells[2] = strings.Repeat("x", maxRecordBytes+1)
	}
	return strings.Join(cells, ",")
}

// String shows the case to people: its definitions, its log and its faults.
func (c Case) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\n%s", c.Seed, c.Text())
	fmt.Fprintf(&b, "%d events, in the order in which they arrive:\n", len(c.Events))
	next := make([]int, len(c.Partitions()))
	for _, e := range c.Events {
		place := c.Place(e)
		fmt.Fprintf(&b, "  +%-8v %v offset %d, at %s", e.At, c.Partitions()[place], next[place], stamp(e.Time))
		if e.Stamp != e.Time {
			fmt.Fprintf(&b, ", its own timestamp %s", stamp(e.Stamp))
		}
		if e.Bad != "" {
			fmt.Fprintf(&b, ", bad (%s)", e.Bad)
		}
		value := e.value(c.Sources[e.Source])
		if len(value) > maxRecordBytes {
			value = value[:80] + "…"
		}
		fmt.Fprintf(&b, ": %s\n", value)
		next[place]++
	}
	for i, l := range c.Lives {
		fmt.Fprintf(&b, "process %d: %s\n", i+1, l)
	}
	fmt.Fprintf(&b, "process %d: left alone\n", len(c.Lives)+1)
	return b.String()
}

// String shows a life to people.
func (l Life) String() string {
	var all []string
	if l.After > 0 {
		all = append(all, fmt.Sprintf("begins after %v", l.After))
	}
	for _, f := range l.Faults {
		all = append(all, f.String())
	}
	for _, at := range []struct {
		what string
		nth  int
	}{{"told to stop", l.Stop}, {"the store loses vectors", l.Lose}, {"a stray call comes late", l.Stray}} {
		if at.nth > 0 {
			all = append(all, fmt.Sprintf("%s at publish #%d", at.what, at.nth))
		}
	}
	return strings.Join(append(all, "")[:max(1, len(all))], "; ")
}

func stamp(us int64) string { return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000") }

// Clone returns a case that shares nothing with c that may be changed, but for what its events' fields point to.
func (c Case) Clone() Case {
	c.Sources, c.Views, c.Events, c.Lives = slices.Clone(c.Sources), slices.Clone(c.Views), slices.Clone(c.Events), slices.Clone(c.Lives)
	for i := range c.Views {
		c.Views[i].Features = slices.Clone(c.Views[i].Features)
	}
	for i := range c.Lives {
		c.Lives[i].Faults = slices.Clone(c.Lives[i].Faults)
	}
	return c
}
