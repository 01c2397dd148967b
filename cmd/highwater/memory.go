package main

import (
	"context"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Where a memory limit comes from: GOMEMLIMIT, else the process's cgroup, of which Go gets nine tenths: the rest is for what Go does not count.
const (
	cgroupShare = 0.9
	noLimit     = math.MaxInt64
	absurdLimit = 1 << 50 // a cgroup that says so means none
)

// memoryLimit returns how much memory this process may use, in bytes, noLimit where nobody says. It makes the garbage collector keep to it.
func memoryLimit(log *slog.Logger) int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return debug.SetMemoryLimit(-1) // Go has read it
	}
	cgroup, err := memlimit.FromCgroup()
	if err != nil || cgroup == 0 || cgroup > absurdLimit {
		return noLimit
	}
	limit := int64(float64(cgroup) * cgroupShare)
	debug.SetMemoryLimit(limit)
	log.Info("memory is limited by the cgroup; GOMEMLIMIT would override this", "act", "start", "cgroup_bytes", cgroup, "limit_bytes", limit)
	return limit
}

// memoryBudget is how a process shares out its memory, in bytes. What is not here is for batches in hand, and for garbage.
type memoryBudget struct {
	limit      int64
	cache      span // decoded entities
	prefetch   span // records fetched ahead
	blockCache int64
	memTable   int64 // there may be four of them while the disk is slow
}

// span is what something may take: most as long as there is enough, and never less than least.
type span struct{ least, most int64 }

// Without a limit Pebble gets its defaults, and cache and prefetch what was asked for. The shares of a limit are those: with a quarter for the cache, and an eighth for tables in memory, half is left for batches in hand.
const (
	leastCache    = 1 << 20
	leastPrefetch = 256 << 10
	mostBlocks    = 64 << 20
	mostMemTable  = 64 << 20

	cacheShare, prefetchShare, blockShare, memTableShare = 4, 16, 16, 32
)

func budgetOf(limit, cache, prefetch int64) memoryBudget {
	share := func(asked, part, least int64) span {
		most := max(least, min(asked, limit/part))
		return span{least: min(least, most), most: most}
	}
	return memoryBudget{limit: limit, cache: share(cache, cacheShare, leastCache), prefetch: share(prefetch, prefetchShare, leastPrefetch),
		blockCache: min(mostBlocks, limit/blockShare), memTable: min(mostMemTable, limit/memTableShare)}
}

// How full memory may be, in parts of the limit, before cache and prefetch shrink, and how empty before they grow again. Between the two they stay as they are.
const (
	tight   = 0.75
	roomy   = 0.55
	regrowN = 8 // steps from least to most
)

// memoryController shrinks cache and prefetch while what lives in memory comes near the limit, and lets them grow again when there is room.
type memoryController struct {
	budget memoryBudget
	live   func() int64                // bytes that no garbage collection would free
	apply  func(cache, prefetch int64) // tells those who keep to it
	log    *slog.Logger

	mu              sync.Mutex // guards what follows
	cache, prefetch int64
	shrinks         int64
	short           bool // nothing more can be given up, and it is tight
}

func newMemoryController(b memoryBudget, live func() int64, apply func(cache, prefetch int64), log *slog.Logger) *memoryController {
	return &memoryController{budget: b, live: live, apply: apply, log: log, cache: b.cache.most, prefetch: b.prefetch.most}
}

// lookEvery is how often memory is looked at: a batch takes about as long.
const lookEvery = time.Second

// Run looks at memory until ctx ends; where nothing is limited it only waits.
func (c *memoryController) Run(ctx context.Context) {
	if c.budget.limit == noLimit {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.look()
		}
	}
}

// look takes one look, and one step.
func (c *memoryController) look() {
	live := c.live()
	full := float64(live) / float64(c.budget.limit)
	c.mu.Lock()
	defer c.mu.Unlock()
	cache, prefetch := c.cache, c.prefetch
	switch {
	case full >= tight:
		cache, prefetch = max(c.budget.cache.least, cache/2), max(c.budget.prefetch.least, prefetch/2)
	case full < roomy:
		cache, prefetch = c.budget.cache.grown(cache), c.budget.prefetch.grown(prefetch)
	}
	c.tell(live, cache, prefetch, full >= tight)
	if cache == c.cache && prefetch == c.prefetch {
		return
	}
	c.cache, c.prefetch = cache, prefetch
	c.apply(cache, prefetch)
}

// tell logs what a look leads to. c.mu is held.
func (c *memoryController) tell(live, cache, prefetch int64, isTight bool) {
	at := []any{"act", "memory", "live_bytes", live, "limit_bytes", c.budget.limit, "cache_bytes", cache, "prefetch_bytes", prefetch}
	switch {
	case cache < c.cache || prefetch < c.prefetch:
		c.shrinks++
		c.log.Warn("memory is tight: cache and prefetch shrink", at...)
	case cache > c.cache || prefetch > c.prefetch:
		c.log.Info("memory has room again: cache and prefetch grow", at...)
	case isTight && !c.short:
		c.log.Warn("memory is tight, and cache and prefetch are as small as can be: raise the limit, or make batches smaller (batch.max_records, batch.max_bytes)", at...)
	}
	c.short = isTight && cache == c.cache && prefetch == c.prefetch
}

// setCache changes what is asked for the cache of decoded entities. Where memory is tight, it grows up to that when there is room.
func (c *memoryController) setCache(asked int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := budgetOf(c.budget.limit, asked, 0).cache
	if wanted == c.budget.cache {
		return
	}
	if c.cache == c.budget.cache.most || c.cache > wanted.most {
		c.cache = wanted.most
	}
	c.budget.cache = wanted
	c.apply(c.cache, c.prefetch)
}

func (s span) grown(n int64) int64 { return min(s.most, n+max(1, (s.most-s.least)/regrowN)) }

// bounds returns what cache and prefetch may take now, in bytes, and how often they have shrunk.
func (c *memoryController) bounds() (cache, prefetch, shrinks int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cache, c.prefetch, c.shrinks
}

// liveMemory returns the bytes that Go's limit counts and a garbage collection would not free: what the last one found alive, and what is not heap.
func liveMemory() int64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(samples)
	live := int64(samples[0].Value.Uint64()) + int64(samples[1].Value.Uint64())
	for _, s := range samples[2:] {
		live -= int64(s.Value.Uint64())
	}
	return max(0, live)
}
