package embedded

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// truncation is a while in which every log is as an unclean election leaves it: a leader of a new epoch knows less of it than had been acknowledged. What it does not know is not deleted: in the end the leader from before is back.
// Clients see what they would see of Kafka: an earlier end of the log, and of the epochs in it, and nothing beyond. What lies before it cannot be read meanwhile either.
type truncation struct {
	until  time.Time
	topics map[string]map[int32]cutPartition
	names  map[[16]byte]string // of the topics, by id
}

type cutPartition struct {
	start, end int64
	epoch      int32
}

// latest asks ListOffsets for a log's end.
const latest = -1

// truncate begins a truncation which leaves each log keep percent of its records.
func (b *Broker) truncate(keep int, d time.Duration) {
	b.cluster.ShufflePartitionLeaders()
	t := &truncation{until: time.Now().Add(d), topics: map[string]map[int32]cutPartition{}, names: map[[16]byte]string{}}
	for _, topic := range b.topics {
		info := b.cluster.TopicInfo(topic)
		if info == nil {
			continue // deleted
		}
		t.names[info.TopicID] = topic
		t.topics[topic] = map[int32]cutPartition{}
		for _, p := range b.cluster.PartitionInfos(topic) {
			t.topics[topic][p.Partition] = cutPartition{start: p.LogStartOffset, end: p.LogStartOffset + (p.HighWatermark-p.LogStartOffset)*int64(keep)/100, epoch: p.Epoch}
		}
	}
	answers := map[kmsg.Key]func(kmsg.Request) (kmsg.Response, bool){kmsg.Fetch: t.fetch, kmsg.ListOffsets: t.listOffsets, kmsg.OffsetForLeaderEpoch: t.offsetForLeaderEpoch}
	for key, answer := range answers {
		b.cluster.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
			if time.Now().After(t.until) {
				b.cluster.DropControl()
				return nil, nil, false
			}
			b.cluster.KeepControl()
			resp, ok := answer(req)
			if ok {
				b.met(Truncate)
			}
			return resp, nil, ok
		})
	}
}

// find returns a partition, and the error that a client gets who knows another epoch of its leader; ok is false for a partition that came later.
func (t *truncation) find(topic string, partition, epoch int32) (p cutPartition, code int16, ok bool) {
	p, ok = t.topics[topic][partition]
	if ok && epoch >= 0 && epoch < p.epoch {
		code = kerr.FencedLeaderEpoch.Code
	}
	return p, code, ok
}

// fetch has no records for anyone, and none to come for whoever is beyond the end.
func (t *truncation) fetch(req kmsg.Request) (kmsg.Response, bool) {
	r := req.(*kmsg.FetchRequest)
	resp := r.ResponseKind().(*kmsg.FetchResponse)
	for _, rt := range r.Topics {
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
		name := rt.Topic
		if name == "" {
			name = t.names[rt.TopicID]
		}
		for _, rp := range rt.Partitions {
			cut, code, ok := t.find(name, rp.Partition, rp.CurrentLeaderEpoch)
			if !ok {
				return nil, false
			}
			if code == 0 && rp.FetchOffset > cut.end {
				code = kerr.OffsetOutOfRange.Code
			}
			p := kmsg.NewFetchResponseTopicPartition()
			p.Partition, p.ErrorCode = rp.Partition, code
			p.LogStartOffset, p.HighWatermark, p.LastStableOffset = cut.start, cut.end, cut.end
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp, true
}

// listOffsets answers who asks for nothing but the logs' ends.
func (t *truncation) listOffsets(req kmsg.Request) (kmsg.Response, bool) {
	r := req.(*kmsg.ListOffsetsRequest)
	resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, rt := range r.Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			cut, code, ok := t.find(rt.Topic, rp.Partition, rp.CurrentLeaderEpoch)
			if !ok || rp.Timestamp != latest {
				return nil, false
			}
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.ErrorCode, p.Offset, p.LeaderEpoch = rp.Partition, code, cut.end, cut.epoch
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp, true
}

// offsetForLeaderEpoch lets every epoch end where the log does.
func (t *truncation) offsetForLeaderEpoch(req kmsg.Request) (kmsg.Response, bool) {
	r := req.(*kmsg.OffsetForLeaderEpochRequest)
	resp := r.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, rt := range r.Topics {
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			cut, code, ok := t.find(rt.Topic, rp.Partition, rp.CurrentLeaderEpoch)
			if !ok {
				return nil, false
			}
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition, p.ErrorCode, p.LeaderEpoch, p.EndOffset = rp.Partition, code, min(rp.LeaderEpoch, cut.epoch), cut.end
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp, true
}
