package online_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	"highwater/testutil/redistest"

	"github.com/redis/go-redis/v9"
)

// swept is the tombstone that a sweep to generation 2 or 3 leaves in the place of v, with that frontier.
func swept(v features.Vector, generation uint32, frontier int64) features.Vector {
	return features.Vector{View: v.View, Entity: v.Entity, Version: version(generation-1, 999_999_999_999_999), Frontier: frontier, EventTime: v.EventTime, Tombstone: true}
}

func sweep(t failer, s *online.Store, generation uint32, want int64, pace func(int) error) {
	t.Helper()
	got, err := s.Sweep(context.Background(), version(generation, 0), time.Now().UnixMicro(), 77, pace)
	if err != nil || got != want {
		t.Fatalf("swept %d, %v; want %d", got, err, want)
	}
}

func testSweep(t *testing.T, w *world) {
	o := w.project()
	o.TombstoneTTL = time.Hour
	s := openStore(t, o)
	a, b, long := live(clicks(), "a", version(1, 1), 0), live(visits(), "b", version(2, 9), 0), live(clicks(), "a\x00\x01\xff", version(2, 9), 0)
	old, present, future := tombstone(clicks(), "c", version(1, 2)), live(clicks(), "d", version(3, 0), 0), live(clicks(), "e", version(4, 1), 0)
	publish(t, s, batch.Outcome{Written: 6}, a, b, long, old, present, future)
	theirs := o
	theirs.Task = 3
	publish(t, openStore(t, theirs), batch.Outcome{Written: 1}, live(clicks(), "theirs", version(1, 1), 0))
	other := w.project()
	publish(t, openStore(t, other), batch.Outcome{Written: 1}, a)
	planned(t, s, version(1, 1), "log")

	sweep(t, s, 3, 3, nil)
	want := stored(t, o, swept(a, 3, 77), swept(b, 3, 77), swept(long, 3, 77), old, present, future)
	maps.Copy(want, stored(t, theirs, live(clicks(), "theirs", version(1, 1), 0)))
	if got := redistest.Vectors(t.Context(), w.client, o.Project); !maps.Equal(got, want) {
		t.Errorf("Redis holds\n%s\nwant\n%s", dump(got), dump(want))
	}
	w.expectStored(t, other, a)
	if ttl := w.client.PTTL(t.Context(), keyOf(o, a)).Val(); ttl <= 59*time.Minute || ttl > time.Hour {
		t.Errorf("the tombstone expires in %v, want an hour", ttl)
	}
	sweep(t, s, 3, 0, nil)
	sweep(t, s, 0, 0, nil)

	publish(t, s, batch.Outcome{Stale: 1}, live(clicks(), "a", version(2, 500), 0)) // a stray call of an older generation
	publish(t, s, batch.Outcome{Written: 1}, live(clicks(), "a", version(3, 0), 0)) // and whatever the generation itself has to say
}

