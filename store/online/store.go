package online

import (
	"context"
	"sort"
	"sync"

	"highwater/batch"

	"github.com/redis/go-redis/v9"
)

var (
	_ batch.Sink      = (*Store)(nil)
	_ batch.Selective = (*Store)(nil)
	_ batch.TaskKey   = (*Store)(nil)
)

// Store is the writing half: one task's vectors and task key in one Redis or Redis Cluster. [Open] makes it; it is safe for concurrent use; Close it once.
type Store struct {
	link    *link
	o       Options
	shelf   shelf
	senders sync.Pool // of *sender: buffers
	watch   watch

	mu      sync.Mutex // guards what follows
	owned   string     // the owner as claimed; "" before the claim
	log     string     // the plan log as claimed
	doubted []string   // the primaries' replication ids when vectors were first missed; nil while nothing is in doubt
}

// Open returns a store. It does not reach for Redis yet, which may be down: the first call does, and [Store.Check] is the one to begin with.
// An error is a contradiction in the options.
func Open(_ context.Context, o Options) (*Store, error) {
	l, err := newLink(o, writerTimeout)
	if err != nil {
		return nil, err
	}
	return &Store{link: l, o: l.o, shelf: newShelf(), watch: newWatch()}, nil
}

// Name returns "redis".
func (s *Store) Name() string { return "redis" }

// Close ends all connections; calls under way fail. Later calls of Close do nothing.
func (s *Store) Close() error { return s.link.close() }

// ReplicationIDs returns the replication ids of the primaries, sorted. A new one among them means that a primary has failed over or started anew and may have lost acknowledged writes:
// republish. A server that does not tell has none.
func (s *Store) ReplicationIDs(ctx context.Context) ([]string, error) {
	var mu sync.Mutex // guards ids
	var ids []string
	err := s.link.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		id, err := replicationID(ctx, c)
		if err != nil || id == "" {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, id)
		return nil
	})
	sort.Strings(ids)
	return ids, s.link.fail("read the replication ids", err)
}
