package state_test

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

// TestValues_Golden pins what a directory holds after two small batches: a directory written today must be read by every later version.
func TestValues_Golden(t *testing.T) {
	p := project("users", view(t, "users", spend))
	p.Views[0].Schema.ID = "5eed5eed"
	s := mustOpen(t, vfs.NewMem(), p)
	c := s.Begin()
	err := upsert(c, 0, []string{"dead", "plain", "shown"}, func(e *batch.Entity) {
		if e.Text == "plain" {
			return // nothing published, no event
		}
		click(p, e, 1_000_000, 7)
		e.Published = batch.Published{Version: features.Version{Generation: 2, Sequence: 300}, Frontier: 2_000_000, Watermark: 1_500_000, Schema: "5eed5eed"}
		e.Timers[batch.ByFrontier], e.Timers[batch.ByWatermark] = 2_000_064, windows.NoTime
		if e.Text == "dead" {
			e.Published.Tombstone, e.Published.Until, e.Published.Schema = true, 2_000_001, "0ld"
			e.Timers = noTimers()
		}
	})
	pos := batch.Position{
		Version:    features.Version{Generation: 2, Sequence: 300},
		Partitions: []batch.PartitionPosition{{Partition: batch.Partition{Source: "events", Topic: "ad_events", Number: 1}, TopicID: "70b1c", Next: 42, LeaderEpoch: 7, EventTime: windows.NoTime}},
		Frontier:   2_000_000, Watermark: windows.NoTime, Clock: 3_000_000, Definitions: "0123456789abcdef",
		Counters: batch.Counters{Events: 3, Reasons: map[string]int64{"type": 2, "late": 1}},
		Opening:  batch.Opening{Parent: features.Version{Generation: 1, Sequence: 9}, Why: "reset", Frontier: 1, Watermark: 2, Until: 3, Definitions: "0ld"},
	}
	if err := errors.Join(err, c.Commit(context.Background(), pos)); err != nil {
		t.Fatal(err)
	}
	// entity value: format, flags, shape; generation, sequence, frontier, watermark − frontier, schema; until − frontier; timers − frontier; windows
	want := []string{
		`63 = 01` + hex.EncodeToString([]byte(`{"generation":2,"sequence":300,"frontier":2000000,"watermark":-9223372036854775808,"clock":3000000,"definitions":"0123456789abcdef",`+
			`"partitions":[{"source":"events","topic":"ad_events","partition":1,"topic_id":"70b1c","next":42,"leader_epoch":7,"event_time":-9223372036854775808}],`+
			`"counters":{"events":3,"batches":0,"late":0,"dead_letter":0,"vectors_written":0,"reasons":{"late":1,"type":2}},`+
			`"opening":{"parent_generation":1,"parent_sequence":9,"why":"reset","frontier":1,"watermark":2,"until":3,"definitions":"0ld"}}`)),
		`73 7573657273 00 64656164     = 01 07 00   02 ac02 8092f401 bf843d 00 03 306c64   02                                 ` + windowsOf(p, 7),
		`73 7573657273 00 706c61696e   = 01 00 00                                                                             ` + windowsOf(p, 0),
		`73 7573657273 00 73686f776e   = 01 19 00   02 ac02 8092f401 bf843d 01                  8001 80ee8bfeffffffffff01      ` + windowsOf(p, 7),
		`74 00 80000000001e84c0 7573657273 00 73686f776e = `,
		`74 01 0000000000000000 7573657273 00 73686f776e = `,
	}
	var got []string
	if err := s.Dump(func(k, v []byte) error {
		got = append(got, hex.EncodeToString(k)+"="+hex.EncodeToString(v))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], " ", "")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the directory's bytes (-want +got):\n%s", diff)
	}
	if back, err := positionOf(s); err != nil || !cmp.Equal(back, pos) {
		t.Errorf("position read back as %+v, error %v; want %+v", back, err, pos)
	}
}

// windowsOf is what package windows writes, whose own goldens pin it: an entity with one event of that amount, or none.
func windowsOf(p *features.Project, amount int64) string {
	e := &batch.Entity{Windows: p.Views[0].Machine.New()}
	if amount != 0 {
		click(p, e, 1_000_000, amount)
	}
	return hex.EncodeToString(p.Views[0].Machine.Append(nil, e.Windows))
}

func positionOf(s *state.Store) (p batch.Position, err error) {
	err = s.Dump(func(k, v []byte) error {
		if string(k) == "c" {
			p, err = state.DecodePosition(v)
		}
		return err
	})
	return p, err
}

func TestPlan_Golden(t *testing.T) {
	p := &batch.Plan{
		Version: features.Version{Generation: 1, Sequence: 2}, Clock: 3_000_000, Definitions: "0123456789abcdef", Final: true,
		Slices: []batch.Slice{
			{Partition: batch.Partition{Source: "e", Topic: "ev", Number: 0}, Start: 100, End: 228, LeaderEpoch: 3, LogEnd: 228},
			{Partition: batch.Partition{Source: "e", Topic: "ev", Number: 1}, Start: 5, End: 5, LeaderEpoch: -1, LogEnd: 6, Idle: true},
			{Partition: batch.Partition{Source: "f", Topic: "ev", Number: 0}},
		},
	}
	want := `01 01 809bee02 10 30313233343536373839616263646566 03
		00 01 65 02 6576  00 c801 8002 00 06
		03                02 0a   00   02 01
		00 01 66 02 6576  00 00   00   00 00`
	b := state.AppendPlan(nil, p)
	if got := hex.EncodeToString(b); got != strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(want) {
		t.Errorf("a plan's bytes are\n%s, want\n%s", got, want)
	}
	for cut := range b {
		if _, err := state.DecodePlan(p.Version, b[:cut]); err == nil {
			t.Errorf("a plan cut to %d of %d bytes decodes", cut, len(b))
		}
	}
	if _, err := state.DecodePlan(p.Version, append(b, 0)); err == nil {
		t.Error("a plan with a byte too many decodes")
	}
}

func TestPlan_RoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.Custom(drawPlan).Draw(t, "plan")
		back, err := state.DecodePlan(p.Version, state.AppendPlan(nil, p))
		if err != nil || !cmp.Equal(p, back) {
			t.Fatalf("error %v, diff %s", err, cmp.Diff(p, back))
		}
	})
}

func drawPlan(t *rapid.T) *batch.Plan {
	p := &batch.Plan{
		Version: features.Version{Generation: rapid.Uint32().Draw(t, "generation"), Sequence: rapid.Uint64().Draw(t, "sequence")},
		Clock:   rapid.Int64().Draw(t, "clock"), Definitions: rapid.String().Draw(t, "definitions"), Final: rapid.Bool().Draw(t, "final"),
	}
	for range rapid.IntRange(0, 4).Draw(t, "slices") {
		p.Slices = append(p.Slices, batch.Slice{
			Partition: batch.Partition{Source: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "source"), Topic: rapid.SampledFrom([]string{"", "t", "u"}).Draw(t, "topic"), Number: rapid.Int32().Draw(t, "number")},
			Start:     rapid.Int64().Draw(t, "start"), End: rapid.Int64().Draw(t, "end"), LogEnd: rapid.Int64().Draw(t, "log end"), LeaderEpoch: rapid.Int32().Draw(t, "epoch"), Idle: rapid.Bool().Draw(t, "idle"),
		})
	}
	return p
}
