package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"highwater/testutil/kafkatest"
)

// A replay beside a worker that is at it, has been killed, and whose Redis has lost and got back what it had: every vector is as the plans make it. What is then taken out of Redis behind the worker's back is found and brought back to the
// byte, and neither the worker, the consumer group nor the task key take notice of any of it.
func TestReal_ReplayBesideALiveWorker(t *testing.T) {
	broker := kafkatest.Start(t)
	for _, c := range []struct {
		name        string
		redis       func(*testing.T) *redisUnderTest
		definitions func(name string) string
		partitions  int
	}{
		{"redis", oneRedis, adsDefinitions, 1},
		{"cluster, two sources of three partitions", redisCluster, twoSources, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := "replay_" + strings.NewReplacer(",", "", " ", "_").Replace(c.name)
			s := newService(t, broker, c.redis(t), c.definitions(name), c.partitions)
			s.createTopics(nil)
			s.startServe()
			s.startWorker()
			s.load(len(s.feed) / 4)
			s.awaitMore(3)
			s.killWorker()
			copied := filepath.Join(t.TempDir(), "copy")
			must(t, os.CopyFS(filepath.Join(copied, "state"), os.DirFS(filepath.Join(s.dataDir, "state"))))
			s.startWorker()
			slice := make(chan error, 1)
			go func() { slice <- s.tryLoad(len(s.feed) / 2) }()
			s.awaitMore(2)
			during := s.replay() // while batches are published
			if during.code != exitDone || during.total.Missing+during.total.Divergent != 0 || during.total.Equal+during.total.Stale == 0 {
				t.Errorf("beside a worker at work: code %d, %+v, found %v\n%s", during.code, during.total, during.found, during.log)
			}
			must(t, <-slice)
			s.awaitMore(1)
			s.awaitRepublished(s.redis.lose)
			s.checkValuesOf(s.feed[:len(s.feed)/2])
			s.checkGroup()

			at, group, key, want := s.position(), s.groupOffsets(), s.taskKey(), s.vectors()
			all := s.replay()
			all.wantClean(t, int(at.Sequence))
			if all.total.Equal != int64(len(want)) {
				t.Errorf("%d vectors are equal, and Redis holds %d", all.total.Equal, len(want))
			}
			if part := s.replay("--state", copied); part.code != exitDone || part.plans >= all.plans || part.plans == 0 || part.total.Missing+part.total.Divergent != 0 {
				t.Errorf("from the copy of a worker that was killed: code %d, %d plans of %d: %+v\n%s", part.code, part.plans, all.plans, part.total, part.log)
			}

			names := slices.Sorted(maps.Keys(want))[:25]
			for _, name := range names {
				must(t, s.redis.client.Del(t.Context(), name).Err())
			}
			if dry := s.replay(); dry.code != exitFailed || dry.total.Missing < 25 || dry.total.Divergent != 0 {
				t.Errorf("after a loss: code %d, %+v\n%s", dry.code, dry.total, dry.log)
			}
			if wrote := s.replay("--write"); wrote.code != exitDone || wrote.total.Written < 25 || wrote.total.Missing != wrote.total.Written {
				t.Errorf("with --write: code %d, %+v\n%s", wrote.code, wrote.total, wrote.log)
			}
			if got := s.vectors(); !maps.Equal(got, want) {
				t.Errorf("after --write: %s", firstDifference(got, want))
			}
			if now := s.taskKey(); !maps.Equal(now, key) {
				t.Errorf("the task key was %v and is %v", key, now)
			}
			if now := s.groupOffsets(); !maps.Equal(now, group) {
				t.Errorf("the group's offsets were %v and are %v", group, now)
			}
			if now := s.position(); now.Sequence != at.Sequence {
				t.Errorf("the worker went from %d to %d", at.Sequence, now.Sequence)
			}
			s.load(len(s.feed)) // it goes on as if nothing had been
			s.checkValues()
			s.checkGroup() // at the logs' ends: no plan follows by itself
			plans := int(s.position().Sequence)
			s.replay().wantClean(t, plans)
			s.stopWorker()
			s.replay().wantClean(t, plans)
		})
	}
}

// replay runs the command against the service.
func (s *service) replay(args ...string) replayed {
	s.t.Helper()
	return runReplay(s.t, append([]string{"--data-dir", s.dataDir, "--kafka", s.broker.Addr(), "--redis", strings.Join(s.redis.addrs, ",")}, args...)...)
}

func (s *service) taskKey() map[string]string {
	s.t.Helper()
	key, err := s.redis.client.HGetAll(s.t.Context(), s.project.Name+":{task:0}").Result()
	must(s.t, err)
	if len(key) == 0 {
		s.t.Fatal("there is no task key")
	}
	return key
}

// groupOffsets returns what the worker's consumer group has committed, by partition.
func (s *service) groupOffsets() map[string]int64 {
	s.t.Helper()
	client, err := s.broker.Client()
	must(s.t, err)
	defer client.Close()
	fetched, err := kadm.NewClient(client).FetchOffsets(s.t.Context(), "highwater-"+s.project.Name)
	must(s.t, err)
	offsets := map[string]int64{}
	fetched.Each(func(o kadm.OffsetResponse) { offsets[fmt.Sprintf("%s/%d", o.Topic, o.Partition)] = o.At })
	return offsets
}
