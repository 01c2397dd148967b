package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"highwater/features"
	"highwater/store/keys"
	"highwater/testutil/kafkatest"
	"highwater/testutil/redistest"
	"highwater/windows"
)

// Redis as it is run in earnest: behind Sentinels, in a cluster with replicas, with slots that move, with passwords and rights that change. Whatever it does while events stream in, the end is the oracle's.

// TestReal_RedisFailsOver: primaries are replaced in every way, also after they have acknowledged what their replicas never got. The worker republishes by itself, each time.
func TestReal_RedisFailsOver(t *testing.T) {
	broker := kafkatest.Start(t)
	for _, c := range []struct {
		name  string
		start func(t *testing.T) (r *redisUnderTest, env []string, faults func(*service) []redisFault)
	}{
		{"sentinels", sentinelFaults},
		{"cluster", clusterFaults},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, env, faults := c.start(t)
			s := newService(t, broker, r, adsDefinitions("failover_"+c.name), 1)
			s.env = env
			s.createTopics(nil)
			s.startServe()
			s.startWorker()
			s.runThroughRedisFaults(faults(s))
			s.checkValues()
		})
	}
}

// redisFault is one thing that goes wrong. do may call write, once, to have more events committed; it returns when the worker has noticed and mended it.
type redisFault struct {
	name string
	do   func(write func())
}

// runThroughRedisFaults loads the feed in slices, two for each fault: one streams in while it happens, the other when it asks for more.
func (s *service) runThroughRedisFaults(faults []redisFault) {
	s.t.Helper()
	slices := 2*len(faults) + 1
	upTo := func(slice int) int { return len(s.feed) * slice / slices }
	s.load(upTo(1))
	s.awaitEvents(int64(upTo(1)))
	for i, fault := range faults {
		s.load(upTo(2*i + 1)) // where the one before has not asked for more
		streamed := make(chan error, 1)
		go func() { streamed <- s.tryLoad(upTo(2*i + 2)) }()
		wait := func() {
			if streamed != nil {
				must(s.t, <-streamed)
				streamed = nil
			}
		}
		s.awaitMore(1)
		at := s.position()
		fault.do(func() {
			wait()
			s.load(upTo(2*i + 3))
			s.awaitEvents(int64(upTo(2*i + 3)))
		})
		wait()
		s.t.Logf("%s: at sequence %d, when %d events were committed", fault.name, at.Sequence, at.Counters.Events)
	}
	s.load(len(s.feed))
}

// restarted waits until a worker that was started anew has republished.
func (s *service) restarted() {
	s.t.Helper()
	s.startWorker()
	s.worker.AwaitLog(republishedLine)
}

func sentinelFaults(t *testing.T) (*redisUnderTest, []string, func(*service) []redisFault) {
	const password, sentinelPassword = "open-sesame", "open-barley"
	certificates := redistest.NewCertificates(t)
	certificates.AskClients = true
	r := redistest.StartSentinels(t, redistest.SentinelOptions{Password: password, SentinelPassword: sentinelPassword, TLS: certificates})
	under := &redisUnderTest{addrs: r.Addrs, client: r.Client(t),
		flags: []string{"--redis-sentinel-master", r.Master, "--redis-tls", "--redis-tls-ca", certificates.CA, "--redis-tls-cert", certificates.ClientCert, "--redis-tls-key", certificates.ClientKey}}
	env := []string{"HIGHWATER_REDIS_PASSWORD=" + password, "HIGHWATER_REDIS_SENTINEL_PASSWORD=" + sentinelPassword}
	killed := func() {
		r.Primary.Stop()
		r.AwaitFailOver(t, 0)
		r.ReplicaReturns(t)
	}
	return under, env, func(s *service) []redisFault {
		return []redisFault{
			{"SENTINEL FAILOVER", func(func()) { s.awaitRepublished(func() { r.FailOver(t) }) }},
			{"the primary is killed", func(func()) { s.awaitRepublished(killed) }},
			{"the primary is killed when its replica is behind", func(write func()) {
				r.Primary.HoldBack(t, r.Replica)
				write()
				s.awaitRepublished(killed)
			}},
			{"worker and primary are killed when the replica is behind", func(write func()) {
				r.Primary.HoldBack(t, r.Replica)
				write()
				s.killWorker()
				killed()
				s.restarted()
			}},
		}
	}
}

