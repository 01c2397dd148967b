package online_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	"highwater/windows"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

func TestMiniredis(t *testing.T) {
	w, _ := miniWorld(t)
	conformance(t, w)
}

func TestRedis(t *testing.T) {
	w, _ := realWorld(t)
	conformance(t, w)
}

func TestCluster(t *testing.T) {
	w, cluster := clusterWorld(t)
	conformance(t, w)
	t.Run("Fetch_KeepsAMarkForAWhile", func(t *testing.T) { testMarkIsKept(t, w) })
	t.Run("Publish_WhileASlotMoves", func(t *testing.T) { testSlotMoves(t, w, cluster) })
}

// conformance is what every Redis must do for us, embedded, real or in a cluster.
func conformance(t *testing.T, w *world) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"Publish_WritesEveryKindOfValue", testEveryKind},
		{"Publish_AcceptsAReplay", testReplay},
		{"Publish_KeepsTheNewest", testStale},
		{"Publish_ReportsDivergence", testDivergent},
		{"Publish_TombstonesExpireAndLiveVectorsDoNot", testTombstone},
		{"Publish_RefusesLateCalls", testGuard},
		{"Publish_RefusesAnotherTasksVectors", testForeign},
		{"Publish_RefusesWhatIsNoVector", testNoVector},
		{"Publish_SurvivesLostScripts", testScriptFlush},
		{"Publish_ManyVectors", testMany},
		{"Publish_RandomInterleavings", testInterleavings},
		{"Publish_ConcurrentWriters", testConcurrent},
		{"TaskKey_OnlyEverMovesUp", testTaskKey},
		{"TaskKey_NamesASupersededLog", testSuperseded},
		{"TaskKey_LosesWhatRedisLost", testTaskKeyLost},
		{"TaskKey_RandomMoves", testTaskKeyMoves},
		{"Catalogue_KeepsEveryShape", testCatalogue},
		{"Catalogue_ComesBackWithTheTaskKey", testCatalogueLost},
		{"Heartbeats_ByTask", testHeartbeats},
		{"Fetch_KeepsTheOrderAsked", testFetchOrder},
		{"Fetch_NamesACorruptKey", testCorrupt},
		{"Check_AcceptsThisRedis", testCheck},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

