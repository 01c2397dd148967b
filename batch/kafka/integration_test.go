package kafka_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch/kafka"
	"highwater/testutil/kafkatest"
)

// Everything that holds on the fake holds on a real broker.
func TestRealBroker(t *testing.T) {
	c := realBroker{kafkatest.Start(t)}
	t.Run("dead letters", func(t *testing.T) { testDeadLetters(t, c) })
	t.Run("load resumes", func(t *testing.T) { testLoadResumes(t, c) })
	t.Run("load creates", func(t *testing.T) { testLoadCreates(t, c) })
	t.Run("group", func(t *testing.T) { testGroup(t, c) })
	t.Run("source", func(t *testing.T) { testSource(t, c) })
}

// Lag tools see where the source stands, also in a group that consumers have used before; while consumers use it, commits fail, which is counted, and said once.
func testGroup(t *testing.T, c realBroker) {
	topic := newTopic(t, c, 2, nil)
	w := write(t, c, topic, 2)
	w.records(t, 0, 30, 10)
	w.records(t, 1, 20, 10)
	log := &lockedBuffer{}
	s := open(t, c, kafka.Options{Group: topic, Log: slog.New(slog.NewTextHandler(log, nil))}, topic)
	_, err := s.Ends(within(t))
	must(t, err)

	consumer, err := c.Client(kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit())
	must(t, err)
	defer consumer.Close()
	must(t, consumer.PollFetches(within(t)).Err0())
	for range 3 {
		before := s.CommitFailures()
		s.Committed(within(t), []int64{10, 10})
		awaitFailures(t, s, before)
	}
	if text := log.String(); strings.Count(text, "not committed to the consumer group") != 1 || !strings.Contains(text, "has members") {
		t.Errorf("of failed commits the log says %q", text)
	}
	must(t, consumer.LeaveGroupContext(within(t)))
	s.Committed(within(t), []int64{25, 20})
	awaitPosition(t, w, topic, 25)
	lags, err := kadm.NewClient(w.client).Lag(within(t), topic)
	must(t, err)
	lag := lags[topic]
	must(t, lag.Error())
	if lag.State != "Empty" || lag.Lag.Total() != 5 || len(lag.Lag.Sorted()) != 2 {
		t.Errorf("the group is %s with a lag of %d over %d partitions, want Empty, 5 and 2", lag.State, lag.Lag.Total(), len(lag.Lag.Sorted()))
	}
	if !strings.Contains(log.String(), "committed to the consumer group again") {
		t.Errorf("after the consumer has left, the log says %q", log.String())
	}
}

// awaitFailures waits until more commits have failed than before.
func awaitFailures(t *testing.T, s *kafka.Source, before int64) {
	t.Helper()
	for ctx := within(t); s.CommitFailures() <= before; {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("no commit has failed")
		}
	}
}
