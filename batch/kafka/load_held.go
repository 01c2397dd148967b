package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
)

const (
	tailOffsets = 8  // how far before a log's end its last row is looked for at first
	tailGrowth  = 32 // how much farther then: behind it may lie rows that were never committed
)

// rowsHeld returns how many rows each partition holds. It creates the topic if need be. While a transaction is open it is an error to retry: what it holds may be rows.
func (l *loader) rowsHeld(ctx context.Context) ([]int64, error) {
	admin := kadm.NewClient(l.small.client)
	logs, err := l.logs(ctx, admin)
	if err != nil {
		return nil, err
	}
	held := make([]int64, len(logs))
	missing := map[int32]bool{}
	for n, log := range logs {
		missing[int32(n)] = log.end > log.start
	}
	for back := int64(tailOffsets); ; back *= tailGrowth {
		from := map[int32]kgo.Offset{}
		for n, log := range logs {
			if missing[int32(n)] {
				from[int32(n)] = kgo.NewOffset().At(max(log.start, log.end-back))
				missing[int32(n)] = log.end-back > log.start
			}
		}
		if len(from) == 0 {
			break
		}
		if err := l.readTails(ctx, from, logs, func(r *kgo.Record) error {
			missing[r.Partition] = false
			held[r.Partition], err = numberOf(r)
			return err
		}); err != nil {
			return nil, err
		}
	}
	for n, log := range logs {
		if held[n] == 0 && log.start > 0 {
			return nil, batch.Permanent(fmt.Errorf("topic %s, partition %d, had rows, and none is left to tell how many (retention, or a deletion): load into an empty topic", l.options.Topic, n))
		}
	}
	return held, nil
}

// logs returns where the partitions' logs begin and end. A topic that does not exist is made, which is an error too, so that it is looked for again.
func (l *loader) logs(ctx context.Context, admin *kadm.Client) ([]extent, error) {
	topic := l.options.Topic
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if unknown, ok := ends.Lookup(topic, -1); ok && errors.Is(unknown.Err, kerr.UnknownTopicOrPartition) {
		return nil, l.createTopic(ctx, admin)
	}
	stable, err := admin.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(ends.Error(), stable.Error(), starts.Error()); err != nil {
		return nil, err
	}
	logs, open := make([]extent, len(ends[topic])), []int32(nil)
	if len(logs) == 0 {
		return nil, errMissing
	}
	for n := range logs {
		start, a := starts.Lookup(topic, int32(n))
		end, b := ends.Lookup(topic, int32(n))
		settled, c := stable.Lookup(topic, int32(n))
		switch {
		case !a || !b || !c:
			return nil, fmt.Errorf("partition %d: %w", n, errMissing)
		case settled.Offset != end.Offset:
			open = append(open, int32(n))
		}
		logs[n] = extent{start: start.Offset, end: end.Offset}
	}
	if len(open) > 0 {
		return nil, l.endHanging(ctx, admin, open)
	}
	return logs, nil
}

// readTails reads partitions from some offset to their logs' ends; each hears of every row.
func (l *loader) readTails(ctx context.Context, from map[int32]kgo.Offset, logs []extent, each func(*kgo.Record) error) error {
	o := l.options
	client, err := kgo.NewClient(common(o.Brokers, o.Log, o.Security, o.Dialer, []kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{o.Topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // else a log that ends in a transaction's marker would never end
		kgo.BrokerMaxReadBytes(maxResponseBytes),
	})...)
	if err != nil {
		return batch.Permanent(fmt.Errorf("set up the Kafka client: %w", err))
	}
	defer client.Close()
	for left := len(from); left > 0; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			if !r.Attrs.IsControl() {
				if err := each(r); err != nil {
					return err
				}
			}
			if r.Offset == logs[r.Partition].end-1 {
				left--
			}
		}
	}
	return nil
}

// numberOf returns a row's number within its partition. One that carries none is taken for what a version before this one wrote, whose rows stood at the offsets before their numbers.
func numberOf(r *kgo.Record) (int64, error) {
	for _, h := range r.Headers {
		if h.Key == rowHeader {
			n, err := strconv.ParseInt(string(h.Value), 10, 64)
			if err != nil {
				return 0, batch.Permanent(fmt.Errorf("topic %s, partition %d, offset %d: header %s is %q, want a number: something else writes to the topic; load into an empty one", r.Topic, r.Partition, r.Offset, rowHeader, h.Value))
			}
			return n, nil
		}
	}
	return r.Offset + 1, nil
}

// createTopic creates the topic without retention: the rows' timestamps are history, which a broker's default would delete at once. It returns an error also when it did, so that its caller looks again.
func (l *loader) createTopic(ctx context.Context, admin *kadm.Client) error {
	forever, name := "-1", l.options.Topic
	_, err := admin.CreateTopic(ctx, int32(max(1, l.options.Partitions)), -1, map[string]*string{"retention.ms": &forever}, name)
	switch {
	case err == nil, errors.Is(err, kerr.TopicAlreadyExists):
		return fmt.Errorf("topic %s has just been created", name)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed), errors.Is(err, kerr.InvalidTopicException), errors.Is(err, kerr.PolicyViolation):
		return batch.Permanent(fmt.Errorf("create topic %s: %w", name, err))
	}
	return fmt.Errorf("create topic %s: %w", name, err)
}
