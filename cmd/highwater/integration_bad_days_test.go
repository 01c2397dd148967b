package main

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"highwater/testutil/kafkatest"
	"highwater/testutil/redistest"
)

// On a bad day a worker says what is wrong and what to do, loses nothing, and goes on by itself where time can mend it.
func TestReal_BadDays(t *testing.T) {
	broker := kafkatest.Start(t)
	for _, day := range []struct {
		name string
		test func(*testing.T, *kafkatest.Broker)
	}{
		{"nothing_is_up_yet", testNothingIsUpYet},
		{"a_topic_is_missing", testTopicIsMissing},
		{"a_topic_is_compacted", testTopicIsCompacted},
		{"retention_was_faster", testRetentionWasFaster},
		{"redis_evicts", testRedisEvicts},
		{"redis_is_a_replica", testRedisIsAReplica},
		{"redis_wants_a_password", testRedisWantsAPassword},
		{"redis_is_full", testRedisIsFull},
		{"two_owners", testTwoOwners},
	} {
		t.Run(day.name, func(t *testing.T) { day.test(t, broker) })
	}
}

// badDay returns a service of a part of the ads example's events, under the test's name.
func badDay(t *testing.T, broker *kafkatest.Broker, r *redisUnderTest) *service {
	t.Helper()
	_, name, _ := strings.Cut(t.Name(), "/")
	s := newService(t, broker, r, adsDefinitions(name), 1)
	s.feed = s.feed[:1500]
	return s
}

func (s *service) topic() string { return s.project.Sources[0].Topic }

// awaitEvents waits until so many events are committed.
func (s *service) awaitEvents(n int64) {
	s.t.Helper()
	s.await("events to be committed", func(p inspectedPosition) bool { return p.Counters.Events >= n })
}

func testNothingIsUpYet(t *testing.T, broker *kafkatest.Broker) {
	server := redistest.Start(t)
	s := badDay(t, broker, &redisUnderTest{addrs: []string{server.Addr}, client: server.Client(t)})
	s.createTopics(nil)
	s.load(len(s.feed))
	server.Stop()
	must(t, broker.Stop())

	s.startWorker()
	s.logs("waiting for redis", s.redis.addrs[0], "connection refused")
	s.stopWorker() // a worker that waits can be stopped
	s.startWorker()
	s.logs("waiting for redis")
	server.Restart(t)
	s.logs("kafka does not answer as it should: trying on", broker.Addr(), "connection refused")
	must(t, broker.Start())
	s.startServe()
	s.checkValues()
}

// logs waits until the worker has logged a line with that message, which must hold all of these.
func (s *service) logs(message string, words ...string) {
	s.t.Helper()
	for line := range strings.Lines(s.worker.AwaitLog(message)) {
		if !strings.Contains(line, message) {
			continue
		}
		for _, word := range words {
			if !strings.Contains(line, word) {
				s.t.Errorf("the worker does not say %q, but: %s", word, line)
			}
		}
		return
	}
}

func testTopicIsMissing(t *testing.T, broker *kafkatest.Broker) {
	s := badDay(t, broker, oneRedis(t))
	s.startWorker()
	s.refused("source ad_events", `topic "`+s.topic()+`" does not exist on `+broker.Addr(), "create it", "--create --topic "+s.topic(), "kafka.topic in the definitions")

	s.createTopics(nil) // as it was told
	s.load(len(s.feed))
	s.startWorker()
	s.startServe()
	s.checkValues()
}

func testTopicIsCompacted(t *testing.T, broker *kafkatest.Broker) {
	s := badDay(t, broker, oneRedis(t))
	s.createTopics(map[string]string{"cleanup.policy": "compact"})
	s.startWorker()
	s.refused(`topic "`+s.topic()+`" is compacted`, "cleanup.policy=delete")
}

func testRetentionWasFaster(t *testing.T, broker *kafkatest.Broker) {
	s := badDay(t, broker, oneRedis(t))
	s.createTopics(nil)
	s.load(600)
	s.startWorker()
	const marker = 1 // each load is one transaction, whose marker has an offset too
	s.await("the first load to be read", func(p inspectedPosition) bool {
		return len(p.Partitions) == 1 && p.Partitions[0].Next == 600+marker
	})
	s.stopWorker()
	s.load(1000)
	must(t, broker.DeleteRecords(s.topic(), 0, 800+marker))
	for range 2 { // being told twice changes nothing
		s.startWorker()
		s.refused("topic "+s.topic()+", partition 0", "offsets 601 to 800 are gone", "nothing was skipped", "200 offsets", "--accept-loss")
	}
	s.startWorker("--accept-loss")
	s.logs("records were lost before they were read", "partition=0", "from=601", "to=801", "offsets=200")
	s.load(len(s.feed))
	s.startServe()
	s.checkValuesOf(append(s.feed[:600:600], s.feed[800:]...))
	s.stopWorker()
	s.startWorker() // what was accepted once is over
	s.checkValuesOf(append(s.feed[:600:600], s.feed[800:]...))
}

