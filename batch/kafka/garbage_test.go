package kafka_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	zstdAttribute = 4
	crcOffset     = 17 // of a batch's checksum
	afterCRC      = 21 // where what it covers begins
	lengthOffset  = 8  // of a batch's length
	afterLength   = 12
)

// garbage produces a batch of one record that says that it is compressed by zstd, and is not: brokers look at a batch's checksum alone.
func (w *written) garbage(t *testing.T) {
	t.Helper()
	b := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, Attributes: zstdAttribute, FirstTimestamp: 1, MaxTimestamp: 1, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1, Records: []byte("no zstd frame begins so")}
	bytes := b.AppendTo(nil)
	binary.BigEndian.PutUint32(bytes[lengthOffset:], uint32(len(bytes)-afterLength))
	binary.BigEndian.PutUint32(bytes[crcOffset:], crc32.Checksum(bytes[afterCRC:], crc32.MakeTable(crc32.Castagnoli)))

	listed, err := kadm.NewClient(w.client).ListTopics(within(t), w.topic)
	must(t, err)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID = w.topic, [16]byte(listed[w.topic].ID)
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = bytes
	topic.Partitions = append(topic.Partitions, partition)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 5000, []kmsg.ProduceRequestTopic{topic}
	resp, err := req.RequestWith(within(t), w.client)
	must(t, err)
	must(t, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
}
