package batch_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// jumpy is a machine's clock that people set: time goes on by itself, from wherever it was set to. It has no monotonic part to hold on to.
type jumpy struct{ offset atomic.Int64 }

func (j *jumpy) now() time.Time { return time.Now().Round(0).Add(time.Duration(j.offset.Load())) }

func (j *jumpy) set(by time.Duration) { j.offset.Store(int64(by)) }

// clockDay is a task under the wall clock whose machine's clock jumps, while one click of one user comes every second.
type clockDay struct {
	*world
	clock    jumpy
	said     *strings.Builder
	registry *prometheus.Registry
	batches  atomic.Int64
	asked    atomic.Int64 // how often the logs' ends were asked for
}

type counting struct {
	*arriving
	day *clockDay
}

func (c counting) Ends(ctx context.Context) ([]batch.End, error) {
	c.day.asked.Add(1)
	return c.arriving.Ends(ctx)
}

// runClockDay runs during beside the task. come lets so many seconds pass, with a click each.
func runClockDay(t *testing.T, during func(d *clockDay, come func(seconds int))) *clockDay {
	t.Helper()
	p := project(t, func(p *features.Project) {
		p.Clock = features.WallClock
		p.Batch.MaxRecords = 1000
	})
	from := time.Now()
	const longest = 24 * 3600
	d := &clockDay{world: newWorld(p, [][]batch.Record{steadyLog(longest, from)}), said: &strings.Builder{}, registry: prometheus.NewRegistry()}
	d.avail[0] = 0
	a := &arriving{source: &source{world: d.world}, arrived: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- d.runUntil(ctx, func(o *batch.Options) {
			o.Source, o.Complete, o.Now = counting{a, d}, nil, d.clock.now
			o.OnBatch = func(batch.Stats) { d.batches.Add(1) }
			o.Log, o.Metrics = slog.New(slog.NewTextHandler(d.said, nil)), batch.NewMetrics(d.registry)
		})
	}()
	during(d, func(seconds int) {
		for range seconds {
			a.come(1)
			time.Sleep(time.Second) // in the bubble
		}
		synctest.Wait()
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(d.plans); i++ {
		if d.plans[i].Clock < d.plans[i-1].Clock {
			t.Errorf("plan %v has the reading %d, the one before %d", d.plans[i].Version, d.plans[i].Clock, d.plans[i-1].Clock)
		}
	}
	return d
}

func (d *clockDay) vector(t *testing.T) features.Vector {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.stored["users\x00u1"]
	if !ok {
		t.Fatal("u1 has no vector")
	}
	return s.vector
}

// clicks is u1's lifetime count, or what is left of it when the vector has expired.
func (d *clockDay) clicks(t *testing.T) int64 {
	if v := d.vector(t); !v.Tombstone {
		return v.Values[3].Int()
	}
	return -1
}

// TestClock_JumpsBackAndForth sets the clock back and forward by hours, for as long as max_future: intervals neither stall nor spin, readings never go back, and every event counts.
func TestClock_JumpsBackAndForth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := runClockDay(t, func(d *clockDay, come func(int)) {
			come(60)
			before, asked := d.batches.Load(), d.asked.Load()
			d.clock.set(-3 * time.Hour)
			come(300)
			if n := d.batches.Load() - before; n < 55 || n > 70 {
				t.Errorf("in 300 s with the clock set back, %d batches of 5 s", n)
			}
			if n := d.asked.Load() - asked; n > 300 {
				t.Errorf("in 300 s with the clock set back the logs' ends were asked for %d times", n)
			}
			if behind := total(t, d.registry, "highwater_clock_behind_seconds"); behind < 2.9*3600 || behind > 3.2*3600 {
				t.Errorf("the clock is said to be behind by %v s", behind)
			}
			d.clock.set(0)
			come(60)
			if behind := total(t, d.registry, "highwater_clock_behind_seconds"); behind != 0 {
				t.Errorf("set right, the clock is said to be behind by %v s", behind)
			}
			if v := d.vector(t); v.Values[0].Int() < 19 || v.Values[0].Int() > 22 {
				t.Errorf("set right, the last 20 s hold %d clicks", v.Values[0].Int())
			}
		})
		if c := d.position.Counters; c.Late+c.DeadLetter != 0 || c.Events != 420 || d.clicks(t) != 420 {
			t.Errorf("%+v and %d clicks, want 420 of all", c, d.clicks(t))
		}
		for _, says := range []string{"the clock was set back: until it has caught up, plans keep the last reading", "by=3h0m", "the clock has caught up"} {
			if n := strings.Count(d.said.String(), says); n != 1 {
				t.Errorf("%q was said %d times, want once:\n%s", says, n, d.said)
			}
		}
	})
}

