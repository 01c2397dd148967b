package embedded_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"highwater/store/online/embedded"

	"github.com/redis/go-redis/v9"
)

func start(t *testing.T) (*embedded.Redis, *redis.Client) {
	t.Helper()
	r := embedded.New(nil)
	if err := r.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	c := redis.NewClient(&redis.Options{Addr: r.Addr(), DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return r, c
}

func replicationID(t *testing.T, c *redis.Client) string {
	t.Helper()
	info, err := c.Info(t.Context(), "replication").Result()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A rollback brings back what a snapshot kept, of every type that we use, with expiries that have gone on; and who asks sees another server.
func TestRollback_LosesWhatWasWrittenSince(t *testing.T) {
	r, c := start(t)
	ctx := t.Context()
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	bytes := "\x00\xff\r\nü"
	must(c.Set(ctx, "kept"+bytes, bytes, 0).Err(), c.Set(ctx, "old", "1", 0).Err(), c.HSet(ctx, "hash", "a", bytes, "b", "2").Err(),
		c.Set(ctx, "tombstone", "t", time.Hour).Err(), c.Set(ctx, "short", "t", time.Minute).Err(), c.RPush(ctx, "list", "x").Err())
	must(r.Snapshot())
	id := replicationID(t, c)
	must(c.Set(ctx, "old", "2", 0).Err(), c.Set(ctx, "new", "n", 0).Err(), c.HSet(ctx, "hash", "a", "changed", "c", "3").Err(), c.Set(ctx, "tombstone", "live again", 0).Err(), c.Del(ctx, "list").Err())
	r.FastForward(10 * time.Minute)
	for range 2 { // again and again to the same
		must(r.Rollback())
		if now := replicationID(t, c); now == id {
			t.Error("the replication id is the old one")
		} else {
			id = now
		}
		if got := c.MGet(ctx, "kept"+bytes, "old", "new", "tombstone", "short").Val(); fmt.Sprint(got) != fmt.Sprint([]any{bytes, "1", nil, "t", nil}) {
			t.Errorf("after it there is %q", got)
		}
		if got := c.HGetAll(ctx, "hash").Val(); !maps.Equal(got, map[string]string{"a": bytes, "b": "2"}) {
			t.Errorf("after it the hash is %q", got)
		}
		if got, list := c.TTL(ctx, "tombstone").Val(), c.LRange(ctx, "list", 0, -1).Val(); got != 50*time.Minute || len(list) != 1 {
			t.Errorf("after it the tombstone lives for %v, and the list is %q", got, list)
		}
		must(c.Set(ctx, "old", "3", 0).Err(), c.HSet(ctx, "hash", "a", "changed").Err())
	}
	r.Empty()
	if n := c.DBSize(ctx).Val(); n != 0 || replicationID(t, c) == id {
		t.Errorf("empty, it holds %d keys", n)
	}
	must(r.Rollback())
	if got := c.Get(ctx, "old").Val(); got != "1" {
		t.Errorf("after a second rollback there is %q", got)
	}
	r.Close()
	if err := r.Rollback(); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("a rollback of one that does not run: %v", err)
	}
}

// No command sees half of a rollback: two keys that are always written together are equal in every answer.
func TestRollback_IsOneStepForClients(t *testing.T) {
	r, c := start(t)
	if err := c.MSet(t.Context(), "a", -1, "b", -1).Err(); err != nil {
		t.Fatal(err)
	}
	if err := r.Snapshot(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for n := range 3 {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_ = c.MSet(t.Context(), "a", i, "b", i).Err()
				if got, err := c.MGet(t.Context(), "a", "b").Result(); err != nil || got[0] != got[1] || got[0] == nil {
					t.Errorf("client %d: %v, %v", n, got, err)
					return
				}
			}
		})
	}
	for i := range 60 {
		if err := r.Rollback(); err != nil {
			t.Error(err)
		}
		if i%7 == 0 {
			if err := r.Snapshot(); err != nil {
				t.Error(err)
			}
		}
	}
	stop()
	clients.Wait()
}
