package online_test

import (
	"strings"
	"testing"

	"highwater/batch"
	"highwater/store/online"

	"github.com/redis/go-redis/v9"
)

// A primary that fails over may have lost vectors and kept the task key. It is known by its new replication id: nothing is confirmed until a republish that began after it has ended, whoever of the task's owners looks.
func TestRedis_FailsOverBesideTheTaskKey(t *testing.T) {
	w, _ := realWorld(t)
	o := w.project()
	s := openStore(t, o)
	failOver := func() {
		t.Helper()
		client := w.client.(*redis.Client)
		for _, to := range [][2]string{{"127.0.0.1", "1"}, {"NO", "ONE"}} { // a promotion is all that can be seen of a failover
			if err := client.ReplicaOf(t.Context(), to[0], to[1]).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	expectLost := func(s *online.Store, want string) {
		t.Helper()
		if k, found, err := s.Read(t.Context()); err != nil || !found || !strings.Contains(k.Lost, want) || want == "" && k.Lost != "" {
			t.Fatalf("task key %+v, %v, %v; want it lost by %q", k, found, err, want)
		}
	}
	first := batch.Key{Planned: version(1, 1), Version: version(1, 1), Log: "log"}
	second := batch.Key{Planned: version(1, 2), Version: version(1, 2), Log: "log"}
	planned(t, s, version(1, 1), "log")
	expectLost(s, "")
	confirmed(t, s, version(0, 0), first, true)

	planned(t, s, version(1, 2), "log")
	failOver()
	confirmed(t, s, version(1, 1), second, false)
	confirmed(t, s, version(0, 0), first, false) // not even what was confirmed before
	expectLost(s, "failed over")
	expectLost(openStore(t, o), "failed over") // the owner may have been killed before it has republished

	failOver() // while it republishes
	restore(t, s, second)
	expectLost(s, "failed over")
	restore(t, s, second)
	expectLost(s, "")
	third := batch.Key{Planned: version(1, 3), Version: version(1, 3), Log: "log"}
	confirmed(t, s, version(1, 2), third, true)
	expectKey(t, s, third)
}

func restore(t *testing.T, s *online.Store, k batch.Key) {
	t.Helper()
	if err := s.Restore(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}