func testSweepLeaves(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	a := live(clicks(), "a", version(1, 1), 0)
	whole := stored(t, o, a)[keyOf(o, a)]
	things := map[string]string{"b": "", "c": "7", "d": whole[:41], "e": "x" + whole[1:], "f": whole[:41] + "no payload"}
	for entity, thing := range things {
		if err := w.client.Set(t.Context(), keyOf(o, live(clicks(), entity, version(1, 1), 0)), thing, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	list := keyOf(o, live(clicks(), "list", version(1, 1), 0))
	if err := w.client.RPush(t.Context(), list, "x").Err(); err != nil {
		t.Fatal(err)
	}
	publish(t, s, batch.Outcome{Written: 1}, a)
	sweep(t, s, 2, 1, nil)
	for entity, thing := range things {
		if got := w.client.Get(t.Context(), keyOf(o, live(clicks(), entity, version(1, 1), 0))).Val(); got != thing {
			t.Errorf("%q has become %q", thing, got)
		}
	}
	if n := w.client.LLen(t.Context(), list).Val(); n != 1 {
		t.Errorf("the list has %d elements now", n)
	}
}

func testSweepGoesOn(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	const entities = 5000
	var vectors, gone []features.Vector
	for i := range entities {
		v := live(visits(), fmt.Sprint("u", i), version(1, 4), 0)
		vectors, gone = append(vectors, v), append(gone, swept(v, 2, 77))
	}
	publish(t, s, batch.Outcome{Written: entities}, vectors...)

	enough := errors.New("enough")
	looked := 0
	stop := func(keys int) error {
		if looked += keys; looked >= 1500 {
			return enough
		}
		return nil
	}
	first, err := s.Sweep(t.Context(), version(2, 0), time.Now().UnixMicro(), 77, stop)
	if !errors.Is(err, enough) || first == 0 { // the embedded Redis tells all keys in one page
		t.Fatalf("swept %d, %v; want some, and the error", first, err)
	}
	seen := 0
	sweep(t, s, 2, entities-first, func(keys int) error { seen += keys; return nil })
	if seen < entities {
		t.Errorf("told of %d keys, and there are %d", seen, entities)
	}
	w.expectStored(t, o, gone...)
}

func testSweepRefused(t *testing.T, w *world) {
	o := w.project()
	o.TombstoneTTL = time.Hour
	s := openStore(t, o)
	a := live(clicks(), "a", version(1, 1), 0)
	publish(t, s, batch.Outcome{Written: 1}, a)
	_, err := s.Sweep(t.Context(), version(2, 0), time.Now().Add(-time.Hour).UnixMicro(), 77, nil)
	expectOutage(t, err, "sweep vectors of generations before 2", "1 tombstones were refused", "after the next batch")
	w.expectStored(t, o, a)
}

func testSweepBesideAPublisher(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	const entities, rounds = 1200, 4
	var old, want []features.Vector
	next := make([][]features.Vector, rounds)
	for i := range entities {
		v := live(visits(), fmt.Sprint("u", i), version(1, 4), 0)
		old = append(old, v)
		if i%3 == 0 {
			want = append(want, swept(v, 2, 77))
			continue
		}
		for round := range next {
			next[round] = append(next[round], live(visits(), v.Entity, version(2, uint64(round)), 0))
		}
		want = append(want, next[rounds-1][len(next[0])-1])
	}
	publish(t, s, batch.Outcome{Written: entities}, old...)
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for _, vectors := range next {
			publish(t, s, batch.Outcome{Written: len(vectors)}, vectors...)
		}
	})
	if n, err := s.Sweep(t.Context(), version(2, 0), time.Now().UnixMicro(), 77, nil); err != nil || n < entities/3 {
		t.Errorf("swept %d, %v; want %d at least", n, err, entities/3)
	}
	publisher.Wait()
	w.expectStored(t, o, want...)
}

// testSweepSlotMoves moves a slot, key by key, behind the back of a sweep that has already looked there.
func testSweepSlotMoves(t *testing.T, w *world, cluster *redistest.Cluster) {
	o := w.project()
	s := openStore(t, o)
	bucket := keys.Bucket("u0")
	var vectors, gone []features.Vector
	for i := 0; len(vectors) < 30; i++ {
		if entity := fmt.Sprint("u", i); keys.Bucket(entity) == bucket {
			v := live(clicks(), entity, version(1, 1), 0)
			vectors, gone = append(vectors, v), append(gone, swept(v, 2, 77))
		}
	}
	publish(t, s, batch.Outcome{Written: 30}, vectors...)
	move := newSlotMove(t, w, cluster, keyOf(o, vectors[0]))
	pages := 0
	pace := func(int) error {
		switch pages++; pages {
		case 1:
			move.begin()
			for _, v := range vectors[:10] {
				move.moveKey(keyOf(o, v))
			}
			for _, v := range vectors { // as if the sweep had not met them yet
				if err := w.client.Set(t.Context(), keyOf(o, v), stored(t, o, v)[keyOf(o, v)], 0).Err(); err != nil {
					t.Error(err)
				}
			}
		case 5:
			move.end()
		}
		return nil
	}
	if _, err := s.Sweep(t.Context(), version(2, 0), time.Now().UnixMicro(), 77, pace); err != nil {
		t.Fatal(err)
	}
	if pages <= 2*len(cluster.Nodes) {
		t.Errorf("looked at %d pages: keys moved, and it did not look again", pages)
	}
	w.client.(*redis.ClusterClient).ReloadState(t.Context())
	w.expectStored(t, o, gone...)
}
