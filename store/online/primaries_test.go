package online_test

import (
	"strings"
	"testing"

	"highwater/batch"
	"highwater/store/online"

	"github.com/redis/go-redis/v9"
)

// The same, as far as a Redis inside the process can show it.
func TestEmbedded_FailsOverWhileItRepublishes(t *testing.T) {
	w, m := miniWorld(t)
	s := openStore(t, w.project())
	k := batch.Key{Planned: version(1, 1), Version: version(1, 1), Log: "log"}
	planned(t, s, version(1, 1), "log")
	m.Promote()
	confirmed(t, s, version(0, 0), k, false)
	m.Promote()
	if held, err := restored(t.Context(), s, k); held || err != nil {
		t.Fatalf("a republish ended over a primary that failed over meanwhile: held %v, %v", held, err)
	}
	if read, _, err := s.Read(t.Context()); err != nil || read.Version != version(0, 0) || read.Lost == "" {
		t.Fatalf("the task key %+v, %v; want it where it was, and lost", read, err)
	}
	restore(t, s, k)
	confirmed(t, s, version(1, 1), k, true)
}

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
	if held, err := restored(t.Context(), s, second); held || err != nil {
		t.Fatalf("a republish ended over a primary that failed over meanwhile: held %v, %v", held, err)
	}
	expectLost(s, "failed over")
	restore(t, s, second)
	expectLost(s, "")
	third := batch.Key{Planned: version(1, 3), Version: version(1, 3), Log: "log"}
	confirmed(t, s, version(1, 2), third, true)
	expectKey(t, s, third)
}
