package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	hangingTimeout = time.Minute // for all partitions
	maxReadBytes   = 128 << 20   // beyond any batch
)

// endHanging writes the marker that ends a transaction which was open when the process before this one was killed.
//
// kfake forgets such a transaction as it starts: it tells readers that it was aborted, and writes no marker. A reader of committed records then passes over what the same producer commits after it too, up to the next marker of an abort;
// and the next start takes the records for committed ones, since the marker of a later commit ends them. So the marker has to stand in the log before anything else is written. Where one transaction at a time is open in a partition, as
// those of a load are, one without a marker is what the log ends in.
func (b *Broker) endHanging(topics map[string]int) error {
	ctx, cancel := context.WithTimeout(context.Background(), hangingTimeout)
	defer cancel()
	for topic := range topics {
		for _, p := range b.cluster.PartitionInfos(topic) {
			if p.HighWatermark == p.LogStartOffset || p.LastStableOffset != p.HighWatermark { // empty, or known to be open: its producer ends it
				continue
			}
			if err := b.endIfHanging(ctx, topic, p.Partition, p.HighWatermark-1); err != nil {
				return fmt.Errorf("topic %s, partition %d: end the transaction that was open when the process was killed: %w", topic, p.Partition, err)
			}
		}
	}
	return nil
}

// endIfHanging aborts the transaction of the record at the offset, the log's last, unless it is none.
func (b *Broker) endIfHanging(ctx context.Context, topic string, partition int32, offset int64) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(b.addrs...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}),
		kgo.KeepControlRecords(),
		kgo.BrokerMaxReadBytes(maxReadBytes),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		return err
	}
	for _, r := range fetches.Records() {
		if r.Attrs.IsControl() || !r.Attrs.IsTransactional() {
			continue
		}
		set := kadm.TopicsSet{}
		set.Add(topic, partition)
		written, err := kadm.NewClient(client).WriteTxnMarkers(ctx, kadm.TxnMarkers{ProducerID: r.ProducerID, ProducerEpoch: r.ProducerEpoch, Topics: set})
		written.EachPartition(func(p kadm.TxnMarkersPartitionResponse) { err = errors.Join(err, p.Err) })
		return err
	}
	return nil
}
