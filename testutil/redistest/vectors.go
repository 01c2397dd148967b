package redistest

import (
	"context"
	"fmt"
	"sync"

	"highwater/store/keys"

	"github.com/redis/go-redis/v9"
)

// Vectors returns all vectors of a project, tombstones too, by key, as they are stored. client is a server's or a cluster's. It panics where Redis does not answer.
func Vectors(ctx context.Context, client redis.UniversalClient, project string) map[string]string {
	var mu sync.Mutex // guards vectors
	vectors := map[string]string{}
	collect := func(ctx context.Context, c *redis.Client) error {
		for cursor := uint64(0); ; {
			found, next, err := c.Scan(ctx, cursor, keys.VectorPattern(project), 1000).Result()
			if err != nil {
				return err
			}
			mu.Lock()
			err = get(ctx, c, found, project, vectors)
			mu.Unlock()
			if cursor = next; err != nil || cursor == 0 {
				return err
			}
		}
	}
	var err error
	switch c := client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, collect)
	case *redis.Client:
		err = collect(ctx, c)
	default:
		err = fmt.Errorf("a %T is no client of a server or of a cluster", c)
	}
	if err != nil {
		panic(fmt.Sprintf("redistest: read the vectors of project %s: %v", project, err))
	}
	return vectors
}

// get adds the values of those names that are vectors' keys.
func get(ctx context.Context, c *redis.Client, names []string, project string, vectors map[string]string) error {
	pipe := c.Pipeline()
	gets := map[string]*redis.StringCmd{}
	for _, name := range names {
		if p, _, _, ok := keys.ParseVector(name); ok && p == project {
			gets[name] = pipe.Get(ctx, name)
		}
	}
	_, _ = pipe.Exec(ctx) // every reply carries its own error
	for name, cmd := range gets {
		switch text, err := cmd.Result(); err {
		case nil:
			vectors[name] = text
		case redis.Nil: // expired since the scan
		default:
			return err
		}
	}
	return nil
}
