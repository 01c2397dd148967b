package online_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"highwater/batch"
	"highwater/batch/faults/resp"
	"highwater/features"
	"highwater/store/online"
	"highwater/testutil/redistest"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

// The promise of the upsert (I7), as one suite: at most one version of a vector wins, and it is the newest; an equal version is never rewritten; and nothing that arrives late, twice, in parts, out of order or from somebody else changes that.
// It runs on the embedded Redis, on a real one, and on a real cluster.

func TestUpsert_Miniredis(t *testing.T) {
	w, m := miniWorld(t)
	now := time.Unix(1_700_000_000, 0)
	m.SetTime(now)
	u := &upserts{world: w, tombstones: time.Hour, now: func() time.Time { return now }, single: true}
	u.pass = func(d time.Duration) {
		now = now.Add(d)
		m.FastForward(d)
		m.SetTime(now)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	u.losses = []failover{
		{"a failover that loses the last writes", func(lose func()) { must(m.Snapshot()); lose(); must(m.Rollback()) }, true},
		{"a restart without a disk", func(lose func()) { lose(); m.Empty() }, true},
	}
	u.run(t)
}

func TestUpsert_Redis(t *testing.T) {
	w, server := realWorld(t)
	u := &upserts{world: w, single: true, losses: []failover{
		{"a restart from a snapshot", func(lose func()) { server.Snapshot(t); lose(); server.RestartFromSnapshot(t, "") }, true},
		{"a restart without a disk", func(lose func()) { lose(); server.Restart(t) }, true},
	}}
	u.real(t)
}

func TestUpsert_Cluster(t *testing.T) {
	c := redistest.StartClusterWithReplicas(t)
	u := &upserts{world: &world{addrs: c.Addrs, client: c.Client(t)}, losses: []failover{
		{"a takeover by a replica that is behind", func(lose func()) {
			c.Nodes[2].HoldBack(t, c.Replicas[2])
			lose()
			c.FailOver(t, 2, "TAKEOVER")
		}, true},
	}}
	u.losses[0].do = func(do func(func())) func(func()) {
		return func(lose func()) { do(lose); u.client.(*redis.ClusterClient).ReloadState(t.Context()) }
	}(u.losses[0].do)
	u.real(t)
}

// upserts are what the suite runs on.
type upserts struct {
	*world
	tombstones time.Duration    // how long they live in the tests that wait for their end
	now        func() time.Time // by the clock of Redis
	pass       func(time.Duration)
	losses     []failover // which all lose something
	single     bool       // one server, before which a relay can stand
}

// real runs the suite on servers whose time cannot be made to pass.
func (u *upserts) real(t *testing.T) {
	u.tombstones, u.now = 3*time.Second, time.Now
	u.run(t)
}

func (u *upserts) run(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, u *upserts)
	}{
		{"Upsert_AcceptsAReplay", testReplay},
		{"Upsert_KeepsTheNewest", testStale},
		{"Upsert_ANewGenerationWins", testGenerations},
		{"Upsert_ReportsDivergence", testDivergent},
		{"Upsert_TombstonesExpireAndLiveVectorsDoNot", testTombstone},
		{"Upsert_RefusesLateCalls", testGuard},
		{"Upsert_BringsBackNothingThatHasExpired", testExpired},
		{"Upsert_SurvivesLostScripts", testScriptFlush},
		{"Upsert_RandomSchedules", testSchedules},
		{"Upsert_ConcurrentWriters", testConcurrent},
		{"Upsert_OverABadLine", testBadLine},
		{"Upsert_RepublishRestoresWhatAFailoverLost", func(t *testing.T, u *upserts) { testFailovers(t, u.world, u.losses) }}, // last: it takes servers away
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, u) })
	}
}

func testReplay(t *testing.T, w *upserts) {
	o := w.project()
	s := openStore(t, o)
	a, b := live(clicks(), "a", version(1, 1), 0), tombstone(clicks(), "b", version(1, 1))
	publish(t, s, batch.Outcome{Written: 2}, a, b)
	publish(t, s, batch.Outcome{Equal: 2}, a, b)
	publish(t, openStore(t, o), batch.Outcome{Equal: 2}, b, a)
	w.expectStored(t, o, a, b)
}

