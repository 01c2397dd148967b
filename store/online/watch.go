package online

import (
	"context"
	"log/slog"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Eviction is what a server tells of evicting keys: it must not, since it would take vectors and tombstones with it.
type Eviction struct {
	Addr    string // of the server
	Policy  string // its maxmemory-policy; "" where it does not tell
	Evicted int64  // keys that it has evicted since it was last asked
}

// Evicts reports whether the server may evict keys.
func (e Eviction) Evicts() bool { return e.Policy != "" && e.Policy != noEviction }

const noEviction = "noeviction"

// watch remembers what the servers have told of evicting keys, so that a change is noticed while a task runs.
type watch struct {
	mu      sync.Mutex // guards what follows
	servers map[string]evictor
	evicted bool // keys were evicted, and nobody has been told to republish them
	owed    bool // somebody has been told, and has not republished yet
}

// evictor is what a server told last.
type evictor struct {
	policy  string
	evicted int64 // keys, since it was started
	evicts  bool  // it had evicted more than the time before
}

func newWatch() watch { return watch{servers: map[string]evictor{}} }

// look asks every primary whether it evicts. It is best effort: an outage is told by whoever writes.
func (s *Store) look(ctx context.Context) {
	_ = s.link.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		policy, err := evictionPolicy(ctx, c)
		if err != nil {
			return err
		}
		info, err := c.Info(ctx, "stats").Result()
		if err != nil && !cannotTell(err) {
			return err
		}
		text, _ := infoField(info, "evicted_keys")
		evicted, _ := strconv.ParseInt(text, 10, 64)
		s.heard(s.link.addressOf(c), policy, evicted)
		return nil
	})
}

// heard compares what a server tells with what it told before, and says what has changed.
func (s *Store) heard(addr, policy string, evicted int64) {
	w := &s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	before, known := w.servers[addr]
	now := evictor{policy: policy, evicted: evicted, evicts: known && evicted > before.evicted}
	w.servers[addr] = now
	e := Eviction{Addr: addr, Policy: policy}
	if now.evicts {
		e.Evicted = evicted - before.evicted
		w.evicted = true
	}
	if !known || policy == before.policy && !now.evicts {
		return
	}
	if s.o.OnEviction != nil {
		s.o.OnEviction(e)
	}
	if policy != before.policy || !before.evicts {
		s.warn(e)
	}
}

// warn logs what a server has begun to do, or to leave.
func (s *Store) warn(e Eviction) {
	attrs := []any{slog.String("act", "watch"), slog.String("redis", e.Addr), slog.String("policy", e.Policy), slog.Int64("evicted", e.Evicted)}
	switch {
	case s.o.AllowEviction:
	case e.Evicted > 0:
		s.o.Log.Error("Redis evicts vectors: readers miss them, or see ones that were gone; give it more memory and set maxmemory-policy noeviction, then they are republished", attrs...)
	case e.Evicts():
		s.o.Log.Error("Redis may evict vectors now, its maxmemory-policy was changed; set it back to noeviction", attrs...)
	default:
		s.o.Log.Info("Redis does not evict any more", attrs...)
	}
}

// evictedWhy says why vectors are to be republished because Redis has evicted some; "" where there is no reason, or not yet: as long as it evicts, writing more would only make it evict more.
func (s *Store) evictedWhy() string {
	w := &s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, server := range w.servers {
		if (Eviction{Policy: server.policy}).Evicts() {
			return ""
		}
	}
	w.owed = w.owed || w.evicted && !s.o.AllowEviction
	w.evicted = false
	if !w.owed {
		return ""
	}
	return "the store has evicted keys; it does so no more"
}

// republished forgets the evictions that a republish has mended.
func (s *Store) republished() {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.owed = false
}
