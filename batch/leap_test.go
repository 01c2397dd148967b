package batch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
)

// dropping is a sink that confirms everything and keeps nothing, and looks at the heap while it is at it.
type dropping struct{ peak, vectors atomic.Int64 }

func (d *dropping) Name() string { return "dropping" }

func (d *dropping) Publish(_ context.Context, out *batch.Output) (batch.Outcome, error) {
	d.vectors.Add(int64(len(out.Vectors)))
	d.look()
	return batch.Outcome{Written: len(out.Vectors)}, nil
}

func (d *dropping) look() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	for {
		peak := d.peak.Load()
		if int64(m.HeapAlloc) <= peak || d.peak.CompareAndSwap(peak, int64(m.HeapAlloc)) {
			return int64(m.HeapAlloc)
		}
	}
}

// crowd is a log of one click of each of many users at one time, made as it is read, and one click a leap later.
type crowd struct {
	*source
	users int
	from  time.Time
	leap  time.Duration
}

func (c crowd) Cut(maxOffsets, _ int64) (batch.Cut, error) {
	end := min(c.next[0]+maxOffsets, int64(c.users+1))
	if c.next[0] < int64(c.users) {
		end = min(end, int64(c.users)) // the leap has a batch of its own
	}
	return batch.Cut{Ends: []int64{end}, Offsets: end - c.next[0], Full: end > c.next[0]}, nil
}

func (c crowd) Ends(context.Context) ([]batch.End, error) {
	return []batch.End{{LogEnd: int64(c.users + 1), LeaderEpoch: -1}}, nil
}

func (c crowd) Take(_ context.Context, slices []batch.Slice) ([][]batch.Record, error) {
	var records []batch.Record
	for n := slices[0].Start; n < slices[0].End; n++ {
		e := event{User: fmt.Sprintf("u%07d", n), Kind: "click", Price: 1, TS: c.from.UnixMilli()}
		if n == int64(c.users) {
			e = event{User: "leaper", Kind: "click", Price: 1, TS: c.from.Add(c.leap).UnixMilli()}
		}
		value, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		records = append(records, batch.Record{Offset: n, Time: e.TS * 1000, Value: value})
	}
	c.next[0] = slices[0].End
	return [][]batch.Record{records}, nil
}

// TestClock_LeapUnderMany lets event time leap over the timers of many users, with the state on a real disk: the batch that does it takes a bounded number of bytes for each of them. HIGHWATER_LEAP_USERS says how many; docs/operations/machine.md
// has the figures of a million.
func TestClock_LeapUnderMany(t *testing.T) {
	users := 50_000
	if n, err := strconv.Atoi(os.Getenv("HIGHWATER_LEAP_USERS")); err == nil {
		users = n
	}
	p := project(t, func(p *features.Project) { p.Batch.MaxRecords = 10_000 })
	w := newWorld(p, [][]batch.Record{nil})
	s, err := state.Open(t.TempDir(), p, state.Options{CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sink := &dropping{}
	var before int64
	var fired, stored int64
	var took time.Duration
	err = w.run(t, func(o *batch.Options) {
		o.Source = crowd{source: &source{world: w}, users: users, from: time.UnixMilli(1_700_000_000_000), leap: 365 * 24 * time.Hour}
		o.Plans, o.State, o.Sinks, o.Rebind = s.Plans(), s, []batch.Sink{sink}, s.Rebind
		o.OnBatch = func(st batch.Stats) {
			if st.Records == 1 {
				fired, took = st.Vectors, st.Stages.Transform+st.Stages.Publish+st.Stages.Commit
				sink.look()
				return
			}
			if stored += st.Records; stored == int64(users) {
				runtime.GC()
				sink.peak.Store(0)
				before = sink.look()
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if fired != int64(users)+2 {
		t.Fatalf("the leap wrote %d vectors, want those of %d users, the leaper and an item", fired, users)
	}
	each := (sink.peak.Load() - before) / int64(users)
	t.Logf("%d timers fired in %s; the heap grew from %d to %d MiB, %d bytes each", users, took.Round(time.Millisecond), before>>20, sink.peak.Load()>>20, each)
	if each > 2500 {
		t.Errorf("a leap over %d timers takes %d bytes each", users, each)
	}
}
