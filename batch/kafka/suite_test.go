package kafka_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/features"
)

func TestSource_Fake(t *testing.T) {
	t.Parallel()
	testSource(t, newFake(t))
}

// testSource holds a source on a cluster against batch.Source's contract.
func testSource(t *testing.T, c cluster) {
	t.Run("at once", func(t *testing.T) { testUndisturbed(t, c) })
	t.Run("a restart in the middle", func(t *testing.T) { testRestart(t, c) })
	t.Run("brokers that come late", func(t *testing.T) { testLateBrokers(t, c) })
}

func testUndisturbed(t *testing.T, c cluster) {
	for name, test := range map[string]func(*testing.T, cluster){
		"partitions in the order of sources": testOrder,
		"any cuts make the log":              testReassembly,
		"from any offset":                    testResume,
		"limits":                             testLimits,
		"fairness":                           testFairness,
		"transactions":                       testTransactions,
		"an open transaction":                testOpenTransaction,
		"lost before the start":              testLostAtStart,
		"lost in the middle":                 testLostMidRun,
		"lost and accepted":                  testAcceptLoss,
		"all lost and accepted":              testAllLost,
		"beyond the end":                     testBeyond,
		"refused topics":                     testRefused,
		"deleted and made again":             testRecreated,
		"grown":                              testGrows,
		"becomes compacted":                  testBecomesCompacted,
		"headers":                            testHeaders,
		"large records":                      testLarge,
		"memory":                             testMemory,
		"a plan beyond memory":               testPlanBeyondMemory,
		"a wait beyond memory":               testWaitBeyondMemory,
		"a wait that ends":                   testTakeCancelled,
		"ends and commits":                   testEndsAndCommits,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

func testOrder(t *testing.T, c cluster) {
	a, b := newTopic(t, c, 2, nil), newTopic(t, c, 1, nil)
	s := open(t, c, kafka.Options{}, b, a)
	want := []batch.Partition{{Source: "source_0", Topic: b, Number: 0}, {Source: "source_1", Topic: a, Number: 0}, {Source: "source_1", Topic: a, Number: 1}}
	if got := s.Partitions(); !slices.Equal(got, want) {
		t.Fatalf("partitions %v, want %v", got, want)
	}
	wa, wb := write(t, c, a, 2), write(t, c, b, 1)
	wa.records(t, 0, 5, 10)
	wa.records(t, 1, 7, 10)
	wb.records(t, 0, 3, 10)
	r := read(t, s, 0, 0, 0)
	r.until([]int64{3, 5, 7})
	same(t, r.got[0], wb.want[0])
	same(t, r.got[1], wa.want[0])
	same(t, r.got[2], wa.want[1])
}

// Whatever the limits of each cut, the slices are the log: nothing twice, nothing left out, in order.
func testReassembly(t *testing.T, c cluster) {
	const partitions = 3
	topic := newTopic(t, c, partitions, nil)
	w := write(t, c, topic, partitions, kgo.TransactionalID(topic))
	for i := range 6 {
		w.transaction(t, 40, kgo.TransactionEndTry(i%3 != 1))
	}
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 0))
		s := open(t, c, kafka.Options{MemoryBytes: 1 << (10 + random.IntN(8))}, topic)
		r := read(t, s, 0, 0, 0)
		offsets, bytes := 1+random.Int64N(60), 1+random.Int64N(2000)
		r.limits = func() (int64, int64) { return offsets, bytes }
		ends := w.ends(t)
		for ctx := within(t); behind(r.at, ends); {
			must(t, r.step(ctx))
			offsets, bytes = 1+random.Int64N(60), 1+random.Int64N(2000)
		}
		for p := range partitions {
			same(t, r.got[p], w.want[p])
		}
		s.Close()
	}
}

// A recorded plan is taken again by another process, from wherever the last one stood, with ends that no cut of its own proposed.
func testResume(t *testing.T, c cluster) {
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2)
	w.records(t, 0, 300, 50)
	w.records(t, 1, 200, 50)
	for _, plan := range [][2][2]int64{{{0, 300}, {0, 200}}, {{17, 18}, {199, 200}}, {{299, 300}, {50, 50}}, {{300, 300}, {0, 1}}} {
		s := open(t, c, kafka.Options{}, topic)
		r := read(t, s, plan[0][0], plan[1][0])
		must(t, r.take(within(t), []int64{plan[0][1], plan[1][1]}))
		for p := range plan {
			same(t, r.got[p], w.slice(p, plan[p][0], plan[p][1]))
		}
		r.until([]int64{300, 200})
		s.Close()
	}
}