// TestClock_SetBackForLong leaves the clock back for longer than max_future: events further ahead of the last reading than that are dead letters, of all of which the task says why, and no others. Once the clock is right, events count again.
func TestClock_SetBackForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const back = 1800
		d := runClockDay(t, func(d *clockDay, come func(int)) {
			come(60)
			d.clock.set(-3 * time.Hour)
			come(back)
			d.clock.set(0)
			come(60)
		})
		future := int(d.project.Sources[0].MaxFuture.Seconds())
		if absurd := int(d.position.Counters.Reasons["absurd"]); absurd < back-future-10 || absurd > back-future+10 || d.position.Counters.Late != 0 {
			t.Errorf("%v were refused, want about %d absurd ones", d.position.Counters.Reasons, back-future)
		}
		if c := d.position.Counters; c.Events+c.DeadLetter != back+120 || d.clicks(t) != c.Events {
			t.Errorf("%+v and %d clicks: some of %d are neither counted nor refused", c, d.clicks(t), back+120)
		}
		for _, l := range d.dead {
			if !strings.Contains(l.Detail, "more than max_future (10m0s) ahead of") {
				t.Fatalf("a dead letter says %q", l.Detail)
			}
		}
	})
}

// TestClock_SetForward sets the clock ahead by hours and back again: sliding windows run empty at once, since they hold as of a time to come, until time itself has come there; lifetime features lose nothing, and nothing is late.
func TestClock_SetForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ahead = 2 * 3600
		d := runClockDay(t, func(d *clockDay, come func(int)) {
			come(60)
			d.clock.set(ahead * time.Second)
			come(10)
			d.clock.set(0)
			come(60)
			if v := d.vector(t); !v.Tombstone && v.Values[0].Int() != 0 {
				t.Errorf("as of two hours ahead, the last 20 s hold %d clicks", v.Values[0].Int())
			}
			come(ahead)
			if v := d.vector(t); v.Tombstone || v.Values[0].Int() < 19 || v.Values[0].Int() > 22 {
				t.Errorf("once time has come there, the last 20 s hold %v", v.Values)
			}
		})
		if c := d.position.Counters; c.Late+c.DeadLetter != 0 || c.Events != ahead+130 || d.clicks(t) != c.Events {
			t.Errorf("%+v and %d clicks, want %d", c, d.clicks(t), ahead+130)
		}
	})
}

// watched counts what a batch asks of the state.
type watched struct {
	batch.State
	loaded, scanned, due *int
}

func (w watched) Due(clock batch.TimerClock, until int64, each func(int, string) error) error {
	return w.State.Due(clock, until, func(view int, text string) error {
		*w.due++
		return each(view, text)
	})
}

func (w watched) Scan(ctx context.Context, view int, after string, each func(*batch.Entity) error) error {
	*w.scanned++
	return w.State.Scan(ctx, view, after, each)
}

func (w watched) Begin() batch.Change { return watchedChange{w.State.Begin(), w.loaded} }

type watchedChange struct {
	batch.Change
	loaded *int
}

func (w watchedChange) Load(view int, texts []string) ([]*batch.Entity, error) {
	*w.loaded += len(texts)
	return w.Change.Load(view, texts)
}

