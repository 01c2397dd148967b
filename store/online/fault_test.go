package online_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"highwater/batch"
	"highwater/batch/faults/resp"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	"highwater/testutil/redistest"

	"github.com/redis/go-redis/v9"
)

// What only the embedded Redis can show: time and errors at will.

func TestErrors_OfTheServer(t *testing.T) {
	w, m := miniWorld(t)
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	const retried, atTheStart, always = 0, 1, 2 // when it stops the task
	for _, c := range []struct {
		says   string
		kind   string
		stops  int
		advice string
	}{
		{"LOADING Redis is loading the dataset in memory", batch.KindLoading, retried, "from disk"},
		{"READONLY You can't write against a read only replica.", batch.KindReadOnly, retried, "failover"},
		{"NOREPLICAS Not enough good replicas to write.", batch.KindReadOnly, retried, "min-replicas-to-write"},
		{"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", batch.KindReadOnly, retried, "look at its log"},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", batch.KindReadOnly, retried, "primary"},
		{"CLUSTERDOWN The cluster is down", batch.KindMoving, retried, "CLUSTER INFO"},
		{"BUSY Redis is busy running a script.", batch.KindTimeout, retried, "SCRIPT KILL"},
		{"OOM command not allowed when used memory > 'maxmemory'.", batch.KindMemory, retried, "maxmemory"},
		{"ERR Error running script (call to f_8a): @user_script:9: @user_script: 9: -OOM command not allowed", batch.KindMemory, retried, "maxmemory"},
		{"ERR something new", batch.KindOther, retried, ""},
		{"NOAUTH Authentication required.", batch.KindAuth, atTheStart, "password"},
		{"WRONGPASS invalid username-password pair or user is disabled.", batch.KindAuth, atTheStart, "password"},
		{"NOPERM this user has no permissions to run the 'evalsha' command", batch.KindDenied, atTheStart, "docs/operations/redis.md"},
		{"WRONGTYPE Operation against a key holding the wrong kind of value", batch.KindOther, always, "delete it"},
	} {
		m.SetError(c.says)
		_, publishErr := s.Publish(t.Context(), output(live(clicks(), "a", version(1, 1), 0)))
		_, fetchErr := r.Fetch(t.Context(), []features.VectorKey{{View: "clicks", Entity: "a"}})
		_, confirmErr := s.Confirmed(t.Context(), version(0, 0), batch.Key{Version: version(1, 1)})
		running := []error{publishErr, confirmErr, s.Planned(t.Context(), version(1, 1), "log"), s.Beat(t.Context(), batch.Heartbeat{})}
		for i, err := range append(running, fetchErr, openStore(t, o).Check(t.Context())) {
			if started := i < len(running); c.stops == always || c.stops == atTheStart && !started {
				expectPermanent(t, err, m.Addr(), c.says, c.advice)
			} else {
				expectOutage(t, err, m.Addr(), c.says, c.advice)
			}
			if kind := batch.KindOf(err); kind != c.kind {
				t.Errorf("%q is of the kind %s, want %s", c.says, kind, c.kind)
			}
		}
	}
	m.SetError("")
	publish(t, s, batch.Outcome{Written: 1}, live(clicks(), "a", version(1, 1), 0))
}

func TestErrors_WhileRedisIsDown(t *testing.T) {
	w, m := miniWorld(t)
	o := w.project()
	m.Close()
	s := openStore(t, o)
	expectOutage(t, s.Check(t.Context()), "check the online store", o.Addrs[0], "is Redis running")
	_, err := s.Publish(t.Context(), output(live(clicks(), "a", version(1, 1), 0)))
	expectOutage(t, err, "publish 1 vectors", o.Addrs[0])
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Fatalf("Redis is up again: %v", err)
	}
	publish(t, s, batch.Outcome{Written: 1}, live(clicks(), "a", version(1, 1), 0))
}

func TestErrors_OfTheCaller(t *testing.T) {
	w, _ := miniWorld(t)
	o := w.project()
	s := openStore(t, o)
	short := live(clicks(), "a", version(1, 1), 0)
	short.Values = short.Values[1:]
	_, err := s.Publish(t.Context(), output(short))
	expectPermanent(t, err, "clicks", "5 values", "6 features")
	_, err = s.Publish(t.Context(), output(live(clicks(), "a", version(1, 1_000_000_000_000_000), 0)))
	expectPermanent(t, err, "digits")

	for _, bad := range []online.Options{{}, {Project: "p", Task: -1}, {Project: "p", Task: 100_000}, {Project: "p", TombstoneTTL: time.Millisecond}, {Project: "p", Cluster: true, DB: 1}} {
		if _, err := online.Open(t.Context(), bad); err == nil {
			t.Errorf("options %+v were accepted", bad)
		}
	}
	several := o
	several.Addrs = append([]string{o.Addrs[0]}, "127.0.0.1:1")
	expectPermanent(t, openStore(t, several).Check(t.Context()), "several addresses", o.Addrs[0])

	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	_, err = s.Publish(t.Context(), output(live(clicks(), "a", version(1, 1), 0)))
	expectPermanent(t, err, "after Close")
}