func testStale(t *testing.T, w *upserts) {
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

func testGenerations(t *testing.T, w *upserts) {
	o := w.project()
	s := openStore(t, o)
	of := func(v features.Version) []features.Vector {
		return []features.Vector{live(clicks(), "a", v, 0), tombstone(clicks(), "b", v), live(visits(), "c", v, 0)}
	}
	publish(t, s, batch.Outcome{Written: 3}, of(version(1, 900))...)
	raised := of(version(2, 0))                                                                       // the first republish of a new generation, before its first batch
	raised[0].Values, raised[2].Values = of(version(1, 900))[0].Values, of(version(1, 900))[2].Values // the same features as before
	publish(t, s, batch.Outcome{Written: 3}, raised...)
	publish(t, s, batch.Outcome{Equal: 3}, raised...)
	publish(t, s, batch.Outcome{Stale: 3}, of(version(1, 901))...) // the owner of the old generation goes on
	publish(t, s, batch.Outcome{Stale: 3}, of(version(1, 900))...)
	w.expectStored(t, o, raised...)
	publish(t, s, batch.Outcome{Written: 3}, of(version(2, 1))...)
	w.expectStored(t, o, of(version(2, 1))...)
}

func testDivergent(t *testing.T, w *upserts) {
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

func testTombstone(t *testing.T, w *upserts) {
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

func testGuard(t *testing.T, w *upserts) {
	o := w.project()
	o.TombstoneTTL = time.Hour
	s := openStore(t, o)
	a, b := live(clicks(), "a", version(1, 1), 0), live(visits(), "b", version(1, 1), 0)
	late := output(a, b, tombstone(visits(), "c", version(1, 1)))
	late.Clock = w.now().Add(-time.Hour).UnixMicro()
	got, err := s.Publish(t.Context(), late)
	if err != nil || got.Refused != 3 || got.Written != 0 {
		t.Fatalf("a late call: %+v, %v; want 3 refused", got, err)
	}
	w.expectStored(t, o)
	inTime := output(a, b)
	inTime.Clock = w.now().Add(-time.Hour + time.Minute).UnixMicro()
	if got, err := s.Publish(t.Context(), inTime); err != nil || got.Written != 2 {
		t.Fatalf("a call in time: %+v, %v; want 2 written", got, err)
	}
}

// testExpired: a call that is older than a tombstone finds it there, or comes too late.
func testExpired(t *testing.T, w *upserts) {
	o := w.project()
	o.TombstoneTTL = w.tombstones
	s := openStore(t, o)
	planned := w.now()
	at := func(clock time.Time, v features.Vector) *batch.Output {
		out := output(v)
		out.Clock = clock.UnixMicro()
		return out
	}
	call := func(out *batch.Output, want batch.Outcome) {
		t.Helper()
		got, err := s.Publish(t.Context(), out)
		if err != nil || got.Written != want.Written || got.Stale != want.Stale || got.Refused != want.Refused {
			t.Errorf("%v after the plan: %+v, %v; want %+v", w.now().Sub(planned), got, err, want)
		}
	}
	old := at(planned, live(clicks(), "a", version(1, 1), 0))
	gone := at(planned, tombstone(clicks(), "a", version(1, 2))) // the worst case: planned in the same microsecond
	call(old, batch.Outcome{Written: 1})
	call(gone, batch.Outcome{Written: 1})
	call(old, batch.Outcome{Stale: 1})
	w.expectStored(t, o, gone.Vectors...)
	if w.pass != nil { // up to its last moment the tombstone holds
		for _, left := range []time.Duration{2 * time.Second, time.Millisecond} {
			w.pass(planned.Add(w.tombstones - left).Sub(w.now()))
			call(old, batch.Outcome{Stale: 1})
			w.expectStored(t, o, gone.Vectors...)
		}
	}
	w.awaitExpiry(t, keyOf(o, gone.Vectors[0]), planned.Add(w.tombstones))
	for _, stray := range []*batch.Output{old, gone, old} {
		call(stray, batch.Outcome{Refused: 1})
		w.expectStored(t, o)
	}
	if w.pass != nil {
		w.pass(48 * time.Hour)
		call(old, batch.Outcome{Refused: 1})
	}
	next := at(w.now(), live(clicks(), "a", version(1, 3), 0)) // who plans now writes
	call(next, batch.Outcome{Written: 1})
	w.expectStored(t, o, next.Vectors...)
}

// awaitExpiry lets time pass, or waits, until a moment is over and a key is gone.
func (w *upserts) awaitExpiry(t *testing.T, key string, until time.Time) {
	t.Helper()
	if w.pass != nil {
		w.pass(until.Sub(w.now()))
	}
	redistest.Eventually(t, "a tombstone to expire", func() error {
		if n := w.client.Exists(t.Context(), key).Val(); n != 0 || w.now().Before(until) {
			return fmt.Errorf("%d keys are left", n)
		}
		return nil
	})
}

func testScriptFlush(t *testing.T, w *upserts) {
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

func flushScripts(t failer, w *upserts) {
	t.Helper()
	flush := func(ctx context.Context, c *redis.Client) error { return c.ScriptFlush(ctx).Err() }
	err := error(nil)
	if c, ok := w.client.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(context.Background(), flush)
	} else {
		err = flush(context.Background(), w.client.(*redis.Client))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// history is what was ever published of one entity: by version, one vector.
func history(entity string, v features.Version) features.Vector {
	if v.Sequence%4 == 0 {
		return tombstone(clicks(), entity, v)
	}
	return live(clicks(), entity, v, 0)
}

// day is a random stretch of a project's life, and the slow oracle beside it: the version rule, one vector at a time.
type day struct {
	*rapid.T
	w       *upserts
	o       online.Options
	writers []*online.Store

	planned features.Version
	calls   []*batch.Output // all that were ever made; they arrive when they like

	stored    map[string]inRedis          // by entity: what the rule says
	published map[string]features.Vector  // by entity: the newest that was confirmed, refused calls included
	shown     map[string]features.Version // by entity: the newest that was ever in Redis
	lost      map[string]bool             // Redis has lost a write of it since the last republish
}

type inRedis struct {
	features.Vector
	expires time.Time // zero for never
}

// testSchedules lets calls arrive late, twice, in parts and out of order, from two writers, over generations and tombstones whose time is over, while Redis loses scripts and acknowledged writes. After every step Redis holds what the
// oracle says; no step takes a vector back; and a republish at the end leaves exactly what was published last.
func testSchedules(t *testing.T, w *upserts) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &day{T: rt, w: w, o: w.project(), stored: map[string]inRedis{}, published: map[string]features.Vector{}, shown: map[string]features.Version{}, lost: map[string]bool{}}
		d.o.TombstoneTTL = w.tombstones
		if w.pass == nil {
			d.o.TombstoneTTL = online.DefaultTombstoneTTL
		}
		for range 2 {
			s, err := online.Open(context.Background(), d.o)
			if err != nil {
				rt.Fatal(err)
			}
			defer s.Close()
			d.writers = append(d.writers, s)
		}
		steps := []func(){d.plan, d.plan, d.deliver, d.deliver, d.deliver, d.deliver, d.diverge, d.late, d.lose, d.republish, func() { flushScripts(rt, w) }}
		if w.pass != nil {
			steps = append(steps, func() { w.pass(time.Duration(rapid.IntRange(1, 70).Draw(rt, "minutes")) * time.Minute) })
		}
		d.plan()
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			steps[rapid.IntRange(0, len(steps)-1).Draw(rt, "step")]()
			d.check()
		}
		d.republish()
		d.check()
		for entity, v := range d.published {
			if have, ok := d.stored[entity]; (!ok || have.Version != v.Version) && !v.Tombstone {
				rt.Errorf("after the last republish %s is at %v (%v), and was published at %v", entity, have.Version, ok, v.Version)
			}
		}
	})
}

// plan makes the next batch, or the first of a new generation. Whether its call ever arrives is another matter.
func (d *day) plan() {
	if d.planned.Generation == 0 || rapid.IntRange(0, 5).Draw(d.T, "raise") == 0 {
		d.planned = version(d.planned.Generation+1, 0)
	}
	d.planned.Sequence++
	out := &batch.Output{Version: d.planned, Clock: d.w.now().UnixMicro()}
	for _, e := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 1, 5, rapid.ID).Draw(d.T, "entities") {
		out.Vectors = append(out.Vectors, history(e, d.planned))
	}
	d.calls = append(d.calls, out)
}

