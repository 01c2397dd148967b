package kafka_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/features"
)

// Leaders move while a source reads and others write: nothing is lost, doubled or out of order.
func TestSource_LeadersMove(t *testing.T) {
	t.Parallel()
	c := newFakes(t, 3)
	topic := newTopic(t, c, 3, nil)
	w := write(t, c, topic, 3)
	s := open(t, c, kafka.Options{MemoryBytes: 64 << 10}, topic)
	r := read(t, s, 0, 0, 0)
	for round := range 6 {
		for p := range 3 {
			w.records(t, p, 50, 500)
		}
		must(t, c.MoveTopicPartition(topic, int32(round%3), int32((round+1)%3)))
		c.ShufflePartitionLeaders()
		must(t, r.step(within(t)))
	}
	r.until([]int64{300, 300, 300})
	for p := range 3 {
		same(t, r.got[p], w.want[p])
	}
}

// newFakes is a cluster of several kfake brokers, which is not restarted.
func newFakes(t *testing.T, n int) *fakes {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(n))
	must(t, err)
	t.Cleanup(c.Close)
	return &fakes{c}
}

type fakes struct{ *kfake.Cluster }

func (f *fakes) Brokers() []string { return f.ListenAddrs() }
func (f *fakes) Stop() error       { return nil }
func (f *fakes) Start() error      { return nil }
func (f *fakes) CreateTopic(name string, partitions int, settings map[string]string) error {
	return f.Cluster.CreateTopic(name, int32(partitions), settings)
}

// Errors that brokers get over are got over, whatever request meets them.
func TestSource_PassingFaults(t *testing.T) {
	for _, fault := range []kfake.Fault{
		{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: 3},
		{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.UnknownTopicOrPartition, Count: 2},
		{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.UnknownServerError, Count: 2},
		{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.OffsetOutOfRange, Count: 2},
		{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.UnknownTopicOrPartition, Count: 2},
		{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.LeaderNotAvailable, Count: 2},
		{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.NotLeaderForPartition, Count: 4},
		{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.UnknownServerError, Count: 2},
		{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.RequestTimedOut, Count: 2},
	} {
		t.Run(fault.Keys[0].Name()+" "+fault.Err.Message, func(t *testing.T) {
			t.Parallel()
			c := newFake(t)
			topic := newTopic(t, c, 1, nil)
			w := write(t, c, topic, 1)
			w.records(t, 0, 20, 10)
			injected := c.Fault(fault)
			r := read(t, open(t, c, kafka.Options{}, topic), 0)
			_, err := r.source.Ends(within(t))
			must(t, err)
			r.until([]int64{20})
			same(t, r.got[0], w.want[0])
			if injected.Hits() == 0 {
				t.Fatal("the fault met nothing")
			}
		})
	}
}

// Where the brokers do not say whether a topic is compacted, that is logged, and reading goes on.
func TestOpen_MayNotSeeSettings(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	topic := newTopic(t, c, 1, map[string]string{"cleanup.policy": "compact"})
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	log := &lockedBuffer{}
	open(t, c, kafka.Options{Log: slog.New(slog.NewTextHandler(log, nil))}, topic)
	if !strings.Contains(log.String(), "may not see whether topics are compacted") {
		t.Errorf("the log says %q", log.String())
	}
}

func TestOpen_MayNotRead(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	topic := newTopic(t, c, 1, nil)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	_, err := kafka.Open(within(t), kafka.Options{Brokers: c.Brokers(), Sources: []*features.Source{source("s", topic)}})
	wantPermanent(t, err, "does not let this client read", topic)
}

// Waiting says so, with the brokers' addresses, and says when it is over.
func TestOpen_SaysThatItWaits(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	topic := newTopic(t, c, 1, nil)
	must(t, c.Stop())
	log := &lockedBuffer{waitFor: "does not answer", seen: make(chan struct{})}
	opened := make(chan error, 1)
	ctx := within(t)
	go func() {
		s, err := kafka.Open(ctx, kafka.Options{Brokers: c.Brokers(), Sources: []*features.Source{source("s", topic)}, Log: slog.New(slog.NewTextHandler(log, nil))})
		if err == nil {
			s.Close()
		}
		opened <- err
	}()
	select {
	case <-log.seen:
	case <-ctx.Done():
		t.Fatalf("nothing is said of brokers that are down; the log says %q", log.String())
	}
	must(t, c.Start())
	must(t, <-opened)
	if text := log.String(); !strings.Contains(text, c.Brokers()[0]) || !strings.Contains(text, "answers again") {
		t.Errorf("the log says %q", text)
	}
}

// lockedBuffer is a log to look at while it is written; seen is closed once it holds waitFor.
type lockedBuffer struct {
	waitFor string
	seen    chan struct{}

	mu   sync.Mutex // guards what follows
	text bytes.Buffer
	once sync.Once
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.text.Write(p)
	if b.waitFor != "" && strings.Contains(b.text.String(), b.waitFor) {
		b.once.Do(func() { close(b.seen) })
	}
	return n, err
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Every method answers, in order or out of it, and after Close.
func TestSource_OutOfOrder(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	topic := newTopic(t, c, 1, nil)
	s := open(t, c, kafka.Options{}, topic)
	slices := []batch.Slice{{Partition: s.Partitions()[0], End: 1}}
	if _, err := s.Cut(1, 1); err == nil {
		t.Error("a cut before the start")
	}
	if _, err := s.Take(within(t), slices); err == nil {
		t.Error("a take before the start")
	}
	wantPermanent(t, s.Start(within(t), []batch.Place{{Next: 0}, {Next: 0}}), "2 positions for 1 partition")
	must(t, s.Start(within(t), []batch.Place{{Next: 0}}))
	wantPermanent(t, s.Start(within(t), []batch.Place{{Next: 0}}), "already started")
	_, err := s.Take(within(t), append(slices, slices...))
	wantPermanent(t, err, "2 slices for 1 partition")
	waiting := make(chan error, 1)
	go func() {
		_, err := s.Take(context.Background(), slices)
		waiting <- err
	}()
	s.Close()
	if err := <-waiting; err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a take that waits while the source is closed gives %v", err)
	}
	s.Committed(context.Background(), []int64{1})
	s.Close()
}
