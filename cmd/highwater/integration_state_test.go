package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/features"
	"highwater/testutil/e2e"
	"highwater/testutil/kafkatest"
	"highwater/testutil/redistest"
)

// What happens to a directory, to a topic as a whole, or to the definitions, a worker notices by itself: it says what that means, goes on where it can, and ends with the oracle's values.
func TestReal_OtherCuts(t *testing.T) {
	broker := kafkatest.Start(t)
	for _, day := range []struct {
		name string
		test func(*testing.T, *kafkatest.Broker)
	}{
		{"topic_is_made_again", testTopicIsMadeAgain},
		{"topic_grows", testTopicGrows},
		{"poison_at_the_head", testPoisonAtTheHead},
		{"directory_is_restored", testDirectoryIsRestored},
		{"directory_is_copied", testDirectoryIsCopied},
		{"directory_is_deleted", testDirectoryIsDeleted},
		{"definitions_change_and_go_back", testDefinitionsChangeAndGoBack},
		{"away_for_longer_than_tombstones_live", testAwayForLongerThanTombstonesLive},
	} {
		t.Run(day.name, func(t *testing.T) { day.test(t, broker) })
	}
}

const newGeneration = "a new generation begins"

// begun returns a service whose worker has committed the first 600 of its events.
func begun(t *testing.T, broker *kafkatest.Broker) *service {
	t.Helper()
	s := badDay(t, broker, oneRedis(t))
	s.createTopics(nil)
	s.load(600)
	s.startWorker()
	s.awaitEvents(600)
	return s
}

// ends loads the rest of the feed, and holds all against the oracle.
func (s *service) ends() {
	s.t.Helper()
	s.load(len(s.feed))
	s.startServe()
	s.checkValues()
}

// setAside returns a copy of the data directory, which nobody has open.
func (s *service) setAside() string {
	s.t.Helper()
	aside := filepath.Join(s.t.TempDir(), "data")
	must(s.t, os.CopyFS(aside, os.DirFS(s.dataDir)))
	return aside
}

// produce writes events into the source's topic as any producer would.
func (s *service) produce(records ...*kgo.Record) {
	s.t.Helper()
	client, err := s.broker.Client(kgo.DefaultProduceTopic(s.topic()))
	must(s.t, err)
	defer client.Close()
	must(s.t, client.ProduceSync(s.t.Context(), records...).FirstErr())
}

func recordsOf(events []fed) []*kgo.Record {
	var records []*kgo.Record
	for _, e := range events {
		records = append(records, &kgo.Record{Key: e.row.Key, Value: e.row.Value})
	}
	return records
}

func testTopicIsMadeAgain(t *testing.T, broker *kafkatest.Broker) {
	s := begun(t, broker)
	must(t, broker.DeleteTopic(s.topic()))
	s.logs("a topic was deleted while it was read: waiting until it is there again", "topic="+s.topic())
	eventually(t, "the topic to be made again", func() error { return broker.CreateTopic(s.topic(), 1, map[string]string{"retention.ms": "-1"}) })
	s.produce(recordsOf(s.feed[600:])...)
	s.logs(newGeneration, "topics were deleted and made again", s.topic(), "generation=2", "state_emptied=false")
	s.startServe()
	w := e2e.NewWorld(s.project, 1)
	tell(w, s.feed[:600])
	w.MakeAgain(0)
	tell(w, s.feed[600:])
	s.checkWorld(w, 0)
}

func testTopicGrows(t *testing.T, broker *kafkatest.Broker) {
	s := begun(t, broker)
	must(t, broker.AddPartitions(s.topic(), 2))
	s.logs("topic " + s.topic() + " has 3 partitions now, it had 1")
	s.produce(recordsOf(s.feed[600:])...)
	s.startServe()
	w := e2e.NewWorld(s.project, 1)
	tell(w, s.feed[:600])
	w.Grow(0, 2)
	tell(w, s.feed[600:])
	s.checkWorld(w, 0)
}

func testPoisonAtTheHead(t *testing.T, broker *kafkatest.Broker) {
	s := badDay(t, broker, oneRedis(t))
	s.createTopics(nil)
	key := []byte("poison")
	s.produce(&kgo.Record{Key: key, Value: []byte("{\"ts_ms\": ")}, &kgo.Record{Key: key}, &kgo.Record{Key: key, Value: []byte("[]")}, &kgo.Record{Key: key, Value: []byte(`{"ts_ms": 9e99}`)})
	s.produce(recordsOf(s.feed)...)
	s.startWorker()
	s.startServe()
	w := e2e.NewWorld(s.project, 1)
	tell(w, s.feed)
	s.checkWorld(w, 4)
}

