package kafka_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"highwater/batch"
	"highwater/batch/kafka"
)

// wantChanged wants a *batch.ChangedError that says all of these.
func wantChanged(t *testing.T, err error, parts ...string) {
	t.Helper()
	if _, ok := errors.AsType[*batch.ChangedError](err); !ok {
		t.Fatalf("error %v, want a *batch.ChangedError", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Fatalf("error %q does not say %q", err, part)
		}
	}
}

// stalled waits until the source says what keeps it, with all of these words; none means that nothing does any more.
func stalled(t *testing.T, s *kafka.Source, words ...string) {
	t.Helper()
	ctx := within(t)
	for {
		says, all := "", true
		if err := s.Stalled(); err != nil {
			says = err.Error()
		}
		for _, w := range words {
			all = all && strings.Contains(says, w)
		}
		if all && (len(words) > 0 || says == "") {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("stalled by %q, want %q", says, words)
		}
	}
}

// A topic that is deleted while it is read is waited for: everything fetched before is still planned, and nothing fails. Once a topic of that name is there again, it is another one.
func testRecreated(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	write(t, c, topic, 1).records(t, 0, 10, 10)
	log := &lockedBuffer{}
	s := open(t, c, kafka.Options{Log: slog.New(slog.NewTextHandler(log, nil))}, topic)
	r := read(t, s, 0)
	r.fetched(10)
	must(t, c.DeleteTopic(topic))
	stalled(t, s, "find topic "+topic, "was deleted")
	if !strings.Contains(log.String(), "waiting until it is there again") {
		t.Errorf("the log says %q", log.String())
	}
	r.until([]int64{10})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := r.take(ctx, []int64{11}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a wait for what a deleted topic may still have ends with %v", err)
	}

	waiting := make(chan error, 1)
	patient := within(t)
	go func() { waiting <- r.take(patient, []int64{11}) }()
	again := within(t)
	for c.CreateTopic(topic, 1, nil) != nil {
		if again.Err() != nil {
			t.Fatal("the topic cannot be made again")
		}
	}
	write(t, c, topic, 1).records(t, 0, 20, 10)
	wantChanged(t, <-waiting, topic, "made again")
	_, err := s.Cut(100, 1<<20)
	wantChanged(t, err, topic, "made again")
	_, err = s.Ends(within(t))
	wantChanged(t, err, topic, "made again")
	if n := len(r.got[0]); n != 10 {
		t.Errorf("%d records were read, want the 10 of the topic that was deleted", n)
	}
	s.Close()
	if next := open(t, c, kafka.Options{}, topic); next.TopicIDs()[0] == s.TopicIDs()[0] {
		t.Errorf("both topics have the id %q", next.TopicIDs()[0])
	}
}

// A topic that grows ends its source, which another one takes up with all partitions; what was planned before can still be taken.
func testGrows(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1)
	w.records(t, 0, 20, 10)
	s := open(t, c, kafka.Options{}, topic)
	r := read(t, s, 0)
	first, err := r.cut(within(t))
	must(t, err)
	_, err = kadm.NewClient(w.client).CreatePartitions(within(t), 1, topic)
	must(t, err)
	err = nil
	for ctx := within(t); err == nil && ctx.Err() == nil; {
		_, err = s.Cut(100, 1<<20)
	}
	wantChanged(t, err, topic, "has 2 partitions now, it had 1")
	must(t, r.take(within(t), first.Ends))
	s.Close()

	next := open(t, c, kafka.Options{}, topic)
	added := write(t, c, topic, 2)
	added.records(t, 1, 5, 10)
	r = read(t, next, 0, 0)
	r.until([]int64{20, 5})
	same(t, r.got[0], w.want[0])
	same(t, r.got[1], added.want[1])
}

// A topic that is missing from the brokers' answers for a while, as it may be while they start, is no other one after that.
func TestSource_MissingForAMoment(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1)
	w.records(t, 0, 10, 10)
	s := open(t, c, kafka.Options{}, topic)
	r := read(t, s, 0)
	r.until([]int64{10})
	missing := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.UnknownTopicOrPartition, Count: -1})
	stalled(t, s, "find topic "+topic)
	missing.Remove()
	stalled(t, s)
	w.client.ForceMetadataRefresh()
	w.records(t, 0, 10, 10)
	r.until([]int64{20})
	same(t, r.got[0], w.want[0])
}

// A topic that becomes compacted while it is read could not be read again: everything that was fetched is planned, and then the task stops and says why.
func testBecomesCompacted(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1)
	w.records(t, 0, 10, 10)
	r := read(t, open(t, c, kafka.Options{}, topic), 0)
	r.until([]int64{10})
	policy := "compact"
	changed, err := kadm.NewClient(w.client).AlterTopicConfigs(within(t), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}}, topic)
	must(t, err)
	for _, c := range changed {
		must(t, c.Err)
	}
	wantPermanent(t, r.err(), topic, "has become compacted while it was read", "cleanup.policy=delete")
}

// A record has its own headers, in their order, and nil where it has none.
func testHeaders(t *testing.T, c cluster) {
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1)
	ofFirst := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "a", Value: []byte("2")}}
	must(t, w.client.ProduceSync(within(t), &kgo.Record{Value: []byte("x"), Headers: ofFirst}, &kgo.Record{Value: []byte("y")}, &kgo.Record{Value: []byte("z"), Headers: []kgo.RecordHeader{{Key: "c", Value: []byte("3")}}}).FirstErr())
	r := read(t, open(t, c, kafka.Options{}, topic), 0)
	r.until([]int64{3})
	h := r.got[0][0].Headers
	if len(h) != 3 || h[0].Key != "a" || string(h[0].Value) != "1" || h[1].Key != "b" || len(h[1].Value) != 0 || h[2].Key != "a" || string(h[2].Value) != "2" {
		t.Errorf("the headers are %q", h)
	}
	if none := r.got[0][1].Headers; none != nil {
		t.Errorf("headers are %q, want none", none)
	}
	if h := r.got[0][2].Headers; len(h) != 1 || h[0].Key != "c" || string(h[0].Value) != "3" {
		t.Errorf("the last record's headers are %q", h)
	}
}

// A batch whose compression cannot be undone is named by topic, partition and offset, at once; what lies before it is read.
func TestSource_UnknownCompression(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	topic := newTopic(t, c, 1, nil)
	w := write(t, c, topic, 1)
	w.records(t, 0, 5, 10)
	w.garbage(t)
	r := read(t, open(t, c, kafka.Options{}, topic), 0)
	wantPermanent(t, r.err(), "topic "+topic+", partition 0", "offset 5 cannot be read", "codec 4 (zstd)", "nothing was skipped")
	same(t, r.got[0], w.want[0])
	wantPermanent(t, r.take(within(t), []int64{6}), "offset 5 cannot be read") // a plan that needs it meets the same
}