func clusterFaults(t *testing.T) (*redisUnderTest, []string, func(*service) []redisFault) {
	c := redistest.StartClusterWithReplicas(t)
	under := &redisUnderTest{addrs: c.Addrs, client: c.Client(t)}
	killed := func(i int) {
		c.Nodes[i].Stop()
		c.AwaitFailOver(t, i)
		c.Replicas[i].Restart(t)
		c.Replicas[i].AwaitInSync(t)
	}
	return under, nil, func(s *service) []redisFault {
		return []redisFault{
			{"CLUSTER FAILOVER", func(func()) { s.awaitRepublished(func() { c.FailOver(t, 0, "") }) }},
			{"a primary is killed", func(func()) { s.awaitRepublished(func() { killed(1) }) }},
			{"a primary is killed when its replica is behind", func(write func()) {
				c.Nodes[2].HoldBack(t, c.Replicas[2])
				write()
				s.awaitRepublished(func() { killed(2) })
			}},
			{"CLUSTER FAILOVER TAKEOVER when all replicas are behind, and the worker is killed", func(write func()) {
				for i := range c.Nodes {
					c.Nodes[i].HoldBack(t, c.Replicas[i])
				}
				write()
				s.killWorker()
				for i := range c.Nodes {
					c.FailOver(t, i, "TAKEOVER")
				}
				s.restarted()
			}},
		}
	}
}

// TestReal_RedisSlotsMove moves the slots that a worker writes to from node to node while it writes: its task key, its catalogue, and its vectors.
func TestReal_RedisSlotsMove(t *testing.T) {
	broker := kafkatest.Start(t)
	c := redistest.StartCluster(t)
	s := newService(t, broker, &redisUnderTest{addrs: c.Addrs, client: c.Client(t)}, adsDefinitions("slots_move"), 1)
	s.createTopics(nil)
	s.startServe()
	s.startWorker()
	s.load(500)
	s.awaitEvents(500)

	slots := s.slots(20)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var moves atomic.Int64
	moved, written := make(chan error, 1), make(chan struct{}) // written: one more slice is committed
	parted := func() error {                                   // keys of one slot on two nodes: for as long as a slice takes
		select {
		case <-written:
		case <-ctx.Done():
		}
		return nil
	}
	hasty := func() error { return nil }
	go func() {
		var err error
		for round := 0; ctx.Err() == nil && err == nil; round++ {
			between := hasty
			if round%8 == 7 {
				between = parted
			}
			err = c.MoveSlot(context.WithoutCancel(ctx), slots[round%len(slots)], between)
			moves.Add(1)
		}
		moved <- err
	}()
	for upTo := 500; upTo < len(s.feed); upTo += 500 { // so that batches are small and many
		s.load(upTo)
		s.awaitEvents(int64(upTo))
		select {
		case written <- struct{}{}:
		default:
		}
	}
	stop()
	must(t, <-moved)
	if n := moves.Load(); n < int64(len(slots)) {
		t.Fatalf("only %d moves of %d slots: the test shows nothing", n, len(slots))
	}
	t.Logf("%d moves of %d slots while %d events were written", moves.Load(), len(slots), len(s.feed)-500)
	s.load(len(s.feed))
	s.redis.client.(*redis.ClusterClient).ReloadState(t.Context())
	s.checkValues()
}

// slots returns the slots of the task key, of the catalogue, and of the first n vectors.
func (s *service) slots(n int) []int {
	s.t.Helper()
	names := []string{keys.Task(s.project.Name, 0), keys.Catalogue(s.project.Name)}
	for name := range s.vectors() {
		if len(names) < n+2 {
			names = append(names, name)
		}
	}
	var slots []int
	for _, name := range names {
		slot, err := s.redis.client.ClusterKeySlot(s.t.Context(), name).Result()
		must(s.t, err)
		slots = append(slots, int(slot))
	}
	return slots
}

// TestReal_RedisBadDays: what else Redis can do to a worker. It says what is wrong, loses nothing, and goes on by itself once the day is mended.
func TestReal_RedisBadDays(t *testing.T) {
	broker := kafkatest.Start(t)
	for _, day := range []struct {
		name string
		test func(*testing.T, *service, *redistest.Server)
	}{
		{"redis_hangs", testRedisHangs},
		{"redis_lacks_replicas", testRedisLacksReplicas},
		{"redis_restarts_from_a_snapshot", testRedisRestartsFromASnapshot},
		{"redis_begins_to_evict", testRedisBeginsToEvict},
		{"redis_password_is_rotated", testRedisPasswordIsRotated},
		{"redis_rights_are_missing", testRedisRightsAreMissing},
		{"redis_key_is_taken", testRedisKeyIsTaken},
	} {
		t.Run(day.name, func(t *testing.T) {
			server := redistest.Start(t)
			s := badDay(t, broker, &redisUnderTest{addrs: []string{server.Addr}, client: server.Client(t)})
			s.createTopics(nil)
			s.load(600)
			s.startServe()
			day.test(t, s, server)
			s.load(len(s.feed))
			s.checkValues()
		})
	}
}

// do runs a command, given as it would be typed.
func (s *service) do(command string) {
	s.t.Helper()
	var words []any
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	must(s.t, s.redis.client.Do(s.t.Context(), words...).Err())
}

const stallsLine = "does not work for now; nothing is lost"

