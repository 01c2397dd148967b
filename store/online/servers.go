package online

import (
	"context"
	"sort"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Server is what a primary tells of itself. A figure that it keeps to itself is -1.
type Server struct {
	Addr        string // host:port
	EvictedKeys int64  // since it was started. Highwater asks for none: each may have been a vector or a tombstone
	UsedMemory  int64  // bytes
	MaxMemory   int64  // bytes; 0 for no bound of its own
}

// Servers asks every primary for its figures, and returns them by address.
func (s *Store) Servers(ctx context.Context) ([]Server, error) {
	var mu sync.Mutex // guards servers
	var servers []Server
	err := s.link.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		server := Server{Addr: c.Options().Addr, EvictedKeys: -1, UsedMemory: -1, MaxMemory: -1}
		figures := []struct {
			section, field string
			into           *int64
		}{{"stats", "evicted_keys", &server.EvictedKeys}, {"memory", "used_memory", &server.UsedMemory}, {"memory", "maxmemory", &server.MaxMemory}}
		texts := map[string]string{}
		for _, f := range figures {
			if _, asked := texts[f.section]; !asked {
				text, err := c.Info(ctx, f.section).Result()
				if err != nil && !cannotTell(err) {
					return err
				}
				texts[f.section] = text
			}
			if text, ok := infoField(texts[f.section], f.field); ok {
				if n, err := strconv.ParseInt(text, 10, 64); err == nil {
					*f.into = n
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		servers = append(servers, server)
		return nil
	})
	sort.Slice(servers, func(i, j int) bool { return servers[i].Addr < servers[j].Addr })
	return servers, s.link.fail("read the servers' figures", err)
}