func TestErrors_OfTheConnection(t *testing.T) {
	o := online.Options{Project: "p", Addrs: []string{"h:1", "h:2"}}
	for _, c := range []struct {
		err   error
		words string
		kind  string
	}{
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, "is Redis running", batch.KindUnreachable},
		{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, "cut", batch.KindUnreachable},
		{context.DeadlineExceeded, "in time", batch.KindTimeout},
	} {
		err := online.Fail(o, "do a thing", c.err)
		expectOutage(t, err, "do a thing: Redis at h:1,h:2: ", c.words)
		if kind := batch.KindOf(err); kind != c.kind {
			t.Errorf("%v is of the kind %s, want %s", err, kind, c.kind)
		}
	}
	if err := online.Fail(o, "do a thing", context.Canceled); !errors.Is(err, context.Canceled) || batch.IsPermanent(err) {
		t.Errorf("a cancelled call: %v", err)
	}
}

// What a relay before either can show.

func TestMiniredis_CutConnections(t *testing.T) {
	w, _ := miniWorld(t)
	cutConnections(t, w)
}

func TestRedis_CutConnections(t *testing.T) {
	w, _ := realWorld(t)
	cutConnections(t, w)
}

// cutConnections breaks connections under way; the same output, given again, ends with the same bytes.
func cutConnections(t *testing.T, w *world) {
	relay := redistest.Relay(t, w.addrs[0])
	o := w.project()
	o.Addrs = []string{relay.Addr()}
	s, r := openStore(t, o), openReader(t, o)
	a := live(clicks(), "a", version(1, 1), 0)
	publish(t, s, batch.Outcome{Written: 1}, live(clicks(), "b", version(1, 1), 0)) // loads the script

	relay.Inject(resp.Fault{Act: resp.DropBefore})
	_, err := s.Publish(t.Context(), output(a))
	expectOutage(t, err, "publish 1 vectors", relay.Addr())
	w.expectStored(t, o, live(clicks(), "b", version(1, 1), 0))
	publish(t, s, batch.Outcome{Written: 1}, a)

	c := live(clicks(), "c", version(1, 2), 0)
	relay.Inject(resp.Fault{Act: resp.DropAfter})
	_, err = s.Publish(t.Context(), output(c))
	expectOutage(t, err, "publish 1 vectors", relay.Addr())
	publish(t, s, batch.Outcome{Equal: 1}, c)
	w.expectStored(t, o, a, live(clicks(), "b", version(1, 1), 0), c)

	planned(t, s, version(1, 1), "log")
	k := batch.Key{Planned: version(1, 1), Version: version(1, 1), Frontier: 3, Watermark: 2, Log: "log"}
	relay.Inject(resp.Fault{Act: resp.DropAfter, Match: "confirmed"})
	if _, err := s.Confirmed(t.Context(), version(0, 0), k); err == nil {
		t.Fatal("confirmed over a connection that was cut")
	}
	confirmed(t, s, version(0, 0), k, true)
	expectKey(t, s, k)

	wanted := []features.VectorKey{{View: "clicks", Entity: "a"}}
	if _, err := r.Fetch(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
	relay.Inject(resp.Fault{Act: resp.DropBefore, Match: "mget"})
	_, err = r.Fetch(t.Context(), wanted)
	expectOutage(t, err, "fetch 1 vectors", relay.Addr())
	if got, err := r.Fetch(t.Context(), wanted); err != nil || !got.Vectors[0].Found {
		t.Errorf("after the cut: %+v, %v", got, err)
	}
	if got := relay.Struck(); got[resp.DropBefore] != 2 || got[resp.DropAfter] != 2 {
		t.Errorf("the relay has struck %v, want twice before and twice after", got)
	}
}

// What only a real Redis can show.

func TestRedis_RestartsEmpty(t *testing.T) {
	w, server := realWorld(t)
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	if err := s.WriteCatalogue(t.Context(), features.Catalogue{Project: o.Project, Tasks: 1, Views: []features.CatalogueView{{Name: "clicks", Schema: clicks().Schema}}}); err != nil {
		t.Fatal(err)
	}
	before, err := s.ReplicationIDs(t.Context())
	if err != nil || len(before) != 1 || len(before[0]) != 40 {
		t.Fatalf("replication ids %q, %v", before, err)
	}
	planned(t, s, version(1, 1), "log")
	a := live(clicks(), "a", version(1, 1), 0)
	publish(t, s, batch.Outcome{Written: 1}, a)
	k := batch.Key{Version: version(1, 1), Frontier: 3, Watermark: 2, Log: "log"}
	confirmed(t, s, version(0, 0), k, true)

	server.Restart(t)
	eventually(t, func() error { return s.Check(t.Context()) }) // connections of before the restart break first
	after, err := s.ReplicationIDs(t.Context())
	if err != nil || len(after) != 1 || after[0] == before[0] {
		t.Errorf("replication ids %q, and %q before the restart, %v", after, before, err)
	}
	planned(t, s, version(1, 2), "log")
	b := live(clicks(), "b", version(1, 2), 0)
	publish(t, s, batch.Outcome{Written: 1}, b)
	next := batch.Key{Version: version(1, 2), Frontier: 4, Watermark: 2, Log: "log"}
	confirmed(t, s, version(1, 1), next, false)
	publish(t, s, batch.Outcome{Written: 1, Equal: 1}, a, b) // the republish
	restore(t, s, next)
	var got features.Fetched
	eventually(t, func() (err error) {
		got, err = r.Fetch(t.Context(), []features.VectorKey{{View: "clicks", Entity: "a"}})
		return err
	})
	if got.Mark.Version != version(1, 2) || !got.Vectors[0].Found {
		t.Errorf("fetched %+v", got)
	}
}

// eventually tries an act that broken connections may spoil, once for each that a pool may hold.
func eventually(t *testing.T, act func() error) {
	t.Helper()
	var err error
	for range 20 {
		if err = act(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func TestRedis_RefusesToEvict(t *testing.T) {
	for _, policy := range []string{"allkeys-lru", "volatile-ttl"} {
		w, _ := realWorld(t, "--maxmemory-policy", policy)
		o := w.project()
		expectPermanent(t, openStore(t, o).Check(t.Context()), policy, "noeviction", o.Addrs[0])
		o.AllowEviction = true
		if err := openStore(t, o).Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestRedis_ReadOnlyAndOutOfMemory(t *testing.T) {
	w, _ := realWorld(t)
	o := w.project()
	s := openStore(t, o)
	a := live(clicks(), "a", version(1, 1), 0)
	publish(t, s, batch.Outcome{Written: 1}, a)
	client := w.client.(*redis.Client)

	set := func(key, value string) {
		t.Helper()
		if err := client.ConfigSet(t.Context(), key, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("maxmemory", "1")
	_, err := s.Publish(t.Context(), output(live(clicks(), "a", version(1, 2), 0), tombstone(clicks(), "b", version(1, 2))))
	expectOutage(t, err, "OOM", "maxmemory")
	set("maxmemory", "0")
	w.expectStored(t, o, a)

	if err := client.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	_, err = s.Publish(t.Context(), output(live(clicks(), "a", version(1, 2), 0)))
	expectOutage(t, err, "READONLY", "failover")
	if err := client.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	publish(t, s, batch.Outcome{Written: 1}, live(clicks(), "a", version(1, 2), 0))
}

func password(text string) func() (string, error) {
	return func() (string, error) { return text, nil }
}

func TestRedis_Passwords(t *testing.T) {
	w, _ := realWorld(t, "--requirepass", "right")
	o := w.project()
	expectPermanent(t, openStore(t, o).Check(t.Context()), "NOAUTH")
	o.Password = password("wrong")
	expectPermanent(t, openStore(t, o).Check(t.Context()), "WRONGPASS")
	o.Password = password("right")
	if err := openStore(t, o).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// What only a cluster can show.

func testSlotMoves(t *testing.T, w *world, cluster *redistest.Cluster) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	bucket := keys.Bucket("u0")
	var vectors []features.Vector
	var wanted []features.VectorKey
	for i := 0; len(vectors) < 40; i++ {
		if entity := fmt.Sprint("u", i); keys.Bucket(entity) == bucket {
			vectors = append(vectors, live(clicks(), entity, version(1, 1), 0))
			wanted = append(wanted, features.VectorKey{View: "clicks", Entity: entity})
		}
	}
	publish(t, s, batch.Outcome{Written: 40}, vectors...)

	// Half of the slot's keys have moved: calls for both halves answer TRYAGAIN.
	slot := newSlotMove(t, w, cluster, keyOf(o, vectors[0]))
	slot.begin()
	for _, v := range vectors[:20] {
		slot.moveKey(keyOf(o, v))
	}
	next := func(sequence uint64) (all []features.Vector) {
		for _, v := range vectors {
			all = append(all, live(clicks(), v.Entity, version(1, sequence), 0))
		}
		return all
	}
	publish(t, s, batch.Outcome{Written: 40}, next(2)...)
	publish(t, s, batch.Outcome{Stale: 40}, vectors...)
	expectFetched(t, r, wanted, version(1, 2))

	for _, v := range vectors[20:] {
		slot.moveKey(keyOf(o, v))
	}
	publish(t, s, batch.Outcome{Written: 40}, next(3)...) // all moved, the slot not yet: ASK
	expectFetched(t, r, wanted, version(1, 3))
	slot.end()
	publish(t, s, batch.Outcome{Written: 40}, next(4)...) // MOVED
	expectFetched(t, r, wanted, version(1, 4))
	w.client.(*redis.ClusterClient).ReloadState(t.Context())
	w.expectStored(t, o, next(4)...)
}

func expectFetched(t *testing.T, r *online.Reader, wanted []features.VectorKey, want features.Version) {
	t.Helper()
	got, err := r.Fetch(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range got.Vectors {
		if v.Entity != wanted[i].Entity || v.Version != want {
			t.Fatalf("vector %d is %+v, want %q at version %v", i, v, wanted[i].Entity, want)
		}
	}
}

// slotMove moves one slot from its node to another, as resharding does.
type slotMove struct {
	t        *testing.T
	slot     int64
	from, to *redis.Client
	fromID   string
	toID     string
	nodes    []*redis.Client
}

func newSlotMove(t *testing.T, w *world, cluster *redistest.Cluster, key string) *slotMove {
	t.Helper()
	m := &slotMove{t: t}
	slot, err := w.client.(*redis.ClusterClient).ClusterKeySlot(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	m.slot = slot
	owner := -1
	for i, s := range cluster.Nodes {
		m.nodes = append(m.nodes, s.Client(t))
		if m.nodes[i].Get(t.Context(), key).Err() == nil {
			owner = i
		}
	}
	if owner < 0 {
		t.Fatalf("no node holds slot %d", slot)
	}
	m.from, m.to = m.nodes[owner], m.nodes[(owner+1)%len(m.nodes)]
	m.fromID, m.toID = m.from.ClusterMyID(t.Context()).Val(), m.to.ClusterMyID(t.Context()).Val()
	return m
}

func (m *slotMove) do(c *redis.Client, args ...any) {
	m.t.Helper()
	if err := c.Do(m.t.Context(), args...).Err(); err != nil {
		m.t.Fatalf("%v: %v", args, err)
	}
}

func (m *slotMove) begin() {
	m.do(m.to, "cluster", "setslot", m.slot, "importing", m.fromID)
	m.do(m.from, "cluster", "setslot", m.slot, "migrating", m.toID)
}

func (m *slotMove) moveKey(key string) {
	host, port, _ := strings.Cut(m.to.Options().Addr, ":")
	m.do(m.from, "migrate", host, port, key, 0, 5000)
}

// end moves what other projects have in the slot, and then the slot.
func (m *slotMove) end() {
	m.t.Helper()
	rest, err := m.from.ClusterGetKeysInSlot(m.t.Context(), int(m.slot), 100_000).Result()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, key := range rest {
		m.moveKey(key)
	}
	for _, node := range []*redis.Client{m.to, m.from} {
		m.do(node, "cluster", "setslot", m.slot, "node", m.toID)
	}
}

func testMarkIsKept(t *testing.T, w *world) {
	o := w.project()
	s, r := openStore(t, o), openReader(t, o)
	expectMark := func(sequence uint64) {
		t.Helper()
		got, err := r.Fetch(t.Context(), []features.VectorKey{{View: "clicks", Entity: "a"}})
		if err != nil || got.Mark.Version != version(1, sequence) {
			t.Errorf("mark %+v, %v; want sequence %d", got.Mark, err, sequence)
		}
	}
	restore := func(sequence uint64) {
		t.Helper()
		restore(t, s, batch.Key{Version: version(1, sequence), Log: "log"})
	}
	restore(1)
	expectMark(1)
	restore(2)
	expectMark(2)
	r.SetMarkAge(time.Hour)
	restore(3)
	expectMark(2) // a kept mark understates
	r.SetMarkAge(0)
	expectMark(3)
}
