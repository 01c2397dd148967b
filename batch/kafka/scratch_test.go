package kafka_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch/kafka"
	"highwater/batch/kafka/embedded"
)

// Scratch topics are made and deleted again; where one is there already, none is touched.
func TestScratch_TouchesNothingOfOthers(t *testing.T) {
	b, err := embedded.Start(embedded.Options{Topics: map[string]int{"clicks": 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	topics := func() string {
		client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...)) // one that has asked before answers from memory
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		all, err := kadm.NewClient(client).ListTopics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, topic := range all.Sorted() {
			text = append(text, topic.Topic+strings.Repeat("|", len(topic.Partitions)))
		}
		return strings.Join(text, " ")
	}
	_, err = kafka.CreateScratch(t.Context(), kafka.ScratchOptions{Brokers: b.Addrs(), Topics: map[string]int{"a": 1, "clicks": 2}})
	if err == nil || !strings.Contains(err.Error(), "topic clicks is there already, and is not touched") || topics() != "clicks|" {
		t.Errorf("a topic was there: %v; then there are %s", err, topics())
	}
	s, err := kafka.CreateScratch(t.Context(), kafka.ScratchOptions{Brokers: b.Addrs(), Topics: map[string]int{"clicks.drill": 3, "clicks.drill.dead-letter": 1}})
	if err != nil || topics() != "clicks| clicks.drill||| clicks.drill.dead-letter|" {
		t.Fatalf("%v; there are %s", err, topics())
	}
	if err := s.Delete(t.Context()); err != nil || topics() != "clicks|" {
		t.Errorf("%v; there are %s", err, topics())
	}
}
