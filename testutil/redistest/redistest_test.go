package redistest_test

import (
	"maps"
	"testing"
	"time"

	"highwater/store/keys"
	"highwater/testutil/redistest"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func client(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestVectors_FindsAProjectsVectorsAlone(t *testing.T) {
	c := client(t, miniredis.RunT(t).Addr())
	want := map[string]string{}
	for _, entity := range []string{"a", "b\x00\xff", "heartbeats"} {
		key := string(keys.AppendVector(nil, "ads", "clicks", entity))
		want[key] = "value of " + entity
		c.Set(t.Context(), key, want[key], 0)
		c.Set(t.Context(), string(keys.AppendVector(nil, "ads2", "clicks", entity)), "another project's", 0)
	}
	c.HSet(t.Context(), keys.Task("ads", 0), "log", "x")
	c.Set(t.Context(), keys.Heartbeat("ads", 22), "{}", 0)
	c.HSet(t.Context(), keys.Catalogue("ads"), "catalogue", "{}")
	if got := redistest.Vectors(t.Context(), c, "ads"); !maps.Equal(got, want) {
		t.Errorf("vectors %q, want %q", got, want)
	}
}

func TestServer_RestartsEmpty(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client(t)
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	fresh := s.Client(t)
	if n, err := fresh.DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys after a restart, %v", n, err)
	}
}

func TestServer_RestartsFromASnapshot(t *testing.T) {
	s := redistest.Start(t)
	set(t, s.Client(t), "k", "kept")
	s.Snapshot(t)
	set(t, s.Client(t), "k", "lost")
	s.RestartFromSnapshot(t, "")
	if got := s.Client(t).Get(t.Context(), "k").Val(); got != "kept" {
		t.Errorf("after the restart there is %q", got)
	}
	s.Restart(t)
	if n := s.Client(t).DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys after a restart without it", n)
	}
}

func TestServer_Hangs(t *testing.T) {
	s := redistest.Start(t)
	c := redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true, MaxRetries: -1, ReadTimeout: 200 * time.Millisecond})
	defer c.Close()
	set(t, c, "k", "v")
	s.Pause(t)
	if err := c.Get(t.Context(), "k").Err(); err == nil {
		t.Error("a server that hangs has answered")
	}
	s.Resume(t)
	if got := s.Client(t).Get(t.Context(), "k").Val(); got != "v" {
		t.Errorf("after it there is %q", got)
	}
}

// Each way of failing over ends with the replica as the primary; what was acknowledged while the replica was held back is lost.
func TestSentinels_FailOver(t *testing.T) {
	s := redistest.StartSentinels(t, redistest.SentinelOptions{Password: "pw", SentinelPassword: "other", TLS: redistest.NewCertificates(t)})
	set(t, s.Client(t), "k", "1")
	s.FailOver(t)
	set(t, s.Client(t), "k", "2")
	s.Replica.AwaitInSync(t)
	s.Primary.AwaitReplicated(t, 1)
	s.Primary.HoldBack(t, s.Replica)
	set(t, s.Client(t), "k", "lost")
	s.Primary.Stop()
	s.AwaitFailOver(t, 0)
	if got := s.Client(t).Get(t.Context(), "k").Val(); got != "2" {
		t.Errorf("after the failover there is %q, want what the replica had", got)
	}
	s.ReplicaReturns(t)
}

func TestCluster_FailsOver(t *testing.T) {
	c := redistest.StartClusterWithReplicas(t)
	const key = "{a}k"
	slot := c.Client(t).ClusterKeySlot(t.Context(), key).Val()
	i := int(slot) * 3 / 16384
	set(t, c.Client(t), key, "1")
	c.Nodes[i].AwaitReplicated(t, 1)
	c.FailOver(t, i, "")
	set(t, c.Client(t), key, "2")
	c.Replicas[i].AwaitInSync(t)
	c.Nodes[i].AwaitReplicated(t, 1)
	c.Nodes[i].HoldBack(t, c.Replicas[i])
	set(t, c.Client(t), key, "lost")
	c.Nodes[i].Stop()
	c.AwaitFailOver(t, i)
	if got := c.Client(t).Get(t.Context(), key).Val(); got != "2" {
		t.Errorf("after the failover there is %q, want what the replica had", got)
	}
}

func set(t *testing.T, c redis.UniversalClient, key, value string) {
	t.Helper()
	if err := c.Set(t.Context(), key, value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}
