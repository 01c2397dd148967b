package kafka

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
)

const (
	loadBatchBytes   = 1000012 // what a batch may hold, so that every broker takes it
	maxLoadRowBytes  = 64 << 20
	loadBuffered     = 64 << 20 // bytes of rows on their way
	loadRowsBuffered = 200_000
	loadSlab         = 1024 // records allocated at once
	progressEvery    = 8192 // rows
)

// Row is one event to load. Its bytes must not change until Load has returned.
type Row struct {
	Key   []byte // nil for none: such rows go round the partitions
	Value []byte
	Time  int64 // µs: the record's timestamp, kept to the millisecond
}

// LoadOptions say where rows go.
type LoadOptions struct {
	Brokers    []string
	Topic      string
	Partitions int          // of the topic, where Load has to create it, at least 1; an existing topic keeps its own
	Log        *slog.Logger // nil for none

	Dialer func(ctx context.Context, network, address string) (net.Conn, error) // nil for the net package's
	Client []kgo.Opt                                                            // more options of the client: TLS, SASL
}

// Load writes rows to a topic in their order, each to the partition that Kafka's own (Java) clients would choose for its key, and returns how many rows there are.
//
// It resumes: each partition's log end says how many of that partition's rows are already there, and so many are skipped, so that a load killed at any moment and run again leaves every row once, in order. That needs the
// same rows each time, and a topic that nothing else writes to, ever; a topic that holds more than the rows give is an error.
// It waits for brokers that are down; ctx ends the wait. progress, which may be nil, is called from time to time and at the end, in the caller's goroutine: loaded rows are acknowledged ones.
func Load(ctx context.Context, o LoadOptions, rows iter.Seq2[Row, error], progress func(loaded, skipped int64)) (total int64, err error) {
	o.Log = orDiscard(o.Log)
	client, err := o.client(loadBatchBytes)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	// Cancelled records would leave holes in a partition. So none is: a cancelled load closes the client, and what the broker has by then is a prefix.
	defer context.AfterFunc(ctx, client.Close)()
	l := &loader{options: o, client: client, progress: progress}
	defer func() {
		if l.large != nil {
			l.large.Close()
		}
	}()
	if l.skip, err = l.ends(ctx); err != nil {
		return 0, err
	}
	if err := l.load(ctx, rows); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return 0, fmt.Errorf("load rows into topic %s: %w", o.Topic, err)
	}
	return l.total, nil
}

func (o LoadOptions) client(batchBytes int32) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(common(o.Brokers, o.Log, o.Dialer, []kgo.Opt{
		kgo.DefaultProduceTopic(o.Topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.StopProducerOnDataLossDetected(), // else rows might follow a lost one
		kgo.ProducerBatchMaxBytes(batchBytes),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedBytes(loadBuffered + maxLoadRowBytes),
		kgo.MaxBufferedRecords(loadRowsBuffered),
	}), o.Client...)...)
	if err != nil {
		return nil, batch.Permanent(fmt.Errorf("set up the Kafka client: %w", err))
	}
	return client, nil
}

// loader is one run of Load.
type loader struct {
	options  LoadOptions
	client   *kgo.Client
	large    *kgo.Client // for rows beyond a batch of the other's; made when the first comes
	progress func(loaded, skipped int64)

	skip            []int64 // by partition: rows to skip still
	slab            []kgo.Record
	keyless         int64
	total, skipped  int64
	acknowledged    atomic.Int64
	failed          atomic.Pointer[error] // the first error of a row
	acknowledgement func(*kgo.Record, error)
}

// ends creates the topic if need be, and returns how many rows each of its partitions has.
func (l *loader) ends(ctx context.Context) ([]int64, error) {
	admin := kadm.NewClient(l.client)
	o := l.options
	var rows []int64
	wait := patience{log: o.Log, brokers: o.Brokers}
	err := wait.until(ctx, "find what topic "+o.Topic+" holds", func(ctx context.Context) error {
		listed, err := admin.ListEndOffsets(ctx, o.Topic)
		if err != nil {
			return authentication(err)
		}
		if l, ok := listed.Lookup(o.Topic, -1); ok && errors.Is(l.Err, kerr.UnknownTopicOrPartition) {
			return createTopic(ctx, admin, o)
		}
		if err := listed.Error(); err != nil {
			return err
		}
		rows = make([]int64, len(listed[o.Topic]))
		for n := range rows {
			l, ok := listed.Lookup(o.Topic, int32(n))
			if !ok {
				return fmt.Errorf("partition %d: %w", n, errMissing)
			}
			rows[n] = l.Offset
		}
		if len(rows) == 0 {
			return errMissing
		}
		return nil
	})
	return rows, err
}

