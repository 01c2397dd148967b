package online

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"

	"highwater/batch"

	"github.com/redis/go-redis/v9"
)

var (
	_ batch.Sink    = (*Store)(nil)
	_ batch.TaskKey = (*Store)(nil)
)

// Store is the writing half: one task's vectors and task key in one Redis or Redis Cluster. [Open] makes it; it is safe for concurrent use; Close it once.
type Store struct {
	link    *link
	o       Options
	shelf   shelf
	senders sync.Pool // of *sender: buffers

	mu      sync.Mutex // guards what follows
	doubted []string   // the primaries' replication ids when vectors were first missed; nil while nothing is in doubt
}

// Open returns a store. It does not reach for Redis yet, which may be down: the first call does, and [Store.Check] is the one to begin with.
// An error is a contradiction in the options.
func Open(_ context.Context, o Options) (*Store, error) {
	l, err := newLink(o, writerTimeout)
	if err != nil {
		return nil, err
	}
	return &Store{link: l, o: l.o, shelf: newShelf()}, nil
}

// Name returns "redis".
func (s *Store) Name() string { return "redis" }

// Close ends all connections; calls under way fail. Later calls of Close do nothing.
func (s *Store) Close() error { return s.link.close() }

// Check makes sure that the store can be written to and keeps what it is given: that Redis answers, knows the user, takes the scripts, and does not evict.
// Call it before the first batch. An error that is not [batch.IsPermanent] is an outage: call it again.
func (s *Store) Check(ctx context.Context) error {
	if err := s.link.load(ctx, upsertScript, taskKeyScript); err != nil {
		return s.link.fail("check the online store", err)
	}
	return s.link.fail("check the online store", s.link.eachPrimary(ctx, s.checkEviction))
}

// checkEviction refuses a server that may evict. Even a policy that takes only keys with an expiry would take tombstones, and let a late call write a vector back in.
func (s *Store) checkEviction(ctx context.Context, c *redis.Client) error {
	policy, err := evictionPolicy(ctx, c)
	switch {
	case err != nil:
		return s.link.fail("read the eviction policy", err)
	case policy == "noeviction":
		return nil
	case policy == "":
		s.o.Log.InfoContext(ctx, "Redis does not say whether it evicts keys; it must not", slog.String("redis", c.Options().Addr))
		return nil
	case s.o.AllowEviction:
		s.o.Log.WarnContext(ctx, "Redis may evict vectors and tombstones, as was allowed: readers may miss vectors, or see ones that were gone", slog.String("redis", c.Options().Addr), slog.String("policy", policy))
		return nil
	}
	return batch.Permanent(fmt.Errorf("the Redis at %s may evict keys (maxmemory-policy %s), and vectors and tombstones with them; set `maxmemory-policy noeviction`, or start with --allow-eviction, and without the promise", c.Options().Addr, policy))
}

// evictionPolicy returns a server's maxmemory-policy, "" where it does not tell.
func evictionPolicy(ctx context.Context, c *redis.Client) (string, error) {
	info, err := c.Info(ctx, "memory").Result()
	if err != nil && !cannotTell(err) {
		return "", err
	}
	if policy, ok := infoField(info, "maxmemory_policy"); ok {
		return policy, nil
	}
	config, err := c.ConfigGet(ctx, "maxmemory-policy").Result()
	if err != nil && !cannotTell(err) {
		return "", err
	}
	return config["maxmemory-policy"], nil
}

// ReplicationIDs returns the replication ids of the primaries, sorted. A new one among them means that a primary has failed over or started anew and may have lost acknowledged writes:
// republish. A server that does not tell has none.
func (s *Store) ReplicationIDs(ctx context.Context) ([]string, error) {
	var mu sync.Mutex // guards ids
	var ids []string
	err := s.link.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "replication").Result()
		if err != nil && !cannotTell(err) {
			return err
		}
		if id, ok := infoField(info, "master_replid"); ok {
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, strings.Clone(id))
		}
		return nil
	})
	sort.Strings(ids)
	return ids, s.link.fail("read the replication ids", err)
}
