package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"highwater/batch"
)

const (
	settleTimeout  = 10 * time.Second // how long committed rows may stay hidden before somebody looks why
	settleBackoff  = 2 * time.Millisecond
	settleSlowdown = 200 * time.Millisecond
)

// settle waits until readers see the portion's rows. That a commit was acknowledged means only that it was decided: the markers that make it visible are written behind it.
func (l *loader) settle(ctx context.Context) error {
	ends := map[int32]int64{}
	for _, n := range l.portion.rows {
		ends[n.record.Partition] = max(ends[n.record.Partition], n.record.Offset+1)
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	admin := kadm.NewClient(l.small.client)
	for backoff := settleBackoff; ; backoff = min(2*backoff, settleSlowdown) {
		hidden, err := l.hidden(ctx, admin, ends)
		if err == nil && !hidden {
			return nil
		}
		if pause(ctx, backoff) != nil {
			return errors.Join(errors.New("committed rows do not become visible"), err)
		}
	}
}

// hidden reports whether a transaction is open below one of the ends.
func (l *loader) hidden(ctx context.Context, admin *kadm.Client, ends map[int32]int64) (bool, error) {
	stable, err := admin.ListCommittedOffsets(ctx, l.options.Topic)
	if err == nil {
		err = stable.Error()
	}
	if err != nil {
		return false, err
	}
	for n, end := range ends {
		if o, ok := stable.Lookup(l.options.Topic, n); !ok || o.Offset < end {
			return true, nil
		}
	}
	return false, nil
}

// endHanging ends transactions of this loader, or of one before it, that the brokers have forgotten to end; it is called while none of this loader's is open.
//
// A broker that was killed while it wrote the markers of a decided transaction writes them when it has started again. But partitions without a leader it passes over, as if they had been deleted, and while a broker that was killed is
// being let in again its partitions have none (seen with Kafka 4.3.1: "these partitions are likely deleted already and hence can be skipped"). Such a transaction stays open for ever, and hides all that follows. Aborting it is right,
// whatever had been decided: its rows are not among those held, and will be written again.
func (l *loader) endHanging(ctx context.Context, admin *kadm.Client, partitions []int32) error {
	topic := l.options.Topic
	asked := kadm.TopicsSet{}
	asked.Add(topic, partitions...)
	described, err := admin.DescribeProducers(ctx, asked)
	if err != nil {
		return err
	}
	var aborts []kadm.TxnMarkers
	described.EachProducer(func(p kadm.DescribedProducer) {
		if p.CurrentTxnStartOffset < 0 || p.ProducerID != l.small.id && p.ProducerID != l.large.id {
			return
		}
		l.options.Log.Warn("a transaction of loaded rows was never ended by the brokers: ending it, to write its rows again", "act", "load", "topic", topic, "partition", p.Partition, "from", p.CurrentTxnStartOffset, "producer_id", p.ProducerID)
		set := kadm.TopicsSet{}
		set.Add(topic, p.Partition)
		aborts = append(aborts, kadm.TxnMarkers{ProducerID: p.ProducerID, ProducerEpoch: p.ProducerEpoch, CoordinatorEpoch: max(0, p.CoordinatorEpoch), Topics: set})
	})
	if len(aborts) == 0 {
		return fmt.Errorf("partitions %v have open transactions", partitions)
	}
	written, err := admin.WriteTxnMarkers(ctx, aborts...)
	written.EachPartition(func(p kadm.TxnMarkersPartitionResponse) { err = errors.Join(err, p.Err) })
	if errors.Is(err, kerr.ClusterAuthorizationFailed) {
		return batch.Permanent(fmt.Errorf("topic %s, partitions %v: a transaction hangs, and the brokers do not let this client end it: have it ended (kafka-transactions.sh find-hanging, then abort), or load into another topic: %w", topic, partitions, err))
	}
	if err != nil {
		return fmt.Errorf("end a transaction that hangs: %w", err)
	}
	return errors.New("transactions that hung were ended: looking again")
}
