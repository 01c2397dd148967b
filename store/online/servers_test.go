package online_test

import (
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2/server"

	"highwater/store/online"
	"highwater/testutil/redistest"
)

// A server may keep its figures to itself.
func TestServers_ThatDoNotTell(t *testing.T) {
	m := redistest.Embedded(t, func(peer *server.Peer, command string, _ ...string) bool {
		if command == "INFO" {
			peer.WriteError("NOPERM this user has no permissions to run the 'info' command")
		}
		return command == "INFO"
	})
	w := &world{addrs: []string{m.Addr()}}
	servers, err := openStore(t, w.project()).Servers(t.Context())
	if want := (online.Server{Addr: w.addrs[0], EvictedKeys: -1, UsedMemory: -1, MaxMemory: -1}); err != nil || len(servers) != 1 || servers[0] != want {
		t.Errorf("%+v, %v; want %+v", servers, err, want)
	}
}

func TestServers_EvictionShows(t *testing.T) {
	w, _ := realWorld(t, "--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru")
	s := openStore(t, w.project())
	ask := func() online.Server {
		t.Helper()
		servers, err := s.Servers(t.Context())
		if err != nil || len(servers) != 1 {
			t.Fatalf("%+v, %v; want one server", servers, err)
		}
		return servers[0]
	}
	if first := ask(); first.EvictedKeys != 0 || first.MaxMemory != 4<<20 || first.UsedMemory < 100_000 || first.Addr != w.addrs[0] {
		t.Errorf("at first: %+v", first)
	}
	for i := range 100 {
		if err := w.client.Set(t.Context(), strings.Repeat("k", i+1), strings.Repeat("v", 100_000), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if then := ask(); then.EvictedKeys == 0 {
		t.Errorf("after 10 MB went into 4 MB: %+v", then)
	}
}

func TestServers_OfAClusterAreItsPrimaries(t *testing.T) {
	w, c := clusterWorld(t)
	servers, err := openStore(t, w.project()).Servers(t.Context())
	if err != nil || len(servers) != len(c.Nodes) {
		t.Errorf("%+v, %v; want %d servers", servers, err, len(c.Nodes))
	}
}