func testLimits(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1)
	w.records(t, 0, 10, 1000)
	s := open(t, c, kafka.Options{}, topic)
	r := read(t, s, 0)
	r.fetched(10)
	for _, limit := range []struct {
		offsets, bytes int64
		end            int64
		full           bool
	}{
		{100, 1 << 20, 10, false},
		{10, 1 << 20, 10, true},
		{4, 1 << 20, 4, true},
		{100, 3 * 1001, 3, true},
		{100, 3*1001 - 1, 2, true},
		{100, 1, 1, true}, // one record, whatever its size
	} {
		got, err := s.Cut(limit.offsets, limit.bytes)
		must(t, err)
		if got.Ends[0] != limit.end || got.Full != limit.full {
			t.Errorf("limits of %d offsets and %d bytes cut at %d, full %v; want %d, %v", limit.offsets, limit.bytes, got.Ends[0], got.Full, limit.end, limit.full)
		}
	}
}

// fetched waits until so many offsets can be planned.
func (r *reader) fetched(offsets int64) {
	r.t.Helper()
	ctx := within(r.t)
	for {
		c, err := r.source.Cut(1<<40, 1<<40)
		must(r.t, err)
		if c.Offsets >= offsets {
			return
		}
		select {
		case <-r.source.Arrived():
		case <-ctx.Done():
			r.t.Fatalf("%d offsets were fetched, want %d", c.Offsets, offsets)
		}
	}
}

// A partition with little waiting gives what it does not need to those with much, and those share alike.
func testFairness(t *testing.T, c cluster) {
	topic := newTopic(t, c, 3, nil)
	w := write(t, c, topic, 3)
	w.records(t, 0, 1000, 10)
	w.records(t, 1, 10, 10)
	w.records(t, 2, 1000, 10)
	r := read(t, open(t, c, kafka.Options{}, topic), 0, 0, 0)
	r.fetched(2010)
	got, err := r.source.Cut(110, 1<<20)
	must(t, err)
	if got.Offsets != 110 || got.Ends[1] != 10 || got.Ends[0] < 49 || got.Ends[2] < 49 {
		t.Fatalf("110 offsets of 1000, 10 and 1000 are cut at %v; want about 50, 10, 50", got.Ends)
	}
}

func testTransactions(t *testing.T, c cluster) {
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2, kgo.TransactionalID(topic))
	w.transaction(t, 10, kgo.TryCommit)
	w.transaction(t, 10, kgo.TryAbort)
	w.transaction(t, 5, kgo.TryCommit)
	w.transaction(t, 7, kgo.TryAbort)
	ends := w.ends(t)
	if ends[0] != 36 {
		t.Fatalf("the log ends at %d, want 32 records and 4 markers", ends[0])
	}
	r := read(t, open(t, c, kafka.Options{}, topic), 0, 0)
	r.until(ends) // over the last marker: a task at its end is caught up
	for p := range 2 {
		same(t, r.got[p], w.want[p])
	}
	if r.at[0] != ends[0] || r.at[1] != ends[1] {
		t.Fatalf("read up to %v, want %v", r.at, ends)
	}
	inside := read(t, open(t, c, kafka.Options{}, topic), 12, 21) // within the aborted one, and at its marker
	inside.until(ends)
	same(t, inside.got[0], w.slice(0, 12, 36))
	same(t, inside.got[1], w.slice(1, 21, 36))
}

// What is not committed is not in the log yet.
func testOpenTransaction(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1, kgo.TransactionalID(topic))
	w.transaction(t, 3, kgo.TryCommit)
	must(t, w.client.BeginTransaction())
	w.produce(t, 0, 4, 20, true)
	s := open(t, c, kafka.Options{}, topic)
	r := read(t, s, 0)
	r.until([]int64{4})
	ends, err := s.Ends(within(t))
	must(t, err)
	if ends[0].LogEnd != 4 {
		t.Fatalf("the log ends at %d while a transaction is open, want 4", ends[0].LogEnd)
	}
	must(t, w.client.EndTransaction(within(t), kgo.TryCommit))
	r.until([]int64{9})
	same(t, r.got[0], w.want[0])
}