// createTopic creates the topic without retention: the rows' timestamps are history, which a broker's default would delete at once. It returns an error also when it did, so that its caller looks again.
func createTopic(ctx context.Context, admin *kadm.Client, o LoadOptions) error {
	forever := "-1"
	_, err := admin.CreateTopic(ctx, int32(max(1, o.Partitions)), -1, map[string]*string{"retention.ms": &forever}, o.Topic)
	switch {
	case err == nil, errors.Is(err, kerr.TopicAlreadyExists):
		return fmt.Errorf("topic %s has just been created", o.Topic)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed), errors.Is(err, kerr.InvalidTopicException), errors.Is(err, kerr.PolicyViolation):
		return batch.Permanent(fmt.Errorf("create topic %s: %w", o.Topic, err))
	}
	return fmt.Errorf("create topic %s: %w", o.Topic, err)
}

func (l *loader) load(ctx context.Context, rows iter.Seq2[Row, error]) error {
	l.acknowledgement = func(_ *kgo.Record, err error) {
		if err == nil {
			l.acknowledged.Add(1)
		} else {
			l.failed.CompareAndSwap(nil, &err)
		}
	}
	// The client's own choice for records with keys is Java's. It gets no record without one: for those it would choose at random.
	choose := kgo.StickyKeyPartitioner(nil).ForTopic(l.options.Topic)
	for row, err := range rows {
		if err == nil {
			err = l.row(ctx, row, choose)
		}
		if err != nil {
			return err
		}
	}
	if err := l.flush(ctx); err != nil {
		return err
	}
	for n, left := range l.skip {
		if left > 0 {
			return batch.Permanent(fmt.Errorf("partition %d holds %d more records than the events give it: it was loaded from other events, or something else writes to it; load them into an empty topic (dev: another --data-dir)", n, left))
		}
	}
	return nil
}

// row loads or skips one row.
func (l *loader) row(ctx context.Context, row Row, choose kgo.TopicPartitioner) error {
	if err := l.failed.Load(); err != nil {
		return *err
	}
	r := l.record(row, choose)
	l.total++
	if l.total%progressEvery == 0 {
		l.tell()
	}
	if l.skip[r.Partition] > 0 {
		l.skip[r.Partition]--
		l.skipped++
		return nil
	}
	if len(row.Key)+len(row.Value) > loadBatchBytes-1024 {
		return l.loadLarge(ctx, r)
	}
	l.client.Produce(context.WithoutCancel(ctx), r, l.acknowledgement)
	return nil
}

func (l *loader) record(row Row, choose kgo.TopicPartitioner) *kgo.Record {
	if len(l.slab) == 0 {
		l.slab = make([]kgo.Record, loadSlab)
	}
	r := &l.slab[0]
	l.slab = l.slab[1:]
	r.Key, r.Value, r.Timestamp = row.Key, row.Value, timeOf(row.Time)
	if row.Key != nil {
		r.Partition = int32(choose.Partition(r, len(l.skip)))
	} else {
		r.Partition = int32(l.keyless % int64(len(l.skip)))
		l.keyless++
	}
	return r
}

// loadLarge sends a row that no batch of the usual size holds, alone: the rows before it first, so that they keep their order.
func (l *loader) loadLarge(ctx context.Context, r *kgo.Record) (err error) {
	if err := l.flush(ctx); err != nil {
		return err
	}
	if l.large == nil {
		if l.large, err = l.options.client(maxLoadRowBytes); err != nil {
			return err
		}
	}
	if err := l.large.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("row %d of %d bytes: %w", l.total, len(r.Key)+len(r.Value), err)
	}
	l.acknowledged.Add(1)
	return nil
}

// flush waits until every row is acknowledged.
func (l *loader) flush(ctx context.Context) error {
	if err := l.client.Flush(ctx); err != nil {
		return err
	}
	l.tell()
	if err := l.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (l *loader) tell() {
	if l.progress != nil {
		l.progress(l.acknowledged.Load(), l.skipped)
	}
}

func timeOf(micros int64) time.Time { return time.UnixMicro(micros) }