// deliver lets any of the calls arrive, the first time or again, whole or in part.
func (d *day) deliver() {
	whole := d.calls[rapid.IntRange(0, len(d.calls)-1).Draw(d.T, "call")]
	part := *whole
	part.Vectors = rapid.Permutation(whole.Vectors).Draw(d.T, "order")[:rapid.IntRange(1, len(whole.Vectors)).Draw(d.T, "vectors")]
	d.call(&part)
}

// diverge sends other bytes under a version that is stored.
func (d *day) diverge() {
	for _, e := range slices.Sorted(maps.Keys(d.stored)) {
		if v := d.stored[e]; d.holds(e) {
			other := live(clicks(), e, v.Version, 7)
			d.call(&batch.Output{Version: v.Version, Clock: d.w.now().UnixMicro(), Vectors: []features.Vector{other}})
			return
		}
	}
}

// late sends a call of an owner that was away for longer than tombstones live.
func (d *day) late() {
	out := *d.calls[len(d.calls)-1]
	out.Clock = d.w.now().Add(-d.o.TombstoneTTL).UnixMicro()
	d.call(&out)
}

// lose takes acknowledged writes back: an entity is gone, or as it was at some time before.
func (d *day) lose() {
	entity := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(d.T, "lost")
	if !d.holds(entity) {
		return
	}
	key := keyOf(d.o, d.stored[entity].Vector)
	back := d.calls[rapid.IntRange(0, len(d.calls)-1).Draw(d.T, "back to")]
	i := slices.IndexFunc(back.Vectors, func(v features.Vector) bool {
		return v.Entity == entity && !v.Tombstone && v.Version.Less(d.stored[entity].Version)
	})
	var err error
	if delete(d.stored, entity); i < 0 {
		err = d.w.client.Del(context.Background(), key).Err()
	} else {
		err = d.w.client.Set(context.Background(), key, stored(d.T, d.o, back.Vectors[i])[key], 0).Err()
		d.stored[entity] = inRedis{Vector: back.Vectors[i]}
	}
	if err != nil {
		d.Fatal(err)
	}
	d.lost[entity] = true
}