func testDirectoryIsRestored(t *testing.T, broker *kafkatest.Broker) {
	s := begun(t, broker)
	s.stopWorker()
	yesterday := s.setAside()
	s.startWorker()
	s.load(1000)
	s.awaitEvents(1000)
	s.killWorker()

	must(t, os.RemoveAll(s.dataDir))
	must(t, os.Rename(yesterday, s.dataDir))
	s.startWorker()
	s.logs(newGeneration, "the data directory was restored from an older copy", "generation=2")
	s.ends()
}

func testDirectoryIsCopied(t *testing.T, broker *kafkatest.Broker) {
	s := begun(t, broker)
	s.stopWorker()
	own, copied := s.dataDir, s.setAside()
	s.startWorker()
	s.load(1000)
	s.awaitEvents(1000)
	first := s.worker

	s.dataDir = copied
	s.startWorker()
	second := s.worker
	s.logs(newGeneration, "the data directory was restored from an older copy", "generation=2")
	s.worker = first
	s.refused("superseded", own, copied)
	s.dataDir = own
	s.startWorker()
	s.refused("superseded", own, copied, "--take-over")

	s.dataDir, s.worker = copied, second
	s.ends()
}

func testDirectoryIsDeleted(t *testing.T, broker *kafkatest.Broker) {
	s := begun(t, broker)
	s.killWorker()
	must(t, os.RemoveAll(s.dataDir))
	s.startWorker()
	s.refused("superseded", "an empty data directory", "which was alive", "--take-over")
	s.startWorker("--take-over")
	s.logs(newGeneration, "taken over from", "generation=2")
	s.ends()
}

// What a batch was to bury is made anew under a new generation where its tombstones came too late.
func testAwayForLongerThanTombstonesLive(t *testing.T, broker *kafkatest.Broker) {
	server := redistest.Start(t)
	s := badDay(t, broker, &redisUnderTest{addrs: []string{server.Addr}, client: server.Client(t), parts: 1})
	text, err := os.ReadFile(s.definitions)
	must(t, err)
	// No segment has expired in the first 600 events, and some have in the next 400, which are one batch.
	must(t, os.WriteFile(s.definitions, []byte(strings.NewReplacer("ttl: 24h", "ttl: 270m", "max_records: 40", "max_records: 1000").Replace(string(text))), 0o600))
	s.project, err = features.Load(s.definitions)
	must(t, err)
	s.createTopics(nil)
	s.load(600)
	const ttl = time.Minute
	s.startWorker("--tombstone-ttl", ttl.String())
	s.awaitEvents(600)
	server.Stop()
	s.load(1000)
	s.logs("does not work for now", "kind=unreachable")
	away := time.NewTimer(ttl + 2*time.Second)
	defer away.Stop()
	select {
	case <-away.C:
	case <-s.worker.Ended():
		t.Fatal("the worker has ended while Redis was away")
	}
	server.Restart(t)
	s.logs("starting the task again", "away for longer than tombstones live")
	s.logs(newGeneration, "reset from here", "generation=2")
	s.ends()
}

// A plan that was made under the definitions before these is executed under those; a feature that is computed of others is there from then on, and is gone again when the definitions go back.
func testDefinitionsChangeAndGoBack(t *testing.T, broker *kafkatest.Broker) {
	server := redistest.Start(t)
	s := badDay(t, broker, &redisUnderTest{addrs: []string{server.Addr}, client: server.Client(t), parts: 1})
	s.createTopics(nil)
	s.load(600)
	s.startWorker()
	s.awaitEvents(600)
	server.Stop()
	s.load(700)
	s.logs("does not work for now", "kind=unreachable")
	s.killWorker()

	before, err := os.ReadFile(s.definitions)
	must(t, err)
	define := func(text string) {
		must(t, os.WriteFile(s.definitions, []byte(text), 0o600))
		s.project, err = features.Load(s.definitions)
		must(t, err)
	}
	const ctr = "ctr_24h: "
	define(strings.Replace(string(before), ctr, "shown_twice: {expression: impressions_24h * 2}\n      "+ctr, 1))
	server.Restart(t)
	s.startWorker()
	s.logs("running a plan that was found without its commit")
	s.load(1000)
	s.startServe()
	s.checkValuesOf(s.feed[:1000])
	if n := len(s.project.View("item_ctr").Features); n != 7 {
		t.Fatalf("%d features of an item were compared, want the new one among 7", n)
	}
	s.stopWorker()

	define(string(before))
	s.startWorker()
	s.ends()
	if p := s.position(); p.Generation != 1 {
		t.Errorf("the generation is %d: what was published kept its meaning all the while", p.Generation)
	}
}