func testBeyond(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	write(t, c, topic, 1).records(t, 0, 10, 10)
	s := open(t, c, kafka.Options{}, topic)
	err := s.Start(within(t), []batch.Place{{Next: 11}})
	wantPermanent(t, err, "stands at offset 11", "ends at 10", "reset --from here", topic)
	must(t, s.Start(within(t), []batch.Place{{Next: 10}}))
}

func wantPermanent(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !batch.IsPermanent(err) {
		t.Fatalf("error %v, want a permanent one", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Fatalf("error %q does not say %q", err, part)
		}
	}
}

func testRefused(t *testing.T, c cluster) {
	open := func(topics ...string) error {
		o := kafka.Options{Brokers: c.Brokers()}
		for _, topic := range topics {
			o.Sources = append(o.Sources, source("s", topic))
		}
		s, err := kafka.Open(within(t), o)
		if err == nil {
			s.Close()
		}
		return err
	}
	wantPermanent(t, open("no-such-topic"), "source s", `"no-such-topic" does not exist`, c.Brokers()[0], "--create")
	compacted := newTopic(t, c, 1, map[string]string{"cleanup.policy": "compact,delete"})
	wantPermanent(t, open(compacted), compacted, "compacted")
	wantPermanent(t, open(compacted, compacted), "same topic")
	wantPermanent(t, open(), "at least one")
}

func testLarge(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, map[string]string{"max.message.bytes": "33554432"})
	w := write(t, c, topic, 1)
	w.records(t, 0, 1, 10<<20)
	w.records(t, 0, 5, 100)
	w.records(t, 0, 1, 10<<20)
	r := read(t, open(t, c, kafka.Options{MemoryBytes: 1 << 20}, topic), 0)
	r.until([]int64{7})
	same(t, r.got[0], w.want[0])
}

// Fetching stops at the bound, and goes on as records are taken.
func testMemory(t *testing.T, c cluster) {
	const bound = 256 << 10
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2)
	for p := range 2 {
		for range 4 {
			w.records(t, p, 2000, 100)
		}
	}
	s := open(t, c, kafka.Options{MemoryBytes: bound}, topic)
	r := read(t, s, 0, 0)
	r.limits = func() (int64, int64) { return 1 << 40, 1 << 40 }
	r.memoryFull(bound)
	for range 30 { // nobody takes anything for a while: long enough for all of it to be fetched
		_, err := s.Ends(within(t))
		must(t, err)
	}
	most := int64(0)
	for ctx := within(t); behind(r.at, []int64{8000, 8000}); {
		c, err := r.cut(ctx)
		must(t, err)
		_, held := s.Buffered()
		if most = max(most, held); held >= bound && !c.Full {
			t.Fatalf("memory is full with %d bytes, and the cut is not", held)
		}
		must(t, r.take(ctx, c.Ends))
	}
	// Two partitions' batches of 2000 records may come at once beyond the bound.
	if beyond := int64(bound + 4*2000*(100+64+4)); most > beyond {
		t.Errorf("%d bytes were held, at a bound of %d", most, bound)
	}
	if records, held := s.Buffered(); records != 0 || held != 0 {
		t.Errorf("%d records, %d bytes are held after everything was taken", records, held)
	}
	for p := range 2 {
		same(t, r.got[p], w.want[p])
	}
}

// One partition fills the memory; a plan of another, larger than all the memory, is fetched nevertheless.
func testPlanBeyondMemory(t *testing.T, c cluster) {
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2)
	fill(t, w, 20)
	s := open(t, c, kafka.Options{MemoryBytes: 128 << 10}, topic)
	r := read(t, s, 0, 0)
	r.memoryFull(128 << 10)
	for range 10 {
		w.records(t, 1, 500, 200)
	}
	must(t, r.take(within(t), []int64{1, 5000}))
	same(t, r.got[1], w.want[1])
	r.until([]int64{20, 5000})
	same(t, r.got[0], w.want[0])
}

// While memory is full and a Take waits, only what it waits for is fetched; when it gives up, everything is again.
func testWaitBeyondMemory(t *testing.T, c cluster) {
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2)
	fill(t, w, 20)
	s := open(t, c, kafka.Options{MemoryBytes: 128 << 10}, topic)
	r := read(t, s, 0, 0)
	r.memoryFull(128 << 10)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := r.take(ctx, []int64{1, 5}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want %v", err, context.DeadlineExceeded)
	}
	for at := int64(1); at <= 20; at++ {
		must(t, r.take(within(t), []int64{at, 0}))
	}
	same(t, r.got[0], w.want[0])
}

