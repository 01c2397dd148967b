package batch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/testutil/oracle"
	"highwater/windows"
)

const definitions = `
project: shop
clock: event
batch: {interval: 5s, max_records: 7}
entities:
  user: {join_key: user, type: string}
  item: {join_key: item, type: int64}
sources:
  events:
    kafka: {topic: events}
    timestamp: {field: ts, unit: ms}
    max_lateness: 8s
    fields: {user: string, item: int64, kind: string, price: double}
feature_views:
  users:
    source: events
    entity: user
    where: kind == 'click'
    ttl: 40s
    features:
      clicks_20s: {aggregate: count, window: 20s, resolution: 2s}
      spent_10s: {aggregate: sum, of: price, window: 10s, resolution: 1s}
      recent: {aggregate: timestamps, window: 15s, resolution: exact, limit: 3}
      clicks: {aggregate: count}
      newest: {aggregate: last, of: price}
  items:
    source: events
    entity: item
    features:
      views_10s: {aggregate: count, where: kind == 'view', window: {tumbling: 10s}}
      clicks_10s: {aggregate: count, where: kind == 'click', window: {tumbling: 10s}}
      rate_10s: {expression: clicks_10s / views_10s}
      buyers: {aggregate: count_distinct, of: user, window: 30s, resolution: 5s, limit: 4}
`

// event is one line of a random log.
type event struct {
	User  string  `json:"user,omitempty"`
	Item  int64   `json:"item"`
	Kind  string  `json:"kind"`
	Price float64 `json:"price,omitempty"`
	TS    int64   `json:"ts"`
}

func project(t testing.TB, changes ...func(*features.Project)) *features.Project {
	t.Helper()
	p, err := features.Parse("shop.yaml", []byte(definitions))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		c(p)
	}
	return p
}

// randomLog makes n events over some partitions: ties, late ones, gaps longer than any window, events without a user.
func randomLog(r *rand.Rand, partitions, n int) ([][]batch.Record, [][]event) {
	return randomLogFrom(r, partitions, n, 1_700_000_000_000)
}

// randomLogFrom is randomLog, and begins at now (ms).
func randomLogFrom(r *rand.Rand, partitions, n int, now int64) ([][]batch.Record, [][]event) {
	log, events := make([][]batch.Record, partitions), make([][]event, partitions)
	for range n {
		switch {
		case r.IntN(40) == 0:
			now += 60_000
		case r.IntN(3) > 0:
			now += int64(r.IntN(1500))
		}
		e := event{Item: int64(r.IntN(4)), Kind: []string{"view", "click"}[r.IntN(2)], Price: float64(r.IntN(8)) / 4, TS: now}
		if u := r.IntN(7); u > 0 {
			e.User = fmt.Sprintf("u%d", u)
		}
		if r.IntN(5) == 0 {
			e.TS -= int64(r.IntN(14_000))
		}
		p := r.IntN(partitions)
		value, _ := json.Marshal(e)
		log[p] = append(log[p], batch.Record{Offset: int64(len(log[p])), Time: e.TS * 1000, Value: value})
		events[p] = append(events[p], e)
	}
	return log, events
}

// expect computes what the store must hold in the end, from the log alone, slowly.
func expect(p *features.Project, events [][]event, frontier, watermark int64) map[string][]windows.Value {
	byEntity := map[string][]windows.Event{}
	last := map[string]int64{}
	add := func(view *features.View, entity string, takes []uint64, args []windows.Value, e event, partition, offset int) {
		k := view.Name + "\x00" + entity
		byEntity[k] = append(byEntity[k], windows.Event{Time: e.TS * 1000, Partition: int32(partition), Offset: int64(offset), Takes: takes, Args: args})
		last[k] = max(last[k], e.TS*1000)
	}
	for part, es := range events {
		greatest := int64(0)
		for i, e := range es {
			if e.TS < greatest-8_000 {
				continue
			}
			greatest = max(greatest, e.TS)
			price := windows.DoubleOf(e.Price)
			if e.Price == 0 {
				price = windows.Value{}
			}
			user := windows.StringOf(e.User)
			if e.User == "" {
				user = windows.Value{}
			}
			if e.Kind == "click" && e.User != "" {
				add(p.View("users"), e.User, []uint64{31}, []windows.Value{price}, e, part, i)
			}
			takes := uint64(1<<3 | 1)
			if e.Kind == "click" {
				takes = 1<<3 | 2
			}
			add(p.View("items"), fmt.Sprint(e.Item), []uint64{takes}, []windows.Value{user}, e, part, i)
		}
	}
	want := map[string][]windows.Value{}
	for k, es := range byEntity {
		view := p.View(k[:5])
		if view.TTL > 0 && last[k]+view.TTL.Microseconds() <= frontier {
			want[k] = nil
			continue
		}
		var specs []windows.Spec
		for _, f := range view.Features {
			specs = append(specs, f.Spec)
		}
		want[k] = oracle.Values(specs, es, frontier, watermark)
	}
	return want
}

// marksOf computes the end's frontier and watermark from the log alone.
func marksOf(events [][]event) (frontier, watermark int64) {
	frontier, watermark = windows.NoTime, windows.Never
	for _, es := range events {
		greatest := int64(windows.NoTime)
		for _, e := range es {
			greatest = max(greatest, e.TS*1000)
		}
		frontier = max(frontier, greatest)
		if greatest != windows.NoTime {
			watermark = min(watermark, greatest-8_000_000)
		}
	}
	return frontier, watermark
}