// republish upserts what was published last of every entity, as the owner does whose state remembers it, with the clock reading of a plan made now.
func (d *day) republish() {
	out := &batch.Output{Version: d.planned, Clock: d.w.now().UnixMicro()}
	for _, entity := range slices.Sorted(maps.Keys(d.published)) {
		out.Vectors = append(out.Vectors, d.published[entity])
	}
	if len(out.Vectors) > 0 {
		d.call(out)
	}
	clear(d.lost)
}

// call publishes, and compares what came of it with the rule.
func (d *day) call(out *batch.Output) {
	var want batch.Outcome
	for _, v := range out.Vectors {
		d.rule(v, out.Clock, &want)
	}
	s := d.writers[rapid.IntRange(0, len(d.writers)-1).Draw(d.T, "writer")]
	got, err := s.Publish(context.Background(), out)
	if err != nil {
		d.Fatal(err)
	}
	if got.Written != want.Written || got.Equal != want.Equal || got.Stale != want.Stale || got.Refused != want.Refused || !slices.Equal(got.Divergent, want.Divergent) {
		d.Fatalf("version %v: outcome %+v, the rule says %+v", out.Version, got, want)
	}
}

// holds reports whether Redis holds something of an entity now.
func (d *day) holds(entity string) bool {
	s, ok := d.stored[entity]
	return ok && (s.expires.IsZero() || d.w.now().Before(s.expires))
}

// rule is what upsert.lua is to do with one vector.
func (d *day) rule(v features.Vector, clock int64, outcome *batch.Outcome) {
	old := d.stored[v.Entity]
	late := d.w.now().Unix() >= time.UnixMicro(clock).Add(d.o.TombstoneTTL).Unix()
	newest, known := d.published[v.Entity]
	switch {
	case late:
		outcome.Refused++
	case !d.holds(v.Entity) || old.Version.Less(v.Version):
		if v.Version.Less(d.shown[v.Entity]) && !d.lost[v.Entity] {
			d.Fatalf("%s was at %v, and %v comes back", v.Entity, d.shown[v.Entity], v.Version)
		}
		outcome.Written++
		d.shown[v.Entity] = v.Version
		d.stored[v.Entity] = inRedis{Vector: v}
		if v.Tombstone {
			d.stored[v.Entity] = inRedis{Vector: v, expires: d.w.now().Add(d.o.TombstoneTTL)}
		}
	case v.Version.Less(old.Version):
		outcome.Stale++
	case maps.Equal(stored(d.T, d.o, v), stored(d.T, d.o, old.Vector)):
		outcome.Equal++
	default:
		outcome.Divergent = append(outcome.Divergent, batch.Divergence{View: v.View.Name, Entity: v.Entity, Version: v.Version})
		return // it was never published
	}
	if !known || newest.Version.Less(v.Version) {
		d.published[v.Entity] = v
	}
}

// check compares all that Redis holds with the oracle.
func (d *day) check() {
	var all []features.Vector
	for entity, s := range d.stored {
		if d.holds(entity) {
			all = append(all, s.Vector)
		}
	}
	d.w.expectStored(d.T, d.o, all...)
}

