package state_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

const (
	second = int64(1_000_000)
	minute = 60 * second
	hour   = 60 * minute
	start  = int64(1_700_000_000) * second
)

// Specs of features; those of one letter are what tests add and remove.
var (
	clicks = windows.Spec{Name: "clicks_30m", Aggregate: "count", Arg: -1, Window: windows.Window{Kind: windows.Sliding, Length: 30 * minute, Resolution: 5 * second}}
	spend  = windows.Spec{Name: "spend", Aggregate: "sum", Input: windows.Int64, Window: windows.Window{Kind: windows.Lifetime}}
	recent = windows.Spec{Name: "recent", Aggregate: "last", Input: windows.Int64, Window: windows.Window{Kind: windows.Tumbling, Length: hour}}
	reused = windows.Spec{Name: "spend", Aggregate: "count", Arg: -1, Window: windows.Window{Kind: windows.Sliding, Length: hour, Resolution: minute}} // the name of another
)

func view(tb testing.TB, name string, specs ...windows.Spec) *features.View {
	tb.Helper()
	m, err := windows.Compile(specs, 0)
	if err != nil {
		tb.Fatalf("compile view %s: %v", name, err)
	}
	v := &features.View{Name: name, Machine: m, Schema: features.Schema{ID: fmt.Sprintf("%08x", len(specs))}}
	for _, s := range specs {
		v.Features = append(v.Features, &features.Feature{Name: s.Name, Spec: s})
		v.Schema.ID = fmt.Sprintf("%.4s%02x%02x", v.Schema.ID, s.Name[0], len(s.Name))
	}
	return v
}

// project makes a project called ads; its hash is made of its text.
func project(text string, views ...*features.View) *features.Project {
	return &features.Project{Name: "ads", Views: views, Text: "# " + text, Hash: fmt.Sprintf("%.16s", text+"________________")}
}

func users(tb testing.TB) *features.Project {
	return project("users", view(tb, "users", clicks, spend))
}

func mustOpen(tb testing.TB, fs vfs.FS, p *features.Project, adjust ...func(*state.Options)) *state.Store {
	tb.Helper()
	o := state.Options{FS: fs}
	for _, a := range adjust {
		a(&o)
	}
	s, err := state.Open("data", p, o)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	tb.Cleanup(func() { mustClose(tb, s) })
	return s
}

func mustClose(tb testing.TB, s *state.Store) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Fatalf("close: %v", err)
	}
}

func at(sequence uint64) batch.Position {
	return batch.Position{
		Version:    features.Version{Generation: 1, Sequence: sequence},
		Partitions: []batch.PartitionPosition{{Partition: batch.Partition{Source: "events", Topic: "events"}, Next: int64(sequence) * 10, EventTime: start}},
		Frontier:   start + int64(sequence)*second, Watermark: start - second, Clock: start + int64(sequence)*5*second,
		Counters: batch.Counters{Events: int64(sequence), Reasons: map[string]int64{"late": 2}},
	}
}

// click applies one event of that amount to e.
func click(p *features.Project, e *batch.Entity, eventTime, amount int64) {
	ev := windows.Event{Time: eventTime, Takes: []uint64{^uint64(0)}, Args: []windows.Value{windows.IntOf(amount)}}
	p.Views[e.View].Machine.Apply(e.Windows, &ev, windows.NoTime, p.Views[e.View].Machine.NewTally())
}

// upsert loads texts, which it sorts, changes each by f and puts it.
func upsert(c batch.Change, view int, texts []string, f func(*batch.Entity)) error {
	slices.Sort(texts)
	entities, err := c.Load(view, texts)
	if err != nil {
		return err
	}
	for _, e := range entities {
		f(e)
		if err := c.Put(e); err != nil {
			return err
		}
	}
	return nil
}

// commit runs one batch that clicks once for every text, each publishing it and setting its timer.
func commit(tb testing.TB, s *state.Store, p *features.Project, sequence uint64, texts ...string) {
	tb.Helper()
	c := s.Begin()
	pos := at(sequence)
	err := upsert(c, 0, texts, func(e *batch.Entity) {
		click(p, e, pos.Frontier, int64(sequence))
		e.Published = batch.Published{Version: pos.Version, Frontier: pos.Frontier, Watermark: pos.Watermark, Schema: p.Views[0].Schema.ID}
		e.Timers[batch.ByFrontier] = pos.Frontier + minute
	})
	if err := errors.Join(err, c.Commit(context.Background(), pos)); err != nil {
		tb.Fatalf("batch %d: %v", sequence, err)
	}
}

// dump returns what [state.Store.Dump] does, as one text a line.
func dump(tb testing.TB, s *state.Store) []string {
	tb.Helper()
	var lines []string
	err := s.Dump(func(k, v []byte) error {
		lines = append(lines, fmt.Sprintf("%q = %q", k, v))
		return nil
	})
	if err != nil {
		tb.Fatalf("dump: %v", err)
	}
	return lines
}

func entitiesOf(tb testing.TB, s *state.Store, view int) map[string]batch.Entity {
	tb.Helper()
	found := map[string]batch.Entity{}
	err := s.Scan(context.Background(), view, "", func(e *batch.Entity) error {
		found[e.Text] = *e
		return nil
	})
	if err != nil {
		tb.Fatalf("scan: %v", err)
	}
	return found
}

type due struct {
	view int
	text string
}

func dueOf(tb testing.TB, s *state.Store, clock batch.TimerClock, until int64) []due {
	tb.Helper()
	var all []due
	err := s.Due(clock, until, func(view int, text string) error {
		all = append(all, due{view, text})
		return nil
	})
	if err != nil {
		tb.Fatalf("due: %v", err)
	}
	return all
}

func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("u%06d", i)
	}
	return all
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// corrupt overwrites one value behind the state's back.
func corrupt(tb testing.TB, fs vfs.FS, key string, value []byte) {
	tb.Helper()
	db, err := pebble.Open("data", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte(key), value, pebble.Sync), db.Close()); err != nil {
		tb.Fatal(err)
	}
}
