package kafka_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/features"
	"highwater/testutil/kafkatest"
)

// cluster is what the suite needs of brokers, fake or real.
type cluster interface {
	Brokers() []string
	CreateTopic(name string, partitions int, settings map[string]string) error
	DeleteTopic(name string) error
	DeleteRecords(topic string, partition int32, before int64) error
	// Stop ends the brokers; Start brings them back at the same addresses with the same log.
	Stop() error
	Start() error
}

// fake is a cluster of one kfake broker on loopback, its log on disk so that it can be restarted.
type fake struct {
	*kfake.Cluster
	dir  string
	port int
	opts []kfake.Opt
}

func newFake(t testing.TB, opts ...kfake.Opt) *fake {
	t.Helper()
	f := &fake{dir: t.TempDir(), opts: opts}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Cluster.Close() })
	_, port, err := net.SplitHostPort(f.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	f.port, err = strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fake) Brokers() []string {
	return []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(f.port))}
}

func (f *fake) Stop() error { f.Cluster.Close(); return nil }

func (f *fake) Start() (err error) {
	opts := append([]kfake.Opt{kfake.DataDir(f.dir), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "67108864"})}, f.opts...)
	f.Cluster, err = kfake.NewCluster(append(opts, kfake.Ports(f.port))...)
	return err
}

func (f *fake) CreateTopic(name string, partitions int, settings map[string]string) error {
	return f.Cluster.CreateTopic(name, int32(partitions), settings)
}

// realBroker is a real broker.
type realBroker struct{ *kafkatest.Broker }

func (r realBroker) Brokers() []string { return []string{r.Addr()} }

// topicNumber makes topics' names differ, on a broker that tests share.
var topicNumber atomic.Int64

// newTopic creates a topic that keeps records of long ago, as the tests' are.
func newTopic(t testing.TB, c cluster, partitions int, settings map[string]string) string {
	t.Helper()
	all := map[string]string{"retention.ms": "-1"}
	maps.Copy(all, settings)
	name := fmt.Sprintf("%s-%d", strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name())), topicNumber.Add(1))
	must(t, c.CreateTopic(name, partitions, all))
	return name
}

func source(name, topic string) *features.Source {
	return &features.Source{Name: name, Topic: topic, Format: features.JSON, MaxRecordBytes: 1 << 20}
}

// patience is how long a test waits for what is bound to happen, on a machine with much else to do.
const patience = time.Minute

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, c cluster, o kafka.Options, topics ...string) *kafka.Source {
	t.Helper()
	o.Brokers = c.Brokers()
	for i, topic := range topics {
		o.Sources = append(o.Sources, source(fmt.Sprintf("source_%d", i), topic))
	}
	s, err := kafka.Open(within(t), o.Watchful())
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// written is a topic with the records that a reader of committed ones is to find, by partition.
type written struct {
	topic  string
	want   [][]batch.Record
	client *kgo.Client
}

func write(t testing.TB, c cluster, topic string, partitions int, opts ...kgo.Opt) *written {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(32 << 20), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MetadataMinAge(50 * time.Millisecond),
	}, opts...)...)
	must(t, err)
	t.Cleanup(client.Close)
	return &written{topic: topic, want: make([][]batch.Record, partitions), client: client}
}

// records produces n records of that size, each telling where it is; the first ones' timestamps are a second apart.
func (w *written) records(t testing.TB, partition, n, size int) {
	t.Helper()
	w.produce(t, partition, n, size, true)
}

func (w *written) produce(t testing.TB, partition, n, size int, kept bool) {
	t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		value := fmt.Appendf(nil, "%d/%d/", partition, len(w.want[partition])+i)
		records[i] = &kgo.Record{
			Partition: int32(partition), Key: []byte(strconv.Itoa(i)), Value: append(value, make([]byte, max(0, size-len(value)))...),
			Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)*1000),
		}
	}
	for _, r := range w.client.ProduceSync(within(t), records...) {
		must(t, r.Err)
		if kept {
			w.want[partition] = append(w.want[partition], batch.Record{Offset: r.Record.Offset, Time: r.Record.Timestamp.UnixMicro(), Key: r.Record.Key, Value: r.Record.Value})
		}
	}
}

// transaction produces n records to each partition in one transaction.
func (w *written) transaction(t testing.TB, n int, end kgo.TransactionEndTry) {
	t.Helper()
	must(t, w.client.BeginTransaction())
	for p := range w.want {
		w.produce(t, p, n, 20, end == kgo.TryCommit)
	}
	must(t, w.client.EndTransaction(within(t), end))
}

// slice is what the reader is to get of [start, end) of a partition.
func (w *written) slice(partition int, start, end int64) []batch.Record {
	var in []batch.Record
	for _, r := range w.want[partition] {
		if r.Offset >= start && r.Offset < end {
			in = append(in, r)
		}
	}
	return in
}

// ends waits until no transaction is open, whose markers a broker writes in its own time, and returns the partitions' ends.
func (w *written) ends(t testing.TB) []int64 {
	t.Helper()
	admin, ctx := kadm.NewClient(w.client), within(t)
	for {
		all, err := admin.ListEndOffsets(ctx, w.topic)
		must(t, err)
		stable, err := admin.ListCommittedOffsets(ctx, w.topic)
		must(t, err)
		ends, settled := make([]int64, len(w.want)), true
		for p := range ends {
			last, _ := all.Lookup(w.topic, int32(p))
			l, _ := stable.Lookup(w.topic, int32(p))
			ends[p], settled = l.Offset, settled && l.Err == nil && l.Offset == last.Offset
		}
		if settled {
			return ends
		}
	}
}