// awaitStall waits until the worker has logged that a sink fails, for that reason.
func (s *service) awaitStall(reason string) {
	s.t.Helper()
	eventually(s.t, "the worker to say "+reason, func() error {
		for line := range strings.Lines(s.worker.Stderr()) {
			if strings.Contains(line, stallsLine) && strings.Contains(line, reason) {
				return nil
			}
		}
		return errors.New("it has not said so")
	})
}

func testRedisHangs(t *testing.T, s *service, server *redistest.Server) {
	s.startWorker()
	s.awaitEvents(600)
	server.Pause(t)
	s.load(1000)
	s.awaitStall("no answer in time")
	server.Resume(t)
}

func testRedisLacksReplicas(_ *testing.T, s *service, _ *redistest.Server) {
	s.startWorker()
	s.awaitEvents(600)
	s.do("config set min-replicas-to-write 1")
	s.load(1000)
	s.awaitStall("min-replicas-to-write is not met")
	s.do("config set min-replicas-to-write 0")
}

func testRedisRestartsFromASnapshot(t *testing.T, s *service, server *redistest.Server) {
	s.startWorker()
	s.awaitEvents(600)
	server.Snapshot(t)
	s.load(1000)
	s.awaitEvents(1000)
	s.awaitRepublished(func() {
		server.RestartFromSnapshot(t, "Loading RDB produced by", "--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
	})
}

func testRedisBeginsToEvict(_ *testing.T, s *service, _ *redistest.Server) {
	s.startWorker()
	s.awaitEvents(600)
	s.do("config set maxmemory-policy allkeys-lru")
	s.logs("Redis may evict vectors now", "level=ERROR", "allkeys-lru", s.redis.addrs[0])
	s.load(1000)
	s.awaitEvents(1000) // it does not stop
	var used int64
	info, err := s.redis.client.Info(s.t.Context(), "memory").Result()
	must(s.t, err)
	_, after, _ := strings.Cut(info, "used_memory:")
	_, err = fmt.Sscan(after, &used)
	must(s.t, err)
	s.do(fmt.Sprintf("config set maxmemory %d", used-64<<10)) // so little less that it can still write
	s.load(1100)
	s.logs("Redis evicts vectors", "level=ERROR", s.redis.addrs[0])
	s.awaitRepublished(func() {
		s.do("config set maxmemory 0")
		s.do("config set maxmemory-policy noeviction")
		s.logs("Redis does not evict any more")
	})
}

func testRedisPasswordIsRotated(t *testing.T, s *service, _ *redistest.Server) {
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte("open-sesame\n"), 0o600))
	s.do("acl setuser highwater on >open-sesame ~* +@all")
	s.redis.flags = []string{"--redis-username", "highwater", "--redis-password-file", file}
	s.startWorker()
	s.startServe()
	s.awaitEvents(600)
	s.do("acl setuser highwater resetpass >open-barley")
	s.do("client kill user highwater")
	s.load(1000)
	s.awaitStall("WRONGPASS")
	must(t, os.WriteFile(file, []byte("open-barley\n"), 0o600))
	s.awaitEvents(1000)
	for _, password := range []string{"open-sesame", "open-barley"} {
		if strings.Contains(s.worker.Stderr(), password) {
			t.Errorf("the password %s is in the log", password)
		}
	}
}

func testRedisRightsAreMissing(_ *testing.T, s *service, server *redistest.Server) {
	s.redis.flags = []string{"--redis-username", "highwater"}
	s.env = []string{"HIGHWATER_REDIS_PASSWORD=open-sesame"}
	s.do("acl setuser highwater on >open-sesame ~other:* +@all")
	s.startWorker()
	s.refused(server.Addr, "user highwater may not run", "MSET "+s.project.Name, "docs/operations/redis.md")
	s.do("acl setuser highwater ~" + s.project.Name + ":*")
	s.startWorker()
	s.startServe()
	s.awaitEvents(600)
	s.do("acl setuser highwater -mset")
	s.load(1000)
	s.awaitStall("docs/operations/redis.md has the rights")
	s.do("acl setuser highwater +mset")
}

func testRedisKeyIsTaken(t *testing.T, s *service, server *redistest.Server) {
	view := s.project.Views[0]
	var values []windows.Value
	for _, field := range view.Keys {
		values = append(values, s.feed[0].event.Fields[field])
	}
	entity, _ := features.AppendEntity(nil, values...)
	key := string(keys.AppendVector(nil, s.project.Name, view.Name, string(entity)))
	client := server.Client(t)
	must(t, client.RPush(t.Context(), key, "not ours").Err())
	s.startWorker()
	s.refused(fmt.Sprintf("key %q holds something that is no vector", key), "delete it")
	if got := client.LRange(t.Context(), key, 0, -1).Val(); len(got) != 1 || got[0] != "not ours" {
		t.Errorf("the list is now %q", got)
	}
	must(t, client.Del(t.Context(), key).Err())
	s.startWorker()
}
