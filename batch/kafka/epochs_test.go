package kafka_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/testutil/kafkatest"
)

func wantTruncated(t *testing.T, err error, next, end int64) {
	t.Helper()
	cut, ok := errors.AsType[*batch.TruncatedError](err)
	if !ok || !batch.IsPermanent(err) || cut.Next != next || cut.End != end {
		t.Fatalf("error %v, want that offset %d is behind %d, where the log was cut off", err, next, end)
	}
}

// The leader epoch of a place tells a log that was cut off from one that has only grown, whatever its end is now; where the brokers know nothing of that epoch, nothing is made up.
func TestSource_LeaderEpochs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		place batch.Place
		end   int64 // of the place's epoch, as the brokers say
		asked bool
		cut   bool
	}{
		{"whole", batch.Place{Next: 10, LeaderEpoch: 3}, 10, true, false},
		{"grown", batch.Place{Next: 10, LeaderEpoch: 3}, 15, true, false},
		{"cut off", batch.Place{Next: 10, LeaderEpoch: 3}, 6, true, true},
		{"cut off behind it", batch.Place{Next: 5, LeaderEpoch: 3}, 6, true, false},
		{"an epoch that nobody knows", batch.Place{Next: 10, LeaderEpoch: 3}, -1, true, false},
		{"no epoch", batch.Place{Next: 10, LeaderEpoch: -1}, 6, false, false},
		{"the beginning", batch.Place{Next: batch.Beginning, LeaderEpoch: 3}, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			topic := newTopic(t, f, 1, nil)
			w := write(t, f, topic, 1)
			w.records(t, 0, 20, 10)
			s := open(t, f, kafka.Options{}, topic)
			asked := false
			f.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
				f.KeepControl()
				r := req.(*kmsg.OffsetForLeaderEpochRequest)
				if r.Topics[0].Partitions[0].LeaderEpoch != 3 {
					return nil, nil, false // the client's own question
				}
				asked = true
				return leaderEpochAnswer(r, c.end), nil, true
			})
			err := s.Start(within(t), []batch.Place{c.place})
			if asked != c.asked {
				t.Errorf("the brokers were asked: %v, want %v", asked, c.asked)
			}
			if c.cut {
				wantTruncated(t, err, c.place.Next, c.end)
				return
			}
			must(t, err)
		})
	}
}

func leaderEpochAnswer(r *kmsg.OffsetForLeaderEpochRequest, end int64) kmsg.Response {
	resp := r.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
	topic.Topic = r.Topics[0].Topic
	p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
	p.Partition, p.LeaderEpoch, p.EndOffset = r.Topics[0].Partitions[0].Partition, min(3, int32(end)), end
	topic.Partitions = append(topic.Partitions, p)
	resp.Topics = append(resp.Topics, topic)
	return resp
}

// A real log is cut off while nobody looks, and grows past where it was: a task that starts again finds out, and so does one that was running all the time.
func TestRealBroker_LogIsCutOff(t *testing.T) {
	broker := kafkatest.Start(t)
	c := realBroker{broker}
	for name, idle := range map[string]bool{"reading": false, "idle since its start": true} {
		t.Run(name, func(t *testing.T) {
			topic := newTopic(t, c, 1, nil)
			w := write(t, c, topic, 1)
			for range 10 {
				w.records(t, 0, 1, 100)
			}
			running := open(t, c, kafka.Options{}, topic)
			ends, err := running.Ends(within(t))
			must(t, err)
			place := batch.Place{Next: 10, LeaderEpoch: ends[0].LeaderEpoch}
			var r *reader
			if idle {
				r = read(t, running, 10) // where it has nothing to read
			} else {
				r = read(t, running, 0)
				r.until([]int64{10})
			}

			must(t, broker.Stop())
			must(t, broker.CutLog(topic, 0, 6))
			must(t, broker.Start())
			write(t, c, topic, 1).records(t, 0, 20, 100)

			wantTruncated(t, r.err(), 10, 6)
			if got := int64(len(r.got[0])); !idle && got != 10 {
				t.Errorf("%d records were read, want the 10 from before: what stands there now is not what was to follow", got)
			}
			wantTruncated(t, open(t, c, kafka.Options{}, topic).Start(within(t), []batch.Place{place}), 10, 6)
		})
	}
}