func (r *reader) memoryFull(bound int64) {
	r.t.Helper()
	ctx := within(r.t)
	for {
		if _, held := r.source.Buffered(); held >= bound {
			return
		}
		select {
		case <-r.source.Arrived():
		case <-ctx.Done():
			r.t.Fatal("memory is not full")
		}
	}
}

// A Take whose context ends may be repeated.
func testTakeCancelled(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1)
	w.records(t, 0, 5, 10)
	r := read(t, open(t, c, kafka.Options{}, topic), 0)
	r.fetched(5)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.take(ctx, []int64{8}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
	if err := r.take(ctx, []int64{5}); err != nil {
		t.Fatalf("what has been fetched needs no wait: %v", err)
	}
	w.records(t, 0, 5, 10)
	must(t, r.take(within(t), []int64{8}))
	same(t, r.got[0], w.slice(0, 0, 8))
	r.at[0] = 3
	wantPermanent(t, r.take(within(t), []int64{8}), "follow on", "offset 8")
}

func testEndsAndCommits(t *testing.T, c cluster) {
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2)
	w.records(t, 0, 12, 10)
	s := open(t, c, kafka.Options{Group: topic}, topic)
	ends, err := s.Ends(within(t))
	must(t, err)
	if ends[0].LogEnd != 12 || ends[1].LogEnd != 0 || ends[0].LeaderEpoch < 0 {
		t.Fatalf("ends %v, want offsets 12 and 0 and an epoch", ends)
	}
	r := read(t, s, 0, 0)
	r.until([]int64{12, 0})
	s.Committed(within(t), []int64{5, 0})
	s.Committed(within(t), []int64{12, 0})
	if o := awaitPosition(t, w, topic, 12); o.LeaderEpoch != ends[0].LeaderEpoch || o.Metadata == "" {
		t.Errorf("committed with leader epoch %d and metadata %q, want epoch %d and some", o.LeaderEpoch, o.Metadata, ends[0].LeaderEpoch)
	}
	if n := s.CommitFailures(); n != 0 {
		t.Errorf("%d commits have failed", n)
	}
	if lag := s.Lag(); lag[0] != 0 || lag[1] != 0 {
		t.Errorf("lag %v after everything was planned", lag)
	}
}

// awaitPosition waits until the group of the topic's name stands at an offset of its first partition.
func awaitPosition(t *testing.T, w *written, group string, at int64) kadm.Offset {
	t.Helper()
	ctx, admin := within(t), kadm.NewClient(w.client)
	for {
		offsets, err := admin.FetchOffsets(ctx, group)
		if ctx.Err() != nil {
			t.Fatalf("positions were not committed: %v, %v", offsets, err)
		}
		if o, ok := offsets.Lookup(w.topic, 0); err == nil && ok && o.At == at {
			return o.Offset
		}
	}
}

func testRestart(t *testing.T, c cluster) {
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2)
	for p := range 2 {
		for range 10 {
			w.records(t, p, 100, 2000)
		}
	}
	s := open(t, c, kafka.Options{MemoryBytes: 300 << 10}, topic)
	r := read(t, s, 0, 0)
	must(t, r.step(within(t)))
	must(t, c.Stop())
	waited := make(chan error, 1)
	ctx := within(t)
	go func() { // over the outage, beyond what can have been fetched
		waited <- r.take(ctx, []int64{900, 900})
	}()
	must(t, c.Start())
	must(t, <-waited)
	w.client.ForceMetadataRefresh()
	w.records(t, 0, 50, 2000)
	r.until([]int64{1050, 1000})
	for p := range 2 {
		same(t, r.got[p], w.want[p])
	}
}

// Brokers that are down are waited for from the beginning, and the wait ends with its context.
func testLateBrokers(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	write(t, c, topic, 1).records(t, 0, 3, 10)
	must(t, c.Stop())
	o := kafka.Options{Brokers: c.Brokers(), Sources: []*features.Source{source("s", topic)}}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := kafka.Open(ctx, o); !errors.Is(err, context.DeadlineExceeded) || batch.IsPermanent(err) {
		t.Fatalf("error %v, want %v", err, context.DeadlineExceeded)
	}
	opened := make(chan error, 1)
	var s *kafka.Source
	waiting := within(t)
	go func() {
		var err error
		s, err = kafka.Open(waiting, o)
		opened <- err
	}()
	must(t, c.Start())
	must(t, <-opened)
	t.Cleanup(s.Close)
	r := read(t, s, 0)
	r.until([]int64{3})
}
