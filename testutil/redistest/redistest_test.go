package redistest_test

import (
	"maps"
	"testing"

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

func TestProxy_CutsBeforeAndAfter(t *testing.T) {
	server := miniredis.RunT(t)
	proxy := redistest.NewProxy(t, server.Addr())
	c := client(t, proxy.Addr)
	for _, step := range []struct {
		at   redistest.Cut
		want string // what the server holds after the call that failed
	}{{redistest.CutBefore, "passed"}, {redistest.CutAfter, "cut"}} {
		if err := c.Set(t.Context(), "k", "passed", 0).Err(); err != nil {
			t.Fatal(err)
		}
		proxy.CutNext(step.at, "set k") // no request looks like this one
		proxy.CutNext(step.at, "cut")
		if err := c.Set(t.Context(), "k", "cut", 0).Err(); err == nil {
			t.Error("the call came through")
		}
		if got, _ := server.Get("k"); got != step.want {
			t.Errorf("cut %v: the server holds %q, want %q", step.at, got, step.want)
		}
	}
	if got := proxy.Cuts(); got != 2 {
		t.Errorf("%d cuts, want 2", got)
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
