package kafka

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
)

const (
	portionRows   = 16384 // of a transaction, at most
	portionBytes  = 16 << 20
	loadRowBytes  = 1000012 - 1024 // of a row that fits a batch that every broker takes
	loadSlab      = 1024           // records allocated at once
	progressEvery = 8192           // rows
)

// Row is one event to load. Its bytes must not change until Load has returned.
type Row struct {
	Key     []byte // nil for none: such rows go round the partitions
	Value   []byte
	Headers []batch.Header
	Time    int64 // µs: the record's timestamp, kept to the millisecond
}

// LoadOptions say where rows go.
type LoadOptions struct {
	Brokers    []string
	Topic      string
	Partitions int          // of the topic, where Load has to create it, at least 1; an existing topic keeps its own
	Log        *slog.Logger // nil for none

	Security Security
	Dialer   func(ctx context.Context, network, address string) (net.Conn, error) // of plain connections; nil for the net package's
}

// Load writes rows to a topic in their order, each to the partition that Kafka's own (Java) clients would choose for its key, and returns how many rows there are.
//
// It resumes: the last row of each transaction carries its number within its partition, so the log itself says how many of a partition's rows it holds, and so many are skipped. A load killed at any moment and run again, and one whose
// brokers are killed at any moment, leave every row once, in order. That needs the same rows each time, and a topic that nothing else writes to, ever; a topic that holds more than the rows give is an error. Two loads of one topic
// at a time end each other's transactions, and are slow.
//
// Rows are written in transactions, since nothing less is safe from being written twice: brokers know a batch that is sent again by its producer's newest sequence number, and forget that a day after the time of the producer's newest
// record (producer.id.expiration.ms), which for rows of long ago is at once. Nobody is forgotten whose transaction is open. See docs/decisions/0007-rows-are-loaded-in-transactions.md.
//
// It waits for brokers that are down; ctx ends the wait. progress, which may be nil, is called from time to time and at the end, in the caller's goroutine: loaded rows are committed ones.
func Load(ctx context.Context, o LoadOptions, rows iter.Seq2[Row, error], progress func(loaded, skipped int64)) (total int64, err error) {
	o.Log = orDiscard(o.Log)
	if err := o.Security.Check(); err != nil {
		return 0, batch.Permanent(err)
	}
	l := &loader{options: o, progress: progress, wait: patience{log: o.Log, brokers: o.Brokers, security: o.Security}}
	defer l.close()
	if err := l.open(ctx); err != nil {
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

// loader is one run of Load.
type loader struct {
	options  LoadOptions
	wait     patience
	progress func(loaded, skipped int64)

	small, large *writer // large is for rows beyond a batch of the other's
	portion      portion // what the open transaction holds

	held  []int64 // by partition: how many rows the topic has
	given []int64 // by partition: how many rows there have been so far

	slab                   []kgo.Record
	keyless                int64
	total, skipped, loaded int64
}

// portion is the rows of one transaction: kept until it is committed, since they may have to be written again.
type portion struct {
	rows  []numbered
	bytes int
	large bool // by the large writer
}

// numbered is a row with its number within its partition, from 1.
type numbered struct {
	record *kgo.Record
	number int64
}

func (l *loader) load(ctx context.Context, rows iter.Seq2[Row, error]) error {
	// The client's own choice for records with keys is Java's. It gets no record without one: for those it would choose at random.
	choose := kgo.StickyKeyPartitioner(nil).ForTopic(l.options.Topic)
	for row, err := range rows {
		if err != nil {
			if ended := l.commit(ctx); ended != nil { // what came before it was right
				return ended
			}
			return err
		}
		if err := l.row(ctx, row, choose); err != nil {
			return err
		}
	}
	if err := l.commit(ctx); err != nil {
		return err
	}
	for n := range l.held {
		if more := l.held[n] - l.given[n]; more > 0 {
			return batch.Permanent(fmt.Errorf("partition %d holds %d more records than the events give it: it was loaded from other events, or something else writes to it; load them into an empty topic (dev: another --data-dir)", n, more))
		}
	}
	return nil
}

// row loads or skips one row.
func (l *loader) row(ctx context.Context, row Row, choose kgo.TopicPartitioner) error {
	r := l.record(row, choose)
	l.given[r.Partition]++
	l.total++
	if l.total%progressEvery == 0 {
		l.tell()
	}
	number := l.given[r.Partition]
	if number <= l.held[r.Partition] {
		l.skipped++
		return nil
	}
	size := len(row.Key) + len(row.Value) + int(sizeOfHeaders(row.Headers))
	large := size > loadRowBytes
	if p := &l.portion; len(p.rows) > 0 && (p.large != large || len(p.rows) == portionRows || p.bytes+size > portionBytes) {
		if err := l.commit(ctx); err != nil {
			return err
		}
	}
	n := numbered{record: r, number: number}
	l.portion.rows, l.portion.bytes, l.portion.large = append(l.portion.rows, n), l.portion.bytes+size, large
	l.writer(large).add(ctx, n)
	return nil
}

// writer returns the one for rows of a kind.
func (l *loader) writer(large bool) *writer {
	if large {
		return l.large
	}
	return l.small
}

func (l *loader) record(row Row, choose kgo.TopicPartitioner) *kgo.Record {
	if len(l.slab) == 0 {
		l.slab = make([]kgo.Record, loadSlab)
	}
	r := &l.slab[0]
	l.slab = l.slab[1:]
	r.Key, r.Value, r.Headers, r.Timestamp = row.Key, row.Value, rowHeaders(row.Headers), time.UnixMicro(row.Time)
	if row.Key != nil {
		r.Partition = int32(choose.Partition(r, len(l.held)))
	} else {
		r.Partition = int32(l.keyless % int64(len(l.held)))
		l.keyless++
	}
	return r
}

func rowHeaders(headers []batch.Header) []kgo.RecordHeader {
	var out []kgo.RecordHeader
	for _, h := range headers {
		out = append(out, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out
}

func (l *loader) tell() {
	if l.progress != nil {
		l.progress(l.loaded, l.skipped)
	}
}