func testRedisEvicts(t *testing.T, broker *kafkatest.Broker) {
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	s := badDay(t, broker, &redisUnderTest{addrs: []string{server.Addr}, client: server.Client(t)})
	s.createTopics(nil)
	s.load(len(s.feed))
	s.startWorker()
	s.refused(server.Addr, "may evict keys", "maxmemory-policy allkeys-lru", "noeviction", "--allow-eviction")
	if n := len(s.vectors()); n != 0 {
		t.Errorf("a worker that refused to start has written %d vectors", n)
	}
	s.startWorker("--allow-eviction")
	s.logs("Redis may evict vectors", "allkeys-lru")
	s.startServe()
	s.checkValues()
}

func testRedisIsAReplica(t *testing.T, broker *kafkatest.Broker) {
	server := redistest.Start(t)
	client := server.Client(t)
	s := badDay(t, broker, &redisUnderTest{addrs: []string{server.Addr}, client: client})
	s.createTopics(nil)
	s.load(600)
	s.startWorker()
	s.awaitEvents(600)
	must(t, client.ReplicaOf(t.Context(), "127.0.0.1", "1").Err()) // of a primary that is not there
	s.load(1000)
	s.logs("does not work for now; nothing is lost", "READONLY", "this is a replica")
	if at := s.position(); at.Counters.Events > 600 {
		t.Errorf("%d events are committed, and Redis has taken only 600", at.Counters.Events)
	}
	must(t, client.ReplicaOf(t.Context(), "NO", "ONE").Err()) // promoted: to the worker a failover, which may have lost something
	s.worker.AwaitLog(republishedLine)
	s.load(len(s.feed))
	s.startServe()
	s.checkValues()
}

func testRedisWantsAPassword(t *testing.T, broker *kafkatest.Broker) {
	const right, wrong = "open-sesame", "open-barley"
	server := redistest.Start(t, "--requirepass", right)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Password: right, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	s := badDay(t, broker, &redisUnderTest{addrs: []string{server.Addr}, client: client})
	s.createTopics(nil)
	s.load(len(s.feed))
	s.startWorker()
	s.refused(server.Addr, "NOAUTH", "a password is asked for and none was given")
	s.env = []string{"HIGHWATER_REDIS_PASSWORD=" + wrong}
	s.startWorker()
	s.refused(server.Addr, "WRONGPASS", "user or password are wrong")
	if strings.Contains(s.worker.Stderr(), wrong) {
		t.Error("the password is in the log")
	}
	s.env = []string{"HIGHWATER_REDIS_PASSWORD=" + right}
	s.startWorker()
	s.startServe()
	s.checkValues()
}

func testRedisIsFull(t *testing.T, broker *kafkatest.Broker) {
	server := redistest.Start(t)
	client := server.Client(t)
	s := badDay(t, broker, &redisUnderTest{addrs: []string{server.Addr}, client: client})
	s.createTopics(nil)
	s.load(600)
	s.startWorker()
	s.awaitEvents(600)
	must(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	s.load(len(s.feed))
	s.logs("does not work for now; nothing is lost", "OOM", "Redis has reached maxmemory; give it more")
	must(t, client.ConfigSet(t.Context(), "maxmemory", "0").Err())
	s.startServe()
	s.checkValues()
}

func testTwoOwners(t *testing.T, broker *kafkatest.Broker) {
	s := badDay(t, broker, oneRedis(t))
	s.createTopics(nil)
	s.load(600)
	s.startWorker()
	s.awaitEvents(600)
	owner := s.worker
	s.startWorker() // on the same directory
	s.refused("is in use by", "a directory has one owner at a time")
	own := s.dataDir
	s.dataDir = t.TempDir()
	s.startWorker() // on another one
	s.refused("superseded: ", s.dataDir, "an empty data directory", own, "which was alive", "--take-over")

	s.dataDir, s.worker = own, owner
	s.load(len(s.feed))
	s.startServe()
	s.checkValues()
}