func testEveryKind(t *testing.T, w *world) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	v := live(clicks(), "u1", version(1, 7), 0)
	nulls := live(clicks(), "u\x00\x012", version(1, 7), 0)
	clear(nulls.Values)
	publish(t, s, batch.Outcome{Written: 3}, v, nulls, tombstone(clicks(), "u3", version(1, 7)))

	got, err := r.Fetch(t.Context(), []features.VectorKey{{View: "clicks", Entity: "u1"}, {View: "clicks", Entity: "u\x00\x012"}, {View: "clicks", Entity: "u3"}})
	if err != nil {
		t.Fatal(err)
	}
	read := features.StoredVector{Found: true, View: "clicks", Entity: "u1", Version: v.Version, SchemaID: "0a1b2c3d", Schema: clicks().Schema, Frontier: v.Frontier, EventTime: v.EventTime, Values: v.Values}
	empty := read
	empty.Entity, empty.Values = "u\x00\x012", make([]windows.Value, 6)
	gone := read
	gone.Entity, gone.Values, gone.Tombstone, gone.Frontier, gone.EventTime = "u3", nil, true, 7_000_000, 6_000_000
	if diff := cmp.Diff([]features.StoredVector{read, empty, gone}, got.Vectors, cmp.Comparer(func(a, b windows.Value) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func testReplay(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	a, b := live(clicks(), "a", version(1, 1), 0), tombstone(clicks(), "b", version(1, 1))
	publish(t, s, batch.Outcome{Written: 2}, a, b)
	publish(t, s, batch.Outcome{Equal: 2}, a, b)
	publish(t, openStore(t, o), batch.Outcome{Equal: 2}, b, a)
	w.expectStored(t, o, a, b)
}

func testStale(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	older, newer := live(clicks(), "a", version(2, 9), 0), live(clicks(), "a", version(2, 10), 0)
	publish(t, s, batch.Outcome{Written: 1}, older)
	publish(t, s, batch.Outcome{Written: 1}, newer)
	publish(t, s, batch.Outcome{Stale: 1}, older)
	publish(t, s, batch.Outcome{Stale: 1}, live(clicks(), "a", version(1, 999_999_999_999_999), 0))
	publish(t, s, batch.Outcome{Stale: 1}, tombstone(clicks(), "a", version(2, 9)))
	w.expectStored(t, o, newer)
	last := live(clicks(), "a", version(99_999, 999_999_999_999_999), 0)
	publish(t, s, batch.Outcome{Written: 1}, last)
	publish(t, s, batch.Outcome{Stale: 1}, live(clicks(), "a", version(99_999, 999_999_999_999_998), 0)) // as Lua numbers these two would be equal
	w.expectStored(t, o, last)
}

func testDivergent(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	a, b := live(clicks(), "a", version(1, 3), 0), live(clicks(), "b", version(1, 3), 0)
	publish(t, s, batch.Outcome{Written: 1}, a)
	publish(t, s, batch.Outcome{Written: 1, Divergent: []batch.Divergence{{View: "clicks", Entity: "a", Version: version(1, 3)}}}, b, live(clicks(), "a", version(1, 3), 1))
	publish(t, s, batch.Outcome{Divergent: []batch.Divergence{{View: "clicks", Entity: "a", Version: version(1, 3)}}}, tombstone(clicks(), "a", version(1, 3)))
	w.expectStored(t, o, a, b)

	cut := stored(t, o, a)[keyOf(o, a)][:41] // the same version and hash, and nothing behind them
	if err := w.client.Set(t.Context(), keyOf(o, a), cut, 0).Err(); err != nil {
		t.Fatal(err)
	}
	publish(t, s, batch.Outcome{Divergent: []batch.Divergence{{View: "clicks", Entity: "a", Version: version(1, 3)}}}, a)
}

func testTombstone(t *testing.T, w *world) {
	o := w.project()
	o.TombstoneTTL = time.Hour
	s := openStore(t, o)
	a1, a2, a3 := live(clicks(), "a", version(1, 1), 0), tombstone(clicks(), "a", version(1, 2)), live(clicks(), "a", version(1, 3), 0)
	ttl := func() time.Duration {
		t.Helper()
		d, err := w.client.PTTL(t.Context(), keyOf(o, a1)).Result()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	const none = -1 // nanosecond: what go-redis makes of "no expiry"
	publish(t, s, batch.Outcome{Written: 1}, a1)
	if got := ttl(); got != none {
		t.Errorf("a live vector expires in %v", got)
	}
	publish(t, s, batch.Outcome{Written: 1}, a2)
	if got := ttl(); got <= 59*time.Minute || got > time.Hour {
		t.Errorf("a tombstone expires in %v, want an hour", got)
	}
	publish(t, s, batch.Outcome{Stale: 1}, a1)
	publish(t, s, batch.Outcome{Written: 2}, a3, tombstone(clicks(), "b", version(1, 3)))
	if got := ttl(); got != none {
		t.Errorf("a live vector over a tombstone expires in %v", got)
	}
	w.expectStored(t, o, a3, tombstone(clicks(), "b", version(1, 3)))
}

func testGuard(t *testing.T, w *world) {
	o := w.project()
	o.TombstoneTTL = time.Hour
	s := openStore(t, o)
	a, b := live(clicks(), "a", version(1, 1), 0), live(visits(), "b", version(1, 1), 0)
	late := output(a, b, tombstone(visits(), "c", version(1, 1)))
	late.Clock = time.Now().Add(-time.Hour).UnixMicro()
	got, err := s.Publish(t.Context(), late)
	if err != nil || got.Refused != 3 || got.Written != 0 {
		t.Fatalf("a late call: %+v, %v; want 3 refused", got, err)
	}
	w.expectStored(t, o)
	inTime := output(a, b)
	inTime.Clock = time.Now().Add(-time.Hour + time.Minute).UnixMicro()
	if got, err := s.Publish(t.Context(), inTime); err != nil || got.Written != 2 {
		t.Fatalf("a call in time: %+v, %v; want 2 written", got, err)
	}
}

func testForeign(t *testing.T, w *world) {
	o := w.project()
	o.Task = 4
	theirs := openStore(t, o)
	a, b := live(clicks(), "a", version(1, 1), 0), live(clicks(), "b", version(1, 1), 0)
	publish(t, theirs, batch.Outcome{Written: 1}, a)
	mine := o
	mine.Task = 12
	_, err := openStore(t, mine).Publish(t.Context(), output(live(clicks(), "a", version(2, 1), 0), b))
	expectPermanent(t, err, "task 4", "task 12", keyOf(o, a))
	want, wantB := stored(t, o, a), stored(t, mine, b)
	got, err := w.client.Get(t.Context(), keyOf(o, a)).Result()
	if err != nil || got != want[keyOf(o, a)] {
		t.Errorf("task 4's vector is now %q, %v", got, err)
	}
	if got, err := w.client.Get(t.Context(), keyOf(o, b)).Result(); err != nil || got != wantB[keyOf(o, b)] {
		t.Errorf("task 12's own vector is %q, %v", got, err)
	}
}

func testNoVector(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	a := live(clicks(), "a", version(1, 1), 0)
	whole := stored(t, o, a)[keyOf(o, a)]
	for _, thing := range []string{"", "7", "x" + whole[1:], whole[:24] + "x" + whole[25:], "something else that is long enough to be a vector"} {
		if err := w.client.Set(t.Context(), keyOf(o, a), thing, 0).Err(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Publish(t.Context(), output(a))
		expectPermanent(t, err, keyOf(o, a), "no vector")
		if got := w.client.Get(t.Context(), keyOf(o, a)).Val(); got != thing {
			t.Errorf("%q was overwritten", thing)
		}
	}
}

func testScriptFlush(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	for sequence := range uint64(3) {
		flushScripts(t, w)
		var vectors []features.Vector
		for i := range 1200 {
			vectors = append(vectors, live(clicks(), fmt.Sprint("u", i), version(1, sequence+1), 0))
		}
		publish(t, s, batch.Outcome{Written: len(vectors)}, vectors...)
		flushScripts(t, w)
		if err := s.Planned(t.Context(), version(1, sequence+1), "log"); err != nil {
			t.Fatal(err)
		}
	}
}

func flushScripts(t *testing.T, w *world) {
	t.Helper()
	flush := func(ctx context.Context, c *redis.Client) error { return c.ScriptFlush(ctx).Err() }
	err := error(nil)
	if c, ok := w.client.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(t.Context(), flush)
	} else {
		err = flush(t.Context(), w.client.(*redis.Client))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func testMany(t *testing.T, w *world) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	vectors := func(sequence uint64) (all []features.Vector) {
		for i := range 3000 {
			view := clicks()
			if i%3 == 0 {
				view = visits()
			}
			if i%7 == 0 {
				all = append(all, tombstone(view, fmt.Sprint("u", i), version(1, sequence)))
				continue
			}
			all = append(all, live(view, fmt.Sprint("u", i), version(1, sequence), 0))
		}
		return all
	}
	publish(t, s, batch.Outcome{Written: 3000}, vectors(1)...)
	w.expectStored(t, o, vectors(1)...)
	second := append(vectors(2)[:1100], vectors(1)[1100:]...)
	publish(t, s, batch.Outcome{Written: 1100, Equal: 1900}, second...)
	w.expectStored(t, o, second...)

	var wanted []features.VectorKey
	for _, v := range second {
		wanted = append(wanted, features.VectorKey{View: v.View.Name, Entity: v.Entity})
	}
	got, err := r.Fetch(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range got.Vectors {
		if !v.Found || v.View != wanted[i].View || v.Entity != wanted[i].Entity || v.Version != second[i].Version || v.Tombstone != second[i].Tombstone {
			t.Fatalf("vector %d is %+v, want that of %+v", i, v, second[i])
		}
	}
}

// history is what was ever published of one entity: by version, one vector.
func history(entity string, v features.Version) features.Vector {
	if v.Sequence%4 == 0 {
		return tombstone(clicks(), entity, v)
	}
	return live(clicks(), entity, v, 0)
}

func testInterleavings(t *testing.T, w *world) {
	rapid.Check(t, func(rt *rapid.T) {
		o := w.project()
		s, err := online.Open(t.Context(), o)
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		newest := map[string]features.Vector{}
		for range rapid.IntRange(1, 12).Draw(rt, "calls") {
			entities := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 1, 5, rapid.ID).Draw(rt, "entities")
			v := version(rapid.Uint32Range(1, 2).Draw(rt, "generation"), rapid.Uint64Range(1, 6).Draw(rt, "sequence"))
			var want batch.Outcome
			var vectors []features.Vector
			for _, e := range entities {
				vectors = append(vectors, history(e, v))
				was, ok := newest[e]
				switch {
				case !ok || was.Version.Less(v):
					want.Written++
					newest[e] = history(e, v)
				case was.Version == v:
					want.Equal++
				default:
					want.Stale++
				}
			}
			publish(rt, s, want, vectors...)
		}
		var all []features.Vector
		for _, v := range newest {
			all = append(all, v)
		}
		w.expectStored(rt, o, all...)
	})
}

func testConcurrent(t *testing.T, w *world) {
	o := w.project()
	const writers, sequences, entities = 3, 6, 520
	var wg sync.WaitGroup
	for writer := range writers {
		s := openStore(t, o)
		wg.Go(func() {
			for i := range uint64(sequences) {
				sequence := (i*3+uint64(writer))%sequences + 1 // every writer in an order of its own
				var vectors []features.Vector
				for e := range entities {
					vectors = append(vectors, history(fmt.Sprint("u", e), version(1, sequence)))
				}
				got, err := s.Publish(t.Context(), output(vectors...))
				for try := 1; err != nil && !batch.IsPermanent(err) && try < 5; try++ { // as the driver does: a slow machine may time out
					got, err = s.Publish(t.Context(), output(vectors...))
				}
				if err != nil || got.Written+got.Equal+got.Stale != entities {
					t.Errorf("publish: %+v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	var want []features.Vector
	for e := range entities {
		want = append(want, history(fmt.Sprint("u", e), version(1, sequences)))
	}
	w.expectStored(t, o, want...)
}

func testCatalogue(t *testing.T, w *world) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	if _, found, err := r.Catalogue(t.Context()); found || err != nil {
		t.Fatalf("a catalogue in an empty Redis: %v, %v", found, err)
	}
	old := clicks()
	catalogue := features.Catalogue{Project: o.Project, Clock: features.WallClock, Tasks: 1, Views: []features.CatalogueView{{Name: "clicks", Schema: old.Schema}}}
	if err := s.WriteCatalogue(t.Context(), catalogue); err != nil {
		t.Fatal(err)
	}
	a := live(old, "a", version(1, 1), 0)
	publish(t, s, batch.Outcome{Written: 1}, a)

	young := clicks()
	young.Schema = features.Schema{ID: "11111111", Features: append(young.Schema.Features[:2:2], features.SchemaFeature{Name: "new", Kind: "double"})}
	catalogue.Views[0].Schema = young.Schema
	if err := s.WriteCatalogue(t.Context(), catalogue); err != nil {
		t.Fatal(err)
	}
	if got, found, err := r.Catalogue(t.Context()); err != nil || !found || !cmp.Equal(got, catalogue) {
		t.Fatalf("catalogue %+v, %v, %v", got, found, err)
	}
	b := live(young, "b", version(1, 2), 0)
	publish(t, s, batch.Outcome{Written: 1}, b)
	unlisted := visits() // a plan of older definitions may still write a view that the catalogue has no longer
	publish(t, s, batch.Outcome{Written: 1}, live(unlisted, "c", version(1, 2), 0))

	got, err := r.Fetch(t.Context(), []features.VectorKey{{View: "clicks", Entity: "a"}, {View: "clicks", Entity: "b"}, {View: "visits", Entity: "c"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []features.Schema{old.Schema, young.Schema, unlisted.Schema} {
		if v := got.Vectors[i]; v.SchemaID != want.ID || !cmp.Equal(v.Schema, want) || len(v.Values) != len(want.Features) {
			t.Errorf("vector %d: %+v, want schema %+v", i, v, want)
		}
	}
}

func testCatalogueLost(t *testing.T, w *world) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	catalogue := features.Catalogue{Project: o.Project, Tasks: 1, Views: []features.CatalogueView{{Name: "clicks", Schema: clicks().Schema}}}
	if err := s.WriteCatalogue(t.Context(), catalogue); err != nil {
		t.Fatal(err)
	}
	steps := map[string]func() error{
		"planned": func() error { return s.Planned(t.Context(), version(1, 1), "log") },
		"restore": func() error { return s.Restore(t.Context(), batch.Key{Version: version(1, 1), Log: "log"}) },
	}
	for name, step := range steps {
		for _, key := range []string{keys.Catalogue(o.Project), keys.Task(o.Project, 0)} {
			if err := w.client.Del(t.Context(), key).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if got, found, err := r.Catalogue(t.Context()); err != nil || !found || !cmp.Equal(got, catalogue) {
			t.Errorf("%s: catalogue %+v, %v, %v", name, got, found, err)
		}
	}
}

func testHeartbeats(t *testing.T, w *world) {
	o := w.project()
	r := openReader(t, o)
	if got, err := r.Heartbeats(t.Context()); len(got) != 0 || err != nil {
		t.Fatalf("heartbeats in an empty Redis: %v, %v", got, err)
	}
	s := openStore(t, o)
	if err := s.WriteCatalogue(t.Context(), features.Catalogue{Project: o.Project, Tasks: 3}); err != nil {
		t.Fatal(err)
	}
	second := o
	second.Task = 2
	beats := []batch.Heartbeat{{Address: "", Time: 1, Status: nil}, {Address: "h:1", Time: 2, Status: []byte(`{"a":1}`)}}
	for _, b := range beats {
		if err := s.Beat(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := openStore(t, second).Beat(t.Context(), batch.Heartbeat{Time: 3, Status: []byte(`[]`)}); err != nil {
		t.Fatal(err)
	}
	got, err := r.Heartbeats(t.Context())
	want := []features.Heartbeat{{Task: 0, Address: "h:1", Time: 2, Status: []byte(`{"a":1}`)}, {Task: 2, Time: 3, Status: []byte(`[]`)}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("heartbeats %+v, %v; want %+v", got, err, want)
	}
	expectPermanent(t, s.Beat(t.Context(), batch.Heartbeat{Status: []byte(`{`)}))
}

func testFetchOrder(t *testing.T, w *world) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	if got, err := r.Fetch(t.Context(), nil); err != nil || got.Mark.Found || len(got.Vectors) != 0 {
		t.Fatalf("nothing, of an empty Redis: %+v, %v", got, err)
	}
	publish(t, s, batch.Outcome{Written: 2}, live(clicks(), "a", version(1, 2), 0), live(visits(), "b", version(1, 2), 0))
	if err := s.Restore(t.Context(), batch.Key{Version: version(1, 2), Frontier: 50, Watermark: 40, Log: "log"}); err != nil {
		t.Fatal(err)
	}
	wanted := []features.VectorKey{{View: "visits", Entity: "nobody"}, {View: "visits", Entity: "b"}, {View: "clicks", Entity: "b"}, {View: "clicks", Entity: "a"}, {View: "visits", Entity: "b"}}
	got, err := r.Fetch(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	if want := (features.TaskMark{Found: true, Version: version(1, 2), Frontier: 50, Watermark: 40, Log: "log"}); got.Mark != want {
		t.Errorf("mark %+v, want %+v", got.Mark, want)
	}
	for i, found := range []bool{false, true, false, true, true} {
		v := got.Vectors[i]
		if v.Found != found || v.View != wanted[i].View || v.Entity != wanted[i].Entity || found != (len(v.Values) > 0) {
			t.Errorf("vector %d: %+v, want found %v of %+v", i, v, found, wanted[i])
		}
	}
}

func testCorrupt(t *testing.T, w *world) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	a, b := live(clicks(), "a", version(1, 2), 0), live(clicks(), "b", version(1, 2), 0)
	publish(t, s, batch.Outcome{Written: 2}, a, b)
	whole := stored(t, o, b)[keyOf(o, b)]
	for _, thing := range []string{"", "x", whole[:len(whole)-1], whole + "x", whole[:60] + "\xff" + whole[61:]} {
		if err := w.client.Set(t.Context(), keyOf(o, b), thing, 0).Err(); err != nil {
			t.Fatal(err)
		}
		_, err := r.Fetch(t.Context(), []features.VectorKey{{View: "clicks", Entity: "a"}, {View: "clicks", Entity: "b"}})
		if err == nil {
			t.Fatalf("%q was read as a vector", thing)
		}
		expectWords(t, err, keyOf(o, b))
	}
	if err := w.client.Del(t.Context(), keys.Catalogue(o.Project)).Err(); err != nil {
		t.Fatal(err)
	}
	_, err := openReader(t, o).Fetch(t.Context(), []features.VectorKey{{View: "clicks", Entity: "a"}})
	if err == nil {
		t.Fatal("a vector was read without its schema")
	}
	expectWords(t, err, keyOf(o, a), "schema 0a1b2c3d")
}

func testCheck(t *testing.T, w *world) {
	s := openStore(t, w.project())
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}
