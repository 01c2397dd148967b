package online

import (
	"context"
	"sync"
	"sync/atomic"

	"highwater/store/keys"

	"github.com/redis/go-redis/v9"
)

// scratchPage is how many keys one SCAN asks for.
const scratchPage = 1000

// Footprint is what a project's vectors take up, of a sample of them.
type Footprint struct {
	Vectors     int64 // in the sample
	Bytes       int64 // of their keys and values
	MemoryBytes int64 // of the server's memory, as MEMORY USAGE tells it; 0 where it does not
}

// Footprint weighs a page of vectors of each primary, all of them where there are fewer. It goes through the keys of others until it has found as many.
func (s *Store) Footprint(ctx context.Context) (Footprint, error) {
	var total Footprint
	var mu sync.Mutex
	err := s.link.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		var page []string
		for cursor, more := uint64(0), true; more && len(page) < scratchPage; more = cursor != 0 {
			found, next, err := c.Scan(ctx, cursor, keys.VectorPattern(s.o.Project), scratchPage).Result()
			if err != nil {
				return err
			}
			page, cursor = append(page, found...), next
		}
		f, err := weigh(ctx, c, page)
		mu.Lock()
		defer mu.Unlock()
		total.Vectors, total.Bytes, total.MemoryBytes = total.Vectors+f.Vectors, total.Bytes+f.Bytes, total.MemoryBytes+f.MemoryBytes
		return err
	})
	return total, s.link.fail("weigh vectors", err)
}

// weigh adds up those of the keys that are vectors. That the server does not tell what they take of its memory is no error.
func weigh(ctx context.Context, c *redis.Client, page []string) (f Footprint, err error) {
	lengths, usages := c.Pipeline(), c.Pipeline()
	for _, key := range page {
		if _, _, _, ok := keys.ParseVector(key); ok {
			f.Vectors++
			f.Bytes += int64(len(key))
			lengths.StrLen(ctx, key)
			usages.MemoryUsage(ctx, key, 0)
		}
	}
	if f.Vectors == 0 {
		return f, nil
	}
	replies, err := lengths.Exec(ctx)
	if err != nil {
		return f, err
	}
	for _, r := range replies {
		if n, ok := r.(*redis.IntCmd); ok {
			f.Bytes += n.Val()
		}
	}
	replies, err = usages.Exec(ctx)
	if err != nil {
		return f, ctx.Err()
	}
	for _, r := range replies {
		if n, ok := r.(*redis.IntCmd); ok {
			f.MemoryBytes += n.Val()
		}
	}
	return f, nil
}

// Erase removes every key of the project: vectors, task keys and catalogue. It is for a project that was made up for a measurement, and that nobody reads; a reader of any other would see features vanish.
func (s *Store) Erase(ctx context.Context) error {
	return s.link.fail("erase project "+s.o.Project, s.link.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		for cursor := uint64(0); ; {
			page, next, err := c.Scan(ctx, cursor, s.o.Project+":*", scratchPage).Result()
			if err != nil {
				return err
			}
			if len(page) > 0 {
				pipe := c.Pipeline() // one key a command: in a cluster they lie in many slots
				for _, key := range page {
					pipe.Unlink(ctx, key)
				}
				if _, err := pipe.Exec(ctx); err != nil {
					return err
				}
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	}))
}

// Vectors returns every vector of the project, tombstones too, as they are stored, by key. It is for comparisons: all of them are held in memory.
func (s *Store) Vectors(ctx context.Context) (map[string]string, error) {
	vectors := map[string]string{}
	var mu sync.Mutex // guards vectors
	err := s.link.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		for cursor := uint64(0); ; {
			page, next, err := c.Scan(ctx, cursor, keys.VectorPattern(s.o.Project), scratchPage).Result()
			if err != nil {
				return err
			}
			mu.Lock()
			err = s.collect(ctx, c, page, vectors)
			mu.Unlock()
			if cursor = next; err != nil || cursor == 0 {
				return err
			}
		}
	})
	return vectors, s.link.fail("read all vectors", err)
}

// collect adds the values of those of the keys that are vectors of the project.
func (s *Store) collect(ctx context.Context, c *redis.Client, page []string, vectors map[string]string) error {
	pipe := c.Pipeline() // one key a command: in a cluster they lie in many slots
	gets := map[string]*redis.StringCmd{}
	for _, key := range page {
		if project, _, _, ok := keys.ParseVector(key); ok && project == s.o.Project {
			gets[key] = pipe.Get(ctx, key)
		}
	}
	if len(gets) == 0 {
		return nil
	}
	_, _ = pipe.Exec(ctx) // each answer has an error of its own
	for key, get := range gets {
		text, err := get.Result()
		if isNil(err) {
			continue // expired since the scan
		}
		if err != nil {
			return err
		}
		vectors[key] = text
	}
	return nil
}

// Empty reports whether there is no key of the project.
func (s *Store) Empty(ctx context.Context) (bool, error) {
	var found atomic.Bool
	err := s.link.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		for cursor := uint64(0); !found.Load(); {
			page, next, err := c.Scan(ctx, cursor, s.o.Project+":*", scratchPage).Result()
			if err != nil {
				return err
			}
			if len(page) > 0 {
				found.Store(true)
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
		return nil
	})
	return !found.Load(), s.link.fail("look for keys of project "+s.o.Project, err)
}