// testConcurrent: writers that all carry the same calls, each in an order of its own, in parts and some of them twice, while scripts are lost. No reader sees a vector go back, and the end is the newest of each.
func testConcurrent(t *testing.T, w *upserts) {
	for seed := range uint64(2) {
		o := w.project()
		const writers, sequences, entities = 3, 6, 260
		var writing, reading sync.WaitGroup
		for writer := range writers {
			s, rng := openStore(t, o), rand.New(rand.NewPCG(seed, uint64(writer)))
			var calls [][]features.Vector
			for sequence := range uint64(sequences) {
				var vectors []features.Vector
				for e := range entities {
					vectors = append(vectors, history(fmt.Sprint("u", e), version(1, sequence+1)))
				}
				cut := rng.IntN(entities)
				calls = append(calls, vectors[:cut], vectors[cut:], vectors[:rng.IntN(entities)])
			}
			rng.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
			writing.Go(func() {
				for _, vectors := range calls {
					if len(vectors) == 0 {
						continue
					}
					got, err := s.Publish(t.Context(), output(vectors...))
					for try := 1; err != nil && !batch.IsPermanent(err) && try < 10; try++ { // as the driver does
						got, err = s.Publish(t.Context(), output(vectors...))
					}
					if err != nil || got.Written+got.Equal+got.Stale != len(vectors) {
						t.Errorf("seed %d, writer %d: %+v, %v", seed, writer, got, err)
					}
				}
			})
		}
		done := make(chan struct{})
		reading.Go(func() { w.neverBack(t, o, done) })
		for range 3 {
			flushScripts(t, w)
		}
		writing.Wait()
		close(done)
		reading.Wait()
		var want []features.Vector
		for e := range entities {
			want = append(want, history(fmt.Sprint("u", e), version(1, sequences)))
		}
		w.expectStored(t, o, want...)
	}
}

// neverBack reads a few vectors over and over, until done.
func (w *upserts) neverBack(t *testing.T, o online.Options, done <-chan struct{}) {
	r := openReader(t, o)
	var wanted []features.VectorKey
	for e := range 20 {
		wanted = append(wanted, features.VectorKey{View: "clicks", Entity: fmt.Sprint("u", e*13)})
	}
	seen := make([]features.Version, len(wanted))
	for {
		select {
		case <-done:
			return
		default:
		}
		got, err := r.Fetch(t.Context(), wanted)
		if err != nil {
			continue // a cluster's reader may be told to come again
		}
		for i, v := range got.Vectors {
			if v.Version.Less(seen[i]) {
				t.Errorf("%s went from version %v back to %v", wanted[i].Entity, seen[i], v.Version)
			}
			seen[i] = v.Version
		}
	}
}

// testBadLine publishes through a relay that drops calls before and after Redis has applied them, refuses, delays and cuts; each is given again until it is confirmed. It ends as over a good line.
func testBadLine(t *testing.T, w *upserts) {
	if !w.single {
		t.Skip("SKIPPED: a cluster's clients are sent past a relay")
	}
	for seed := range uint64(3) {
		relay := redistest.Relay(t, w.addrs[0])
		o := w.project()
		o.Addrs = []string{relay.Addr()}
		s := openStore(t, o)
		const batches, entities = 12, 450
		for _, f := range resp.Draw(rand.New(rand.NewPCG(seed, 0)), 10, 3*batches, 3*time.Millisecond) {
			relay.Inject(f)
		}
		newest := map[string]features.Vector{}
		for n := range uint64(batches) {
			var vectors []features.Vector
			for e := range entities {
				if (uint64(e)+n)%3 > 0 {
					v := history(fmt.Sprint("u", e), version(1, n+1))
					vectors, newest[v.Entity] = append(vectors, v), v
				}
			}
			redistest.Eventually(t, "a batch to be confirmed", func() error {
				got, err := s.Publish(t.Context(), output(vectors...))
				if batch.IsPermanent(err) {
					t.Fatalf("seed %d: the task would stop: %v", seed, err)
				}
				if err == nil && got.Written+got.Equal != len(vectors) {
					t.Fatalf("seed %d, batch %d: %+v", seed, n+1, got)
				}
				return err
			})
		}
		if len(relay.Struck()) == 0 {
			t.Errorf("seed %d: nothing was struck", seed)
		}
		w.expectStored(t, o, slices.Collect(maps.Values(newest))...)
	}
}
