package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
	"highwater/features"
)

var (
	_ batch.Sink      = (*DeadLetters)(nil)
	_ batch.Selective = (*DeadLetters)(nil)
)

// After so long without an acknowledgement Publish returns an error, so that whoever retries it can say so.
const (
	deliveryTimeout = 30 * time.Second
	pingTimeout     = 2 * time.Second
)

// DeadLetterOptions say where dead letters go.
type DeadLetterOptions struct {
	Brokers []string
	Sources []*features.Source // those without a dead-letter topic are skipped: their dead letters go nowhere
	Log     *slog.Logger       // nil for none

	Security Security
	Dialer   func(ctx context.Context, network, address string) (net.Conn, error) // of plain connections; nil for the net package's
}

// DeadLetters is the sink of records that no view takes; make it with [NewDeadLetters]. Safe for concurrent use.
//
// A dead letter keeps its record's key, and its value unless that is beyond max_record_bytes or what the topic accepts. Its headers, all text, say why and where from:
// reason, detail, generation, sequence, source, topic, partition, offset, and value = "omitted" where a value was left out. The record's own headers follow, their names behind "record.", unless its value was left out.
// They arrive at least once: what is published again after a crash is there again, under the same generation and sequence.
type DeadLetters struct {
	options DeadLetterOptions
	client  *kgo.Client
	topics  map[string]string // by source
}

// NewDeadLetters sets the producer up; it asks the brokers nothing yet. The caller must Close it.
func NewDeadLetters(o DeadLetterOptions) (*DeadLetters, error) {
	if err := o.Security.Check(); err != nil {
		return nil, batch.Permanent(err)
	}
	client, err := kgo.NewClient(common(o.Brokers, orDiscard(o.Log), o.Security, o.Dialer, []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.AllowAutoTopicCreation(), // the broker's setting decides
		kgo.RecordDeliveryTimeout(deliveryTimeout),
		kgo.AllowIdempotentProduceCancellation(), // at least once is all that is promised, so a stop need not wait for brokers that are down
	})...)
	if err != nil {
		return nil, batch.Permanent(fmt.Errorf("set up the dead-letter producer: %w", err))
	}
	d := &DeadLetters{options: o, client: client, topics: map[string]string{}}
	for _, s := range o.Sources {
		if s.DeadLetter != "" {
			d.topics[s.Name] = s.DeadLetter
		}
	}
	return d, nil
}

// Name returns "dead_letter".
func (*DeadLetters) Name() string { return "dead_letter" }

// Close drops what is not acknowledged. No Publish may be running.
func (d *DeadLetters) Close() { d.client.Close() }

// Publish is documented at [batch.Sink]. It returns when every replica in sync has the dead letters. A topic that does not exist is an error to retry: an operator may create it.
func (d *DeadLetters) Publish(ctx context.Context, out *batch.Output) (batch.Outcome, error) {
	records := d.records(out)
	if len(records) == 0 {
		return batch.Outcome{}, nil
	}
	for _, r := range d.client.ProduceSync(ctx, records...) {
		err := r.Err
		if errors.Is(err, kerr.MessageTooLarge) {
			err = d.alone(ctx, r.Record)
		}
		if err != nil {
			return batch.Outcome{}, d.explain(ctx, r.Record.Topic, err)
		}
	}
	return batch.Outcome{}, nil
}

// Takes implements [batch.Selective]: dead letters, and nothing else.
func (d *DeadLetters) Takes(out *batch.Output) bool { return len(out.DeadLetters) > 0 }

// alone produces a record whose batch was too large: it may fit by itself, and else it goes without its value.
func (d *DeadLetters) alone(ctx context.Context, r *kgo.Record) error {
	again := &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers}
	err := d.client.ProduceSync(ctx, again).FirstErr()
	if errors.Is(err, kerr.MessageTooLarge) {
		err = d.client.ProduceSync(ctx, omitValue(r)).FirstErr()
	}
	return err
}

// explain says what kind of error it is that kept dead letters from a topic, and what to do about it. A timeout alone says nothing: the brokers are asked for what lies behind it.
func (d *DeadLetters) explain(ctx context.Context, topic string, err error) error {
	if errors.Is(err, kgo.ErrRecordTimeout) {
		asking, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		if cause := d.client.Ping(asking); cause != nil {
			err = fmt.Errorf("%w: %w", err, cause)
		}
	}
	err = d.options.Security.explain(d.options.Brokers, err)
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		err = fmt.Errorf("dead-letter topic %q does not exist, and the brokers do not create it: create it: %w", topic, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		err = fmt.Errorf("the brokers do not let this client write to dead-letter topic %q: grant it Write and Describe on it: %w", topic, err)
	default:
		err = fmt.Errorf("write to dead-letter topic %q: %w", topic, err)
	}
	return &sinkError{error: err, kind: kindOf(err)}
}

// sinkError is an error with its kind.
type sinkError struct {
	error
	kind string
}

func (e *sinkError) Unwrap() error { return e.error }

// Kind is documented at [batch.KindOf].
func (e *sinkError) Kind() string { return e.kind }

func kindOf(err error) string {
	refused, isRefused := errors.AsType[*refusal](err)
	_, isNetwork := errors.AsType[*net.OpError](err)
	switch {
	case isRefused:
		return refused.kind
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed), errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return batch.KindDenied
	case isNetwork, errors.Is(err, io.EOF):
		return batch.KindUnreachable
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kerr.RequestTimedOut), errors.Is(err, context.DeadlineExceeded):
		return batch.KindTimeout
	}
	return batch.KindOther
}

func (d *DeadLetters) records(out *batch.Output) []*kgo.Record {
	var records []*kgo.Record
	for i := range out.DeadLetters {
		l := &out.DeadLetters[i]
		if topic, ok := d.topics[l.Partition.Source]; ok {
			records = append(records, deadLetter(topic, out.Version, l))
		}
	}
	return records
}

func deadLetter(topic string, v features.Version, l *batch.DeadLetter) *kgo.Record {
	r := &kgo.Record{Topic: topic, Key: l.Key, Value: l.Value, Headers: []kgo.RecordHeader{
		header("reason", string(l.Reason)),
		header("detail", l.Detail),
		header("generation", strconv.FormatUint(uint64(v.Generation), 10)),
		header("sequence", strconv.FormatUint(v.Sequence, 10)),
		header("source", l.Partition.Source),
		header("topic", l.Partition.Topic),
		header("partition", strconv.Itoa(int(l.Partition.Number))),
		header("offset", strconv.FormatInt(l.Offset, 10)),
	}}
	if l.Reason == batch.ReasonTooLarge {
		return omitValue(r)
	}
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: recordHeader + h.Key, Value: h.Value})
	}
	return r
}

// recordHeader is what the names of a record's own headers begin with in its dead letter.
const recordHeader = "record."

// omitValue returns a dead letter without its record's value and headers, to be produced anew.
func omitValue(r *kgo.Record) *kgo.Record {
	ours := slices.DeleteFunc(slices.Clone(r.Headers), func(h kgo.RecordHeader) bool { return strings.HasPrefix(h.Key, recordHeader) })
	return &kgo.Record{Topic: r.Topic, Key: r.Key, Headers: append(ours, header("value", "omitted"))}
}

func header(key, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: key, Value: []byte(value)}
}
