package online_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	"highwater/windows"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestMiniredis(t *testing.T) {
	w, _ := miniWorld(t)
	conformance(t, w)
}

func TestRedis(t *testing.T) {
	w, _ := realWorld(t)
	conformance(t, w)
}

func TestSentinel(t *testing.T) {
	w, _ := sentinelWorld(t)
	conformance(t, w, "TaskKey_RandomMoves") // which opens a store a time: it is the same server, and the way to it is long
	u := &upserts{world: w}
	t.Run("Upsert_SurvivesLostScripts", func(t *testing.T) { testScriptFlush(t, u) })
	t.Run("Upsert_ConcurrentWriters", func(t *testing.T) { testConcurrent(t, u) })
}

func TestCluster(t *testing.T) {
	w, cluster := clusterWorld(t)
	conformance(t, w)
	t.Run("Fetch_KeepsAMarkForAWhile", func(t *testing.T) { testMarkIsKept(t, w) })
	t.Run("Publish_WhileASlotMoves", func(t *testing.T) { testSlotMoves(t, w, cluster) })
	t.Run("Sweep_WhileASlotMoves", func(t *testing.T) { testSweepSlotMoves(t, w, cluster) })
}

// conformance is what every Redis must do for us, embedded, real, behind Sentinels or in a cluster; but for some.
func conformance(t *testing.T, w *world, but ...string) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"Publish_WritesEveryKindOfValue", testEveryKind},
		{"Publish_RefusesAnotherTasksVectors", testForeign},
		{"Publish_RefusesWhatIsNoVector", testNoVector},
		{"Publish_RefusesKeysOfAnotherType", testOtherType},
		{"Publish_ManyVectors", testMany},
		{"TaskKey_OnlyEverMovesUp", testTaskKey},
		{"TaskKey_NamesASupersededLog", testSuperseded},
		{"TaskKey_BelongsToWhoClaimedLast", testOwners},
		{"TaskKey_LosesWhatRedisLost", testTaskKeyLost},
		{"TaskKey_RandomMoves", testTaskKeyMoves},
		{"Catalogue_KeepsEveryShape", testCatalogue},
		{"Catalogue_ComesBackWithTheTaskKey", testCatalogueLost},
		{"Heartbeats_ByTask", testHeartbeats},
		{"Fetch_KeepsTheOrderAsked", testFetchOrder},
		{"Fetch_NamesACorruptKey", testCorrupt},
		{"Compare_SaysWhatIsThere", testCompare},
		{"Compare_ManyVectors", testCompareMany},
		{"Check_AcceptsThisRedis", testCheck},
		{"Sweep_TakesOrphansAlone", testSweep},
		{"Sweep_LeavesWhatIsNoVector", testSweepLeaves},
		{"Sweep_GoesOnAfterAnError", testSweepGoesOn},
		{"Sweep_IsRefusedWhenLate", testSweepRefused},
		{"Sweep_BesideAPublisher", testSweepBesideAPublisher},
		{"Erase_LeavesOtherProjectsAlone", testErase},
		{"Footprint_WeighsVectors", testFootprint},
		{"Vectors_OfOneProject", testVectors},
	} {
		if !slices.Contains(but, c.name) {
			t.Run(c.name, func(t *testing.T) { c.test(t, w) })
		}
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
	expectForeign(t, err, "a")
	want, wantB := stored(t, o, a), stored(t, mine, b)
	got, err := w.client.Get(t.Context(), keyOf(o, a)).Result()
	if err != nil || got != want[keyOf(o, a)] {
		t.Errorf("task 4's vector is now %q, %v", got, err)
	}
	if got, err := w.client.Get(t.Context(), keyOf(o, b)).Result(); err != nil || got != wantB[keyOf(o, b)] {
		t.Errorf("task 12's own vector is %q, %v", got, err)
	}
}

