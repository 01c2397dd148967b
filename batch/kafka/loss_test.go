package kafka_test

import (
	"errors"
	"testing"

	"highwater/batch"
	"highwater/batch/kafka"
)

func testLostAtStart(t *testing.T, c cluster) {
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2)
	w.records(t, 0, 100, 10)
	w.records(t, 1, 100, 10)
	must(t, c.DeleteRecords(topic, 1, 40))
	s := open(t, c, kafka.Options{}, topic)
	err := s.Start(within(t), []batch.Place{{Next: 0}, {Next: 10}})
	wantLost(t, err, batch.LostError{Partition: s.Partitions()[1], Start: 10, End: 40})
	r := read(t, s, 0, 40) // a failed Start may be followed by another
	r.until([]int64{100, 100})
	same(t, r.got[1], w.slice(1, 40, 100))
}

func wantLost(t *testing.T, err error, want batch.LostError) {
	t.Helper()
	got, ok := errors.AsType[*batch.LostError](err)
	if !ok || *got != want {
		t.Fatalf("error %v, want %v", err, &want)
	}
}

// Retention overtakes a reader: what was fetched before is still planned and taken, and then the lost range is named exactly.
func testLostMidRun(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1)
	fill(t, w, 30)
	s := open(t, c, kafka.Options{MemoryBytes: 64 << 10}, topic)
	r := read(t, s, 0)
	r.limits = func() (int64, int64) { return 1 << 40, 1 << 40 }
	first, err := r.cut(within(t))
	must(t, err)
	must(t, c.DeleteRecords(topic, 0, 25))
	err = r.err()
	lost, ok := errors.AsType[*batch.LostError](err)
	if !ok || lost.Start != r.at[0] || lost.Start < first.Ends[0] || lost.Start >= 25 || lost.End != 25 {
		t.Fatalf("error %v after reading up to %d, want offsets %d to 24 lost", err, r.at[0], r.at[0])
	}
	same(t, r.got[0], w.slice(0, 0, r.at[0]))
	wantLost(t, r.take(within(t), []int64{30}), *lost) // a plan that needs them meets the same
}

// fill writes n records of 64 KiB, each in a batch of its own, so that a reader with little memory stops early.
func fill(t *testing.T, w *written, n int) {
	t.Helper()
	for range n {
		w.records(t, 0, 1, 64<<10)
	}
}

func testAcceptLoss(t *testing.T, c cluster) {
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2)
	fill(t, w, 30)
	w.records(t, 1, 100, 10)
	must(t, c.DeleteRecords(topic, 1, 60))
	s := open(t, c, kafka.Options{MemoryBytes: 64 << 10, AcceptLoss: true}, topic)
	r := read(t, s, 0, 0)
	r.limits = func() (int64, int64) { return 10, 1 << 40 }
	must(t, c.DeleteRecords(topic, 0, 25))
	for ctx := within(t); behind(r.at, []int64{30, 100}); {
		c, err := r.cut(ctx)
		must(t, err)
		must(t, r.take(ctx, c.Ends))
	}
	same(t, r.got[1], w.slice(1, 60, 100))
	if r.plans > 20 {
		t.Errorf("60 lost offsets took %d plans of 10 offsets: they are no work, and are passed in one piece", r.plans)
	}
	n := len(r.got[0])
	if n < 5 {
		t.Fatalf("%d records, want at least the 5 that were kept", n)
	}
	same(t, r.got[0][n-5:], w.slice(0, 25, 30))
	same(t, r.got[0][:n-5], w.slice(0, 0, int64(n-5))) // what had been fetched before
}

// Retention takes everything: the position passes over it, with no record behind it to show where it ends.
func testAllLost(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1)
	fill(t, w, 30)
	r := read(t, open(t, c, kafka.Options{MemoryBytes: 64 << 10, AcceptLoss: true}, topic), 0)
	r.limits = func() (int64, int64) { return 1 << 40, 1 << 40 }
	r.memoryFull(64 << 10)
	must(t, c.DeleteRecords(topic, 0, 30))
	r.until([]int64{30})
	same(t, r.got[0], w.slice(0, 0, int64(len(r.got[0]))))
}