func checkStore(t *testing.T, w *world, want map[string][]windows.Value) {
	t.Helper()
	if len(w.stored) != len(want) {
		t.Errorf("the store holds %d vectors, want %d", len(w.stored), len(want))
	}
	for k, values := range want {
		got, ok := w.stored[k]
		if !ok {
			t.Errorf("%q is missing", k)
			continue
		}
		if got.tombstone != (values == nil) || !slices.Equal(got.vector.Values, values) {
			t.Errorf("%q: tombstone %t %v, want %v", k, got.tombstone, got.vector.Values, values)
		}
	}
}

// bytesOf is what the store and the state hold, to the byte.
func bytesOf(w *world) map[string]string {
	out := map[string]string{}
	for k, s := range w.stored {
		out["stored "+k] = s.bytes
	}
	for k, b := range w.state {
		out["state "+k] = string(b)
	}
	for k := range w.timers {
		out[fmt.Sprint("timer ", k)] = ""
	}
	out["position"] = fmt.Sprint(*w.position)
	return out
}

// cleanly executes a world's recorded plans in an empty directory, against an empty store.
func cleanly(t *testing.T, w *world) *world {
	t.Helper()
	c := newWorld(w.project, w.log)
	c.plans = w.plans
	if err := c.run(t); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTask_EqualsTheOracleHoweverTheLogIsCut(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			log, events := randomLog(r, 1+r.IntN(3), 20+r.IntN(150))
			frontier, watermark := marksOf(events)
			for _, cut := range []int64{1, 7, 1000, 1 + r.Int64N(60)} {
				w := newWorld(project(t, func(p *features.Project) { p.Batch.MaxRecords = cut }), log)
				if err := w.run(t); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if w.position.Frontier != frontier || w.position.Watermark != watermark {
					t.Fatalf("seed %d, cut %d: frontier %d and watermark %d, want %d and %d", seed, cut, w.position.Frontier, w.position.Watermark, frontier, watermark)
				}
				checkStore(t, w, expect(w.project, events, frontier, watermark))
				if t.Failed() {
					t.Fatalf("seed %d, cut %d", seed, cut)
				}
			}
		})
	}
}

func TestTask_DiesAtEveryCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, events := randomLog(rand.New(rand.NewPCG(5, 5)), 2, 40)
		clean := newWorld(project(t), log)
		if err := clean.run(t); err != nil {
			t.Fatal(err)
		}
		frontier, watermark := marksOf(events)
		want := expect(clean.project, events, frontier, watermark)
		for at := 1; at <= clean.calls; at++ {
			w := newWorld(clean.project, log)
			w.crashAt = at
			if err := w.run(t); !errors.Is(err, errDead) && at < clean.calls {
				t.Fatalf("call %d of %d: the process did not die: %v", at, clean.calls, err)
			}
			if err := w.run(t); err != nil {
				t.Fatalf("after %s: %v", w.trace, err)
			}
			checkStore(t, w, want)
			if got, want := bytesOf(w), bytesOf(cleanly(t, w)); !maps.Equal(got, want) {
				t.Errorf("%s: the bytes differ from a clean execution of the recorded plans", w.trace)
			}
			if w.stale > 0 {
				t.Errorf("%s: %d stale upserts by one owner", w.trace, w.stale)
			}
			if t.Failed() {
				t.FailNow()
			}
		}
	})
}

func TestTask_DiesAgainAndAgain(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 9))
			log, events := randomLog(r, 1+r.IntN(3), 80)
			w := newWorld(project(t), log)
			for {
				w.crashAt = w.calls + 1 + r.IntN(40)
				err := w.run(t)
				if err == nil {
					break
				}
				if !errors.Is(err, errDead) {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			frontier, watermark := marksOf(events)
			checkStore(t, w, expect(w.project, events, frontier, watermark))
			if !maps.Equal(bytesOf(w), bytesOf(cleanly(t, w))) {
				t.Errorf("the bytes differ from a clean execution of the recorded plans")
			}
			if t.Failed() {
				t.Fatalf("seed %d: %v", seed, w.trace)
			}
		})
	}
}

func TestTask_OutageOfASinkStallsAndLosesNothing(t *testing.T) {
	for _, refused := range []string{"publish", "planned", "confirmed"} { // plans and commits are the directory's, and stop the task
		t.Run(refused, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, events := randomLog(rand.New(rand.NewPCG(3, 3)), 2, 60)
				w := newWorld(project(t), log)
				down := time.Now().Add(30 * time.Second)
				w.fail = func(call string) error {
					if time.Now().Before(down) && strings.HasSuffix(call, " "+refused) {
						return errors.New("connection refused")
					}
					return nil
				}
				if err := w.run(t); err != nil {
					t.Fatal(err)
				}
				if time.Now().Before(down) {
					t.Fatal("the task ended before the outage did")
				}
				frontier, watermark := marksOf(events)
				checkStore(t, w, expect(w.project, events, frontier, watermark))
			})
		})
	}
}

func TestTask_RepublishesWhatTheStoreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, events := randomLog(rand.New(rand.NewPCG(4, 4)), 1, 90)
		w := newWorld(project(t), log)
		batches := 0
		err := w.run(t, func(o *batch.Options) {
			o.OnBatch = func(batch.Stats) {
				if batches++; batches == 6 {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.stored, w.key = map[string]stored{}, nil
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		frontier, watermark := marksOf(events)
		checkStore(t, w, expect(w.project, events, frontier, watermark))
		if w.announced != 2 {
			t.Errorf("the project was announced %d times, want at the start and to a store that lost everything", w.announced)
		}
		if w.key == nil || w.key.Version != w.position.Version {
			t.Errorf("the task key is %+v, want it at %s", w.key, w.position.Version)
		}
		if got, want := bytesOf(w), bytesOf(cleanly(t, w)); !maps.Equal(got, want) {
			t.Error("the republished bytes differ from a clean execution of the recorded plans")
		}
	})
}