// expectForeign expects an error that names exactly these entities' keys as not ours.
func expectForeign(t *testing.T, err error, entities ...string) {
	t.Helper()
	foreign, ok := errors.AsType[*online.ForeignError](err)
	if !ok {
		t.Fatalf("have %v, want an error that says which keys are not ours", err)
	}
	var got []string
	for _, k := range foreign.Vectors {
		got = append(got, k.Entity)
	}
	if slices.Sort(got); !slices.Equal(got, entities) {
		t.Errorf("%q are not ours, want %q", got, entities)
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

// testOtherType: MGET tells nothing of a key that holds another type, which looks like no key at all.
func testOtherType(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	list, hash := live(clicks(), "list", version(1, 1), 0), tombstone(clicks(), "hash", version(1, 1))
	if err := w.client.RPush(t.Context(), keyOf(o, list), "x").Err(); err != nil {
		t.Fatal(err)
	}
	if err := w.client.HSet(t.Context(), keyOf(o, hash), "f", "x").Err(); err != nil {
		t.Fatal(err)
	}
	rest := []features.Vector{live(clicks(), "a", version(1, 1), 0), tombstone(clicks(), "b", version(1, 1))}
	outcome, err := s.Publish(t.Context(), output(append(rest, list, hash)...))
	expectPermanent(t, err, keyOf(o, list), keyOf(o, hash), "no vector")
	if expectForeign(t, err, "hash", "list"); outcome.Written != 2 {
		t.Errorf("beside what is not ours, %+v", outcome)
	}
	for _, v := range []features.Vector{list, hash} {
		if err := w.client.Get(t.Context(), keyOf(o, v)).Err(); !redis.HasErrorPrefix(err, "WRONGTYPE") {
			t.Errorf("%q was overwritten: %v", keyOf(o, v), err)
		}
		if err := w.client.Del(t.Context(), keyOf(o, v)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	w.expectStored(t, o, rest...)
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
		"restore": func() error {
			_, err := restored(t.Context(), s, batch.Key{Version: version(1, 1), Log: "log"})
			return err
		},
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
	restore(t, s, batch.Key{Version: version(1, 2), Frontier: 50, Watermark: 40, Log: "log"})
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

func testCompare(t *testing.T, w *world) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	publish(t, s, batch.Outcome{Written: 4}, live(clicks(), "same", version(1, 7), 0), live(clicks(), "newer", version(2, 1), 0), live(clicks(), "older", version(1, 6), 0), tombstone(clicks(), "gone", version(1, 7)))
	others := o
	others.Task = 1
	publish(t, openStore(t, others), batch.Outcome{Written: 1}, live(clicks(), "theirs", version(1, 7), 0))
	tampered := live(clicks(), "tampered", version(1, 7), 0)
	publish(t, s, batch.Outcome{Written: 1}, tampered)
	key := string(keys.AppendVector(nil, o.Project, "clicks", "tampered"))
	value := []byte(w.client.Get(t.Context(), key).Val())
	value[len(value)-1] ^= 1 // below the hash, which stays as it was: the script would take it for equal
	w.client.Set(t.Context(), key, value, 0)
	w.client.Set(t.Context(), string(keys.AppendVector(nil, o.Project, "clicks", "text")), "hello", 0)

	names := []string{"same", "newer", "older", "nowhere", "gone", "theirs", "tampered", "text", "other"}
	var vectors []features.Vector
	for _, name := range names {
		v := live(clicks(), name, version(1, 7), 0)
		if name == "gone" {
			v = tombstone(clicks(), name, version(1, 7))
		}
		vectors = append(vectors, v)
	}
	publish(t, s, batch.Outcome{Written: 1}, live(clicks(), "other", version(1, 7), 5))
	found, err := r.Compare(t.Context(), vectors)
	if err != nil {
		t.Fatal(err)
	}
	want := []online.Comparison{
		{Verdict: online.Equal, Stored: version(1, 7)}, {Verdict: online.Stale, Stored: version(2, 1)}, {Verdict: online.Missing, Stored: version(1, 6)},
		{Verdict: online.Missing, Absent: true}, {Verdict: online.Equal, Stored: version(1, 7)}, {Verdict: online.Divergent, Stored: version(1, 7)},
		{Verdict: online.Divergent, Stored: version(1, 7)}, {Verdict: online.Divergent}, {Verdict: online.Divergent, Stored: version(1, 7)},
	}
	for i, c := range found {
		detail := c.Detail
		c.Detail = ""
		if c != want[i] || (detail != "") != (c.Verdict == online.Divergent) {
			t.Errorf("%s: %+v, %q; want %+v", names[i], c, detail, want[i])
		}
	}
}

func testCompareMany(t *testing.T, w *world) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	var vectors []features.Vector
	for i := range 3_000 {
		vectors = append(vectors, live(visits(), fmt.Sprintf("u%d", i), version(1, 1), 0))
	}
	publish(t, s, batch.Outcome{Written: 1500}, vectors[:1500]...)
	found, err := r.Compare(t.Context(), vectors)
	if err != nil || len(found) != len(vectors) {
		t.Fatalf("%d comparisons: %v", len(found), err)
	}
	for i, c := range found {
		if want := i < 1500; (c.Verdict == online.Equal) != want || (c.Verdict == online.Missing) == want {
			t.Fatalf("vector %d: %+v", i, c)
		}
	}
}
