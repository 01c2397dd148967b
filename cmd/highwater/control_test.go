package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"highwater/features"
)

// TestControl_ShowsWhatItDoes: a worker that hangs, or takes too much memory, can be looked into without being killed, by its own user alone.
func TestControl_ShowsWhatItDoes(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.EventClock, 50*time.Millisecond))
	s.startKafka()
	s.startRedis()
	w := s.worker()
	s.sendClicks("u1", 1)
	s.awaitCommitted(w)
	socket, err := controlPath(s.dataDir)
	must(t, err)
	info, err := os.Stat(socket)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket has mode %o", info.Mode().Perm())
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	for path, want := range map[string]string{"goroutine?debug=2": "batch.(*Task).execute", "heap?debug=1": "heap profile"} {
		resp, err := client.Get("http://worker/debug/pprof/" + path)
		must(t, err)
		text, err := io.ReadAll(resp.Body)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			t.Errorf("%s: status %d, without %q: %.300s", path, resp.StatusCode, want, text)
		}
	}
	stopped(t, w)
}
