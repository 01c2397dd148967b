package kafkatest_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/testutil/kafkatest"
)

// What was acknowledged is there after an orderly stop and after a kill, at the same address.
func TestBroker_KeepsItsLogOverRestarts(t *testing.T) {
	b := kafkatest.Start(t)
	if err := b.CreateTopic("events", 1, nil); err != nil {
		t.Fatal(err)
	}
	write(t, b, "one")
	addr := b.Addr()
	for name, end := range map[string]func() error{"stop": b.Stop, "kill": b.Kill} {
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := b.Start(); err != nil {
			t.Fatalf("start after %s: %v", name, err)
		}
		if b.Addr() != addr {
			t.Fatalf("after %s at %s, was at %s", name, b.Addr(), addr)
		}
		if got := first(t, b); got != "one" {
			t.Fatalf("after %s the first record is %q, want %q", name, got, "one")
		}
	}
}

func write(t *testing.T, b *kafkatest.Broker, value string) {
	t.Helper()
	client, err := b.Client(kgo.DefaultProduceTopic("events"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(context.Background(), kgo.StringRecord(value)).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func first(t *testing.T, b *kafkatest.Broker) string {
	t.Helper()
	client, err := b.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"events": {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		fetches := client.PollRecords(ctx, 1)
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			return string(r.Value)
		}
	}
}