// TestClock_EventTimeLeaps sends events whose times leap by a year, and by a thousand, at one go: each entity whose windows slid is looked at once, none is scanned for, and a leap over nothing costs nothing.
func TestClock_EventTimeLeaps(t *testing.T) {
	const users = 500
	p := project(t, func(p *features.Project) { p.Batch.MaxRecords = users })
	var log []batch.Record
	add := func(user string, at time.Time) {
		value, err := json.Marshal(event{User: user, Kind: "click", Price: 1, TS: at.UnixMilli()})
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, batch.Record{Offset: int64(len(log)), Time: at.UnixMicro(), Value: value})
	}
	from := time.UnixMilli(1_700_000_000_000)
	for i := range users {
		add("u"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String(), from)
	}
	leaps := []time.Time{from.AddDate(1, 0, 0), from.AddDate(2, 0, 0), from.AddDate(1000, 0, 0)}
	for _, at := range leaps {
		for range users { // a batch each
			add("leaper", at)
		}
	}
	w := newWorld(p, [][]batch.Record{log})
	var loaded, scanned, due int
	var loads []int
	err := w.run(t, func(o *batch.Options) {
		o.State = watched{o.State, &loaded, &scanned, &due}
		o.OnBatch = func(batch.Stats) {
			loads = append(loads, loaded)
			loaded = 0
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if scanned != 0 || len(loads) < len(leaps)+1 {
		t.Fatalf("%d scans, %d batches", scanned, len(loads))
	}
	// Views users and items: the first batch has every user and one item, the first leap slides each of their windows once, and the others find but the leaper and the item.
	if loads[0] != users+1 || loads[1] > users+2 || loads[2] > 3 || loads[3] > 3 {
		t.Errorf("the batches loaded %v entities", loads)
	}
	if due > 2*(users+3*len(leaps)) {
		t.Errorf("%d timers fired, for %d users", due, users)
	}
	if w.position.Frontier != leaps[2].UnixMicro() || w.position.Counters.DeadLetter+w.position.Counters.Late != 0 {
		t.Errorf("it ended at %s with %+v", time.UnixMicro(w.position.Frontier).UTC(), w.position.Counters)
	}
	gone := 0
	for k, s := range w.stored {
		if strings.HasPrefix(k, "users\x00") && s.tombstone {
			gone++
		}
	}
	if gone != users {
		t.Errorf("%d of %d users have outlived their ttl", gone, users)
	}
}

// TestClock_TimesOfAllAges runs under the event clock from the year 1 to the last moment of 9999, with negative times on the way: every event counts, and the windows are where they should be. A step beyond is absurd.
func TestClock_TimesOfAllAges(t *testing.T) {
	p := project(t)
	times := []int64{-62_135_596_800_000, -62_135_596_799_000, -1_001, -1, 0, 1, 1_700_000_000_000, 253_402_300_789_999, 253_402_300_799_999, 253_402_300_800_000}
	var log []batch.Record
	for i, ts := range times {
		value, err := json.Marshal(event{User: "u1", Kind: "click", Price: 1, TS: ts})
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, batch.Record{Offset: int64(i), Value: value})
	}
	for n := range times {
		w := newWorld(p, [][]batch.Record{log[:n+1]})
		if err := w.run(t); err != nil {
			t.Fatalf("up to %d ms: %v", times[n], err)
		}
		beyond := int64(0)
		if n == len(times)-1 {
			beyond = 1
		}
		if c := w.position.Counters; c.Events != int64(n+1)-beyond || c.Late != 0 || c.Reasons["absurd"] != beyond {
			t.Errorf("up to %d ms: %+v", times[n], c)
		}
		last := times[int64(n)-beyond]
		in20s := int64(0)
		for _, ts := range times[:int64(n+1)-beyond] {
			if ts > last-20_000 {
				in20s++
			}
		}
		v := w.stored["users\x00u1"].vector
		if w.position.Frontier != last*1000 || v.Values[3].Int() != int64(n+1)-beyond || v.Values[0].Int() < in20s || v.EventTime != last*1000 || v.Values[0] == (windows.Value{}) {
			t.Errorf("up to %d ms: the frontier is %d, u1 is %v of %d", times[n], w.position.Frontier, v.Values, v.EventTime)
		}
	}
}
