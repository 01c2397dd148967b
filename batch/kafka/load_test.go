package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"highwater/batch/kafka"
)

func TestLoad_Fake(t *testing.T) {
	c := newFake(t)
	t.Run("resumes", func(t *testing.T) { testLoadResumes(t, c) })
	t.Run("creates and keeps history", func(t *testing.T) { testLoadCreates(t, c) })
}

// rows are n rows of few keys, some without one, one of them large.
func rows(n int) iter.Seq2[kafka.Row, error] {
	return func(yield func(kafka.Row, error) bool) {
		for i := range n {
			row := kafka.Row{Key: fmt.Appendf(nil, "user-%d", i%37), Value: fmt.Appendf(nil, "row %d", i), Time: int64(i+1) * 1000}
			if i%10 == 9 {
				row.Key = nil
			}
			if i == 700 {
				row.Value = append(row.Value, make([]byte, 3<<20)...)
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

func loadOptions(c cluster, topic string) kafka.LoadOptions {
	return kafka.LoadOptions{Brokers: c.Brokers(), Topic: topic, Partitions: 3}
}

// A load that is killed again and again leaves every row once, in order, where a load left alone puts it.
func testLoadResumes(t *testing.T, c cluster) {
	const n = 20_000 // several transactions
	large := map[string]string{"max.message.bytes": "16777216"}
	killed, alone := newTopic(t, c, 3, large), newTopic(t, c, 3, large)
	for _, at := range []int{100, 900, 901, 17_500, 18_500} {
		dying, kill := context.WithCancelCause(within(t))
		death := errors.New("killed")
		_, err := kafka.Load(dying, loadOptions(c, killed), func(yield func(kafka.Row, error) bool) {
			i := 0
			for row := range rows(n) {
				if i++; i > at {
					kill(death)
				}
				if !yield(row, nil) {
					return
				}
			}
		}, nil)
		if !errors.Is(err, death) {
			t.Fatalf("killed at row %d: %v", at, err)
		}
	}
	var loaded, skipped int64
	total, err := kafka.Load(within(t), loadOptions(c, killed), rows(n), func(l, s int64) { loaded, skipped = l, s })
	must(t, err)
	if total != n || loaded+skipped != n {
		t.Fatalf("%d rows, %d loaded, %d skipped; want %d", total, loaded, skipped, n)
	}
	_, err = kafka.Load(within(t), loadOptions(c, alone), rows(n), nil)
	must(t, err)
	a, b := byPartition(t, c, killed, n), byPartition(t, c, alone, n)
	for p := range b {
		if strings.Join(a[p], "\n") != strings.Join(b[p], "\n") {
			t.Errorf("partition %d has %d rows, not those %d, in order, of a load left alone", p, len(a[p]), len(b[p]))
		}
	}
	total, err = kafka.Load(within(t), loadOptions(c, killed), rows(n), func(l, s int64) { loaded, skipped = l, s })
	must(t, err)
	if total != n || loaded != 0 || skipped != n {
		t.Errorf("loaded again: %d rows, %d loaded, %d skipped", total, loaded, skipped)
	}
	_, err = kafka.Load(within(t), loadOptions(c, killed), rows(n-200), nil)
	wantPermanent(t, err, "more records than the events give it")
}

// byPartition reads a topic's values by partition.
func byPartition(t *testing.T, c cluster, topic string, n int) map[int32][]string {
	t.Helper()
	values := map[int32][]string{}
	for _, r := range consume(t, c, topic, n) {
		values[r.Partition] = append(values[r.Partition], string(r.Value))
	}
	return values
}

// A topic that is not there is made with the partitions asked for, and keeps records however old their times are.
func testLoadCreates(t *testing.T, c cluster) {
	topic := fmt.Sprintf("made-by-load-%d", topicNumber.Add(1))
	o := loadOptions(c, topic)
	_, err := kafka.Load(within(t), o, rows(10), nil)
	must(t, err)
	got := consume(t, c, topic, 10)
	for _, r := range got {
		if r.Partition > 2 {
			t.Errorf("a record is in partition %d of 3", r.Partition)
		}
		if r.Timestamp.Before(time.UnixMilli(1)) || r.Timestamp.After(time.UnixMilli(10)) {
			t.Errorf("a record's time is %v, want the row's", r.Timestamp)
		}
	}
	s := open(t, c, kafka.Options{}, topic)
	if len(s.Partitions()) != 3 {
		t.Errorf("the topic has %d partitions, want 3", len(s.Partitions()))
	}
}

// Kafka's own documentation of its default partitioner gives these: murmur2, made positive, modulo the partitions. The hashes are those of its tests.
func TestLoad_JavaPartitions(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	topic := newTopic(t, c, 97, nil)
	hashes := map[string]int32{ // org.apache.kafka.common.utils.UtilsTest
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	}
	_, err := kafka.Load(within(t), loadOptions(c, topic), func(yield func(kafka.Row, error) bool) {
		for key := range hashes {
			if !yield(kafka.Row{Key: []byte(key)}, nil) {
				return
			}
		}
	}, nil)
	must(t, err)
	for _, r := range consume(t, c, topic, len(hashes)) {
		if want := (hashes[string(r.Key)] & 0x7fffffff) % 97; r.Partition != want {
			t.Errorf("key %q is in partition %d, Java's clients put it in %d", r.Key, r.Partition, want)
		}
	}
}

// A row that cannot be read ends the load with its error; what came before it is there.
func TestLoad_BadRow(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	topic := newTopic(t, c, 1, nil)
	bad := errors.New("line 3: not a row")
	_, err := kafka.Load(within(t), loadOptions(c, topic), func(yield func(kafka.Row, error) bool) {
		_ = yield(kafka.Row{Value: []byte("one")}, nil) && yield(kafka.Row{Value: []byte("two")}, nil) && yield(kafka.Row{}, bad)
	}, nil)
	if !errors.Is(err, bad) {
		t.Fatalf("error %v, want %v", err, bad)
	}
	_, err = kafka.Load(within(t), loadOptions(c, topic), func(yield func(kafka.Row, error) bool) {
		_ = yield(kafka.Row{Value: []byte("one")}, nil) && yield(kafka.Row{Value: []byte("two")}, nil) && yield(kafka.Row{Value: []byte("three")}, nil)
	}, nil)
	must(t, err)
	if got := byPartition(t, c, topic, 3)[0]; strings.Join(got, " ") != "one two three" {
		t.Fatalf("the topic has %v", got)
	}
}

func BenchmarkLoad(b *testing.B) {
	c := newFake(b)
	const n = 500_000
	all := make([]kafka.Row, n)
	for i := range all {
		all[i] = kafka.Row{Key: fmt.Appendf(nil, "%d", i%10000), Value: make([]byte, 100), Time: 1}
	}
	for b.Loop() {
		topic := newTopic(b, c, 4, nil)
		_, err := kafka.Load(within(b), loadOptions(c, topic), func(yield func(kafka.Row, error) bool) {
			for _, row := range all {
				if !yield(row, nil) {
					return
				}
			}
		}, nil)
		must(b, err)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
