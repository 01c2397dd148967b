package online_test

import (
	"errors"
	"fmt"
	"testing"

	"highwater/batch"
	"highwater/features"
	"highwater/store/online"
	"highwater/testutil/redistest"

	"github.com/redis/go-redis/v9"
)

// failovers are ways in which a primary is replaced, some of them losing what it has acknowledged. do returns when the new one is there.
type failover struct {
	name  string
	do    func(lose func())
	loses bool // lose was called when the replica had been cut off
}

// testFailovers publishes, fails over, and goes on as the driver does: a confirmation is not held, the task key says why, and a republish brings back what was lost.
func testFailovers(t *testing.T, w *world, failovers []failover) {
	o := w.project()
	s := openStore(t, o)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	const entities = 600
	sequence := uint64(0)
	key := func() batch.Key {
		return batch.Key{Planned: version(1, sequence), Version: version(1, sequence), Frontier: int64(sequence), Watermark: 2, Log: "log"}
	}
	batchOf := func() (vectors []features.Vector) {
		for i := range entities {
			vectors = append(vectors, live(clicks(), fmt.Sprint("u", i), version(1, sequence), 0))
		}
		return vectors
	}
	next := func() []features.Vector {
		sequence++
		patiently(t, func() error { return s.Planned(t.Context(), version(1, sequence), "log") })
		return batchOf()
	}
	publish(t, s, batch.Outcome{Written: entities}, next()...)
	confirmed(t, s, version(0, 0), key(), true)

	for _, f := range failovers {
		lost := 0
		f.do(func() {
			publish(t, s, batch.Outcome{Written: entities}, next()...)
			confirmed(t, s, version(1, sequence-1), key(), true)
		})
		var read batch.Key
		var found bool
		patiently(t, func() (err error) {
			read, found, err = s.Read(t.Context())
			return err
		})
		if found && read.Lost == "" {
			t.Fatalf("%s: the task key %+v says nothing", f.name, read)
		}
		reached := sequence
		vectors := next()
		var held bool
		patiently(t, func() (err error) {
			held, err = s.Confirmed(t.Context(), version(1, reached), key())
			return err
		})
		if held {
			t.Fatalf("%s: what was published before it was confirmed after it", f.name)
		}
		sequence-- // the republish, under its mark: what was published last, at the version that it had
		patiently(t, func() error { return s.Restoring(t.Context(), key()) })
		var outcome batch.Outcome
		patiently(t, func() (err error) {
			outcome, err = s.Publish(t.Context(), output(batchOf()...))
			return err
		})
		lost = outcome.Written
		if f.loses != (lost > 0) {
			t.Errorf("%s: %d vectors were lost", f.name, lost)
		}
		w.expectStored(t, o, batchOf()...)
		patiently(t, func() error {
			held, err := s.Restore(t.Context(), key())
			if err == nil && !held {
				err = errors.New("the mark of the republish is gone")
			}
			return err
		})
		sequence++
		publish(t, s, batch.Outcome{Written: entities}, vectors...)
		confirmed(t, s, version(1, sequence-1), key(), true)
	}
}

// patiently tries as the driver does what a failover may spoil.
func patiently(t *testing.T, act func() error) {
	t.Helper()
	redistest.Eventually(t, "the store to go on", func() error {
		err := act()
		if batch.IsPermanent(err) {
			t.Fatalf("the task would stop: %v", err)
		}
		return err
	})
}

func TestSentinel_FailsOver(t *testing.T) {
	w, s := sentinelWorld(t)
	testFailovers(t, w, []failover{
		{"SENTINEL FAILOVER", func(func()) { s.Primary.AwaitReplicated(t, 1); s.FailOver(t) }, false},
		{"kill -9", func(func()) {
			s.Replica.AwaitInSync(t)
			s.Primary.AwaitReplicated(t, 1)
			s.Primary.Stop()
			s.AwaitFailOver(t, 0)
			s.ReplicaReturns(t)
		}, false},
		{"kill -9 when the replica is behind", func(lose func()) {
			s.Replica.AwaitInSync(t)
			s.Primary.HoldBack(t, s.Replica)
			lose()
			s.Primary.Stop()
			s.AwaitFailOver(t, 0)
		}, true},
	})
}

func TestCluster_FailsOver(t *testing.T) {
	c := redistest.StartClusterWithReplicas(t)
	w := &world{addrs: c.Addrs, client: c.Client(t)}
	inSync := func(i int) {
		c.Replicas[i].AwaitInSync(t)
		c.Nodes[i].AwaitReplicated(t, 1)
	}
	again := func() { w.client.(*redis.ClusterClient).ReloadState(t.Context()) }
	testFailovers(t, w, []failover{
		{"CLUSTER FAILOVER", func(func()) { inSync(0); c.FailOver(t, 0, ""); again() }, false},
		{"kill -9", func(func()) { inSync(1); c.Nodes[1].Stop(); c.AwaitFailOver(t, 1); again() }, false},
	})
}

// What Sentinels may answer that is no outage.
func TestSentinel_Refusals(t *testing.T) {
	w, s := sentinelWorld(t)
	for _, c := range []struct {
		name  string
		spoil func(*online.Options)
		words []string
		kind  string
	}{
		{"a wrong name", func(o *online.Options) { o.SentinelMaster = "nobody" }, []string{"no primary by the name of nobody", "--redis-sentinel-master"}, batch.KindOther},
		{"a wrong Sentinel password", func(o *online.Options) { o.SentinelPassword = password("barley") }, []string{"the Sentinels that refuse", "HIGHWATER_REDIS_SENTINEL_PASSWORD"}, batch.KindAuth},
		{"no Sentinel password", func(o *online.Options) { o.SentinelPassword = nil }, []string{"NOAUTH", "the Sentinels that refuse"}, batch.KindAuth},
		{"a wrong password", func(o *online.Options) { o.Password = password("barley") }, []string{"WRONGPASS", "user or password are wrong"}, batch.KindAuth},
		{"a wrong CA", func(o *online.Options) { o.TLS.CAFile = redistest.NewCertificates(t).CA }, []string{"agree on TLS", "--redis-tls-ca"}, batch.KindAuth},
	} {
		o := w.project()
		c.spoil(&o)
		err := openStore(t, o).Check(t.Context())
		expectPermanent(t, err, append(c.words, s.Addrs[0])...)
		if kind := batch.KindOf(err); kind != c.kind {
			t.Errorf("%s: %v is of the kind %s, want %s", c.name, err, kind, c.kind)
		}
		r := openReader(t, o)
		if _, found, err := r.Catalogue(t.Context()); err == nil {
			t.Errorf("%s: the catalogue was read, found %v", c.name, found)
		}
	}
	plain := w.project()
	plain.SentinelMaster, plain.SentinelPassword, plain.Password = "", nil, password("of-the-sentinels")
	plain.Addrs = plain.Addrs[:1]
	expectPermanent(t, openStore(t, plain).Check(t.Context()), "is a Sentinel", "--redis-sentinel-master")

	for _, sentinel := range s.Watch {
		sentinel.Stop()
	}
	expectOutage(t, openStore(t, w.project()).Check(t.Context()), s.Addrs[0], "nothing answers there")
}
