package kafka_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/features"
)

func TestDeadLetters_Fake(t *testing.T) {
	t.Parallel()
	testDeadLetters(t, newFake(t))
}

func testDeadLetters(t *testing.T, c cluster) {
	topic := newTopic(t, c, 2, map[string]string{"max.message.bytes": "2000"})
	sources := []*features.Source{{Name: "clicks", Topic: "clicks", DeadLetter: topic}, {Name: "views", Topic: "views"}}
	sink := deadLetters(t, c, sources)
	if sink.Name() != "dead_letter" {
		t.Errorf("the sink's name is %q", sink.Name())
	}
	clicks, views := batch.Partition{Source: "clicks", Topic: "clicks", Number: 3}, batch.Partition{Source: "views", Topic: "views"}
	large := make([]byte, 10_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(large) // which no compression makes small
	out := &batch.Output{Version: features.Version{Generation: 2, Sequence: 41}, DeadLetters: []batch.DeadLetter{
		{Partition: clicks, Offset: 7, Reason: batch.ReasonMalformed, Detail: "a } too much", Key: []byte("u1"), Value: []byte("{}}"), Headers: []batch.Header{{Key: "topic", Value: []byte("its own")}, {Key: "trace", Value: []byte("t1")}}},
		{Partition: clicks, Offset: 8, Reason: batch.ReasonTooLarge, Key: []byte("u2"), Value: []byte("not to be sent")},
		{Partition: clicks, Offset: 9, Reason: batch.ReasonLate, Value: large},
		{Partition: clicks, Offset: 10, Reason: batch.ReasonLate, Headers: []batch.Header{{Key: "large", Value: large}}},
		{Partition: views, Offset: 1, Reason: batch.ReasonLate, Value: []byte("nobody wants it")},
	}}
	if _, err := sink.Publish(within(t), out); err != nil {
		t.Fatal(err)
	}
	got := map[string]*kgo.Record{}
	for _, r := range consume(t, c, topic, 4) {
		got[headers(r)["offset"]] = r
	}
	want := map[string]string{"reason": "malformed", "detail": "a } too much", "generation": "2", "sequence": "41", "source": "clicks", "topic": "clicks", "partition": "3", "offset": "7", "record.topic": "its own", "record.trace": "t1"}
	for key, value := range want {
		if have := headers(got["7"])[key]; have != value {
			t.Errorf("header %s is %q, want %q", key, have, value)
		}
	}
	if string(got["7"].Key) != "u1" || string(got["7"].Value) != "{}}" || headers(got["7"])["value"] != "" {
		t.Errorf("the dead letter has key %q, value %q", got["7"].Key, got["7"].Value)
	}
	for _, offset := range []string{"8", "9", "10"} { // one by its reason, and two because the topic does not take them
		if r := got[offset]; r == nil || len(r.Value) > 0 || headers(r)["value"] != "omitted" {
			t.Errorf("dead letter %s: headers %v, want it without its value, and saying so", offset, headers(r))
		}
	}
}

func deadLetters(t *testing.T, c cluster, sources []*features.Source) *kafka.DeadLetters {
	t.Helper()
	sink, err := kafka.NewDeadLetters(kafka.DeadLetterOptions{Brokers: c.Brokers(), Sources: sources})
	must(t, err)
	t.Cleanup(sink.Close)
	return sink
}

func headers(r *kgo.Record) map[string]string {
	h := map[string]string{}
	for _, x := range r.Headers {
		h[x.Key] = string(x.Value)
	}
	return h
}

// consume reads n records of a topic, whatever reads it elsewhere.
func consume(t *testing.T, c cluster, topic string, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.BrokerMaxReadBytes(1<<30))
	must(t, err)
	defer client.Close()
	var records []*kgo.Record
	for ctx := within(t); len(records) < n; {
		fetches := client.PollFetches(ctx)
		must(t, fetches.Err0())
		records = append(records, fetches.Records()...)
	}
	if len(records) > n {
		t.Fatalf("topic %s has %d records, want %d", topic, len(records), n)
	}
	return records
}

// A topic that is missing is an error that names it, and is retried: once somebody creates the topic, it works.
func TestDeadLetters_MissingTopic(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	sink := deadLetters(t, c, []*features.Source{{Name: "s", Topic: "s", DeadLetter: "s.dead-letter"}})
	out := &batch.Output{DeadLetters: []batch.DeadLetter{{Partition: batch.Partition{Source: "s", Topic: "s"}, Reason: batch.ReasonLate, Value: []byte("x")}}}
	_, err := sink.Publish(within(t), out)
	if err == nil || batch.IsPermanent(err) || !strings.Contains(err.Error(), `"s.dead-letter" does not exist`) {
		t.Fatalf("error %v, want one to retry that names the topic", err)
	}
	must(t, c.CreateTopic("s.dead-letter", 1, nil))
	if _, err := sink.Publish(within(t), out); err != nil {
		t.Fatalf("after the topic was created: %v", err)
	}
	consume(t, c, "s.dead-letter", 1)
}

// Nothing is confirmed before the brokers have confirmed it, and a stop does not wait for brokers that do not answer.
func TestDeadLetters_Unacknowledged(t *testing.T) {
	t.Parallel()
	c := newFake(t)
	topic := newTopic(t, c, 1, nil)
	sink := deadLetters(t, c, []*features.Source{{Name: "s", Topic: "s", DeadLetter: topic}})
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := sink.Publish(ctx, &batch.Output{DeadLetters: []batch.DeadLetter{{Partition: batch.Partition{Source: "s"}, Reason: batch.ReasonLate, Value: []byte("x")}}})
		done <- err
	}()
	must(t, fault.Wait(within(t), 2))
	select {
	case err := <-done:
		t.Fatalf("published (%v) while no broker had it", err)
	default:
	}
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Fatal("published, though no broker had it")
		}
	case <-within(t).Done():
		t.Fatal("the end of the context does not end Publish")
	}
}
