package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
)

const (
	loadBatchBytes    = 1000012 // what a batch may hold, so that every broker takes it
	loadMaxRowBytes   = 64 << 20
	loadBufferedBytes = portionBytes + loadMaxRowBytes
	loadTimeout       = 30 * time.Second // of a transaction: how long one that was left open hides what is behind it
	rowHeader         = "highwater-row"  // of a transaction's last row of each partition: its number there, in decimal
)

// open makes new writers, whose first act ends the transactions that those before them have left open and keeps them from ever writing again. Then it looks at what the topic holds, which from then on nobody changes but this loader.
func (l *loader) open(ctx context.Context) error {
	return l.wait.until(ctx, "find what topic "+l.options.Topic+" holds", func(ctx context.Context) (err error) {
		l.close()
		if l.small, err = l.options.writer("", loadBatchBytes); err != nil {
			return err
		}
		if l.large, err = l.options.writer("-large", loadMaxRowBytes); err != nil {
			return err
		}
		for _, w := range []*writer{l.small, l.large} {
			if w.id, _, err = w.client.ProducerID(ctx); err != nil {
				return l.options.loadError(err)
			}
		}
		held, err := l.rowsHeld(ctx)
		if err != nil {
			return l.options.loadError(err)
		}
		return l.adopt(held)
	})
}

// adopt takes what the topic holds for what is written.
func (l *loader) adopt(held []int64) error {
	if l.held == nil {
		l.held, l.given = held, make([]int64, len(held))
		return nil
	}
	if len(held) != len(l.held) {
		return batch.Permanent(fmt.Errorf("topic %s has %d partitions now, it had %d: load into a topic that nobody changes", l.options.Topic, len(held), len(l.held)))
	}
	for n := range held {
		if held[n] < l.held[n] {
			return batch.Permanent(fmt.Errorf("topic %s, partition %d, held %d rows and now holds %d: it was deleted, or its log was cut off; load into an empty topic", l.options.Topic, n, l.held[n], held[n]))
		}
	}
	l.held = held
	return nil
}

// commit makes the portion part of the topic, in as many attempts as it takes: where it cannot be known whether a transaction was committed, the topic is looked at.
func (l *loader) commit(ctx context.Context) error {
	for len(l.portion.rows) > 0 {
		err := l.writer(l.portion.large).commit(ctx, l.options)
		if err == nil {
			err = l.settle(ctx)
		}
		if err == nil {
			break
		}
		if err := l.options.loadError(err); ctx.Err() != nil || batch.IsPermanent(err) {
			return err
		}
		l.options.Log.Warn("a transaction of loaded rows failed: looking what the topic holds, and going on from there", "act", "load", "topic", l.options.Topic, "err", err)
		if err := l.open(ctx); err != nil {
			return err
		}
		l.again(ctx)
	}
	l.loaded += int64(len(l.portion.rows))
	for _, n := range l.portion.rows {
		l.held[n.record.Partition] = max(l.held[n.record.Partition], n.number)
	}
	clear(l.portion.rows)
	l.portion = portion{rows: l.portion.rows[:0]}
	l.tell()
	return nil
}

// again gives the new writer those of the portion's rows that the topic does not hold.
func (l *loader) again(ctx context.Context) {
	rows, w := l.portion.rows, l.writer(l.portion.large)
	l.portion.rows = nil
	for _, n := range rows {
		if n.number <= l.held[n.record.Partition] {
			l.loaded++
			continue
		}
		// The client that was closed may still hold the old record.
		n.record = &kgo.Record{Partition: n.record.Partition, Key: n.record.Key, Value: n.record.Value, Timestamp: n.record.Timestamp}
		l.portion.rows = append(l.portion.rows, n)
		w.add(ctx, n)
	}
}

func (l *loader) close() {
	for _, w := range []*writer{l.small, l.large} {
		if w != nil {
			w.client.Close()
		}
	}
	l.small, l.large = nil, nil
}

// writer writes rows, some at a time in one transaction.
type writer struct {
	client *kgo.Client
	id     int64 // of its producer
	begun  bool
	last   map[int32]numbered // by partition: the transaction's newest row, which is held back: the last one carries its number
	failed atomic.Pointer[error]
}

// writer makes one. Its transactional id is the topic's own: a later loader's writer takes its place.
func (o LoadOptions) writer(kind string, batchBytes int32) (*writer, error) {
	client, err := kgo.NewClient(common(o.Brokers, o.Log, o.Security, o.Dialer, []kgo.Opt{
		kgo.DefaultProduceTopic(o.Topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.TransactionalID(o.transactionalID() + kind),
		kgo.TransactionTimeout(loadTimeout),
		kgo.ProducerBatchMaxBytes(batchBytes),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedBytes(loadBufferedBytes),
		kgo.MaxBufferedRecords(portionRows),
	})...)
	if err != nil {
		return nil, batch.Permanent(fmt.Errorf("set up the Kafka client: %w", err))
	}
	return &writer{client: client, last: map[int32]numbered{}}, nil
}

func (o LoadOptions) transactionalID() string { return "highwater-load-" + o.Topic }

// add gives the transaction one more row. What goes wrong is commit's to tell.
func (w *writer) add(ctx context.Context, n numbered) {
	if !w.begun {
		w.begun = true
		if err := w.client.BeginTransaction(); err != nil {
			w.fail(err)
		}
	}
	if before, ok := w.last[n.record.Partition]; ok {
		w.client.Produce(ctx, before.record, w.promise)
	}
	w.last[n.record.Partition] = n
}

// commit writes what was held back, and ends the transaction. After an error it is not known whether its rows are in the topic, and the writer is of no more use.
func (w *writer) commit(ctx context.Context, o LoadOptions) error {
	for _, n := range w.last {
		n.record.Headers = append(slices.DeleteFunc(n.record.Headers, func(h kgo.RecordHeader) bool { return h.Key == rowHeader }), header(rowHeader, strconv.FormatInt(n.number, 10)))
		w.client.Produce(ctx, n.record, w.promise)
	}
	clear(w.last)
	w.begun = false
	if err := w.flush(ctx, o); err != nil {
		return err
	}
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return w.client.EndTransaction(ctx, kgo.TryCommit)
}

// flush waits until every row is acknowledged or has failed, and says so from time to time.
func (w *writer) flush(ctx context.Context, o LoadOptions) error {
	for {
		waiting, cancel := context.WithTimeout(ctx, logEvery)
		err := w.client.Flush(waiting)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		o.Log.Warn("kafka does not take rows: trying on", "act", "load", "topic", o.Topic, "brokers", o.Brokers)
	}
}

func (w *writer) promise(_ *kgo.Record, err error) {
	if err != nil {
		w.fail(err)
	}
}

// fail keeps the first error of a row.
func (w *writer) fail(err error) { w.failed.CompareAndSwap(nil, &err) }

// loadError makes what waiting does not mend permanent, and says what to do about it.
func (o LoadOptions) loadError(err error) error {
	switch {
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return batch.Permanent(fmt.Errorf("load topic %s: the brokers do not let this client use transactional id %s: grant it Write and Describe on the transactional ids that begin so: %w", o.Topic, o.transactionalID(), err))
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return batch.Permanent(fmt.Errorf("load topic %s: the brokers do not let this client write to it, and read what it wrote: grant it Write, Read and Describe on the topic: %w", o.Topic, err))
	case errors.Is(err, kerr.MessageTooLarge):
		return batch.Permanent(fmt.Errorf("load topic %s: a row is larger than the topic takes (max.message.bytes): %w", o.Topic, err))
	}
	return err
}
