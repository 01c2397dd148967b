package online_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"highwater/batch"
	"highwater/features"
	"highwater/testutil/redistest"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
)

// A batch is published and confirmed between a reader's two reads. The reader has taken the task key first, so it is told of a vector newer than the key; the other way round it would promise of an old vector that it still holds.
func TestFetch_TakesTheTaskKeyFirst(t *testing.T) {
	var reading atomic.Bool
	var between func()
	reads := 0
	m := redistest.Embedded(t, func(_ *server.Peer, command string, _ ...string) bool {
		if c := strings.ToUpper(command); (c == "MGET" || c == "HGETALL") && reading.Load() {
			if reads++; reads == 2 {
				reading.Store(false)
				between()
			}
		}
		return false
	})
	client := redis.NewClient(&redis.Options{Addr: m.Addr(), DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	w := &world{addrs: []string{m.Addr()}, client: client}
	o := w.project()
	s := openStore(t, o)
	v := visits()
	run := func(before, now features.Version) {
		planned(t, s, now, "log")
		publish(t, s, batch.Outcome{Written: 1}, live(v, "u1", now, 0))
		confirmed(t, s, before, batch.Key{Version: now, Frontier: 10 * int64(now.Sequence), Log: "log"}, true)
	}
	run(version(0, 0), version(1, 1))
	between = func() { run(version(1, 1), version(1, 2)) }
	r := openReader(t, o)
	fetch := func() features.Fetched {
		t.Helper()
		f, err := r.Fetch(t.Context(), []features.VectorKey{{View: v.Name, Entity: "u1"}})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	fetch() // it knows the schema from now on
	reading.Store(true)
	f := fetch()
	if f.Mark.Version != version(1, 1) || f.Vectors[0].Version != version(1, 2) {
		t.Errorf("it read the task key at %s and the vector at %s; want the key from before the batch between them, 1.1, and the vector from after it, 1.2", f.Mark.Version, f.Vectors[0].Version)
	}
}
