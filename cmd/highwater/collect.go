package main

import (
	"context"
	"log/slog"
	"math"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"highwater/store/online"
	"highwater/store/state"
)

// askRedisEvery is how often the primaries are asked for their figures; askRedisFor is how long that may take.
const (
	askRedisEvery = 10 * time.Second
	askRedisFor   = 5 * time.Second
)

// figure is one metric that is read where it is kept, when Prometheus asks.
type figure struct {
	name   string // without highwater_
	help   string
	labels []string
	kind   prometheus.ValueType // 0 for a histogram
}

// The figures, in the order of docs/metrics.md.
var (
	figEntities       = figure{"state_entities", "Entities in the state, by view.", []string{"view"}, prometheus.GaugeValue}
	figStateDisk      = figure{"state_disk_bytes", "Files of the state's directory.", nil, prometheus.GaugeValue}
	figDiskFree       = figure{"disk_free_bytes", "Room left on the disk of the data directory.", []string{"dir"}, prometheus.GaugeValue}
	figDiskSize       = figure{"disk_size_bytes", "Size of the disk of the data directory.", []string{"dir"}, prometheus.GaugeValue}
	figCacheEntities  = figure{"cache_entities", "Decoded entities in memory.", nil, prometheus.GaugeValue}
	figLookups        = figure{"cache_lookups_total", "Lookups in the cache of decoded entities and in Pebble's cache of blocks.", []string{"cache", "result"}, prometheus.CounterValue}
	figMemory         = figure{"memory_bytes", "Go memory by what it is for. The sum is what GOMEMLIMIT bounds.", []string{"purpose"}, prometheus.GaugeValue}
	figFetched        = figure{"fetched_records", "Records fetched ahead of the batch in hand.", nil, prometheus.GaugeValue}
	figCommitFailures = figure{"group_commit_failures_total", "Commits of positions to the Kafka consumer group that failed.", nil, prometheus.CounterValue}
	figCompactions    = figure{"pebble_compactions_total", "Compactions of the state.", nil, prometheus.CounterValue}
	figCompactionDebt = figure{"pebble_compaction_debt_bytes", "Bytes that compactions have yet to go through.", nil, prometheus.GaugeValue}
	figL0Files        = figure{"pebble_l0_files", "Files that no compaction has sorted in yet.", nil, prometheus.GaugeValue}
	figReadAmp        = figure{"pebble_read_amplification", "Sorted runs that a read merges.", nil, prometheus.GaugeValue}
	figStalls         = figure{"pebble_write_stalls_total", "How often writes had to wait for compactions or flushes.", nil, prometheus.CounterValue}
	figStallSeconds   = figure{"pebble_write_stall_seconds_total", "How long they waited.", nil, prometheus.CounterValue}
	figWALBytes       = figure{"pebble_wal_bytes", "Size of the state's log.", nil, prometheus.GaugeValue}
	figWALSync        = figure{"pebble_wal_sync_seconds", "Time of each sync of the state's log.", nil, 0}
	figRedisEvicted   = figure{"redis_evicted_keys_total", "Keys that Redis has evicted since it was started.", []string{"server"}, prometheus.CounterValue}
	figRedisMemory    = figure{"redis_memory_bytes", "Memory that Redis uses.", []string{"server"}, prometheus.GaugeValue}
	figRedisLimit     = figure{"redis_memory_limit_bytes", "Redis's maxmemory; absent where it has none.", []string{"server"}, prometheus.GaugeValue}

	figures = []figure{figEntities, figStateDisk, figDiskFree, figDiskSize, figCacheEntities, figLookups, figMemory, figFetched, figCommitFailures, figCompactions, figCompactionDebt, figL0Files, figReadAmp,
		figStalls, figStallSeconds, figWALBytes, figWALSync, figRedisEvicted, figRedisMemory, figRedisLimit}
)

// observed is what a collector reads.
type observed struct {
	state   func() state.Metrics
	fetched func() (records, bytes int64)
	commits func() int64 // that failed
	disk    func(dir string) (free, size uint64, err error)
	servers func(context.Context) ([]online.Server, error)
	dataDir string
}

// collector tells Prometheus what the parts of an engine keep count of themselves. It may be asked at any time; before an engine is opened, and after it is closed, it tells nothing. Where one is opened in the place of another, it goes on with that one.
type collector struct {
	descs map[string]*prometheus.Desc

	mu      sync.RWMutex // guards what follows; held while the parts are read, so that detach waits for readers
	of      *observed    // nil while there is nothing to observe
	servers []online.Server
}

// newCollector returns a collector that is registered with r.
func newCollector(r prometheus.Registerer) *collector {
	c := &collector{descs: map[string]*prometheus.Desc{}}
	for _, f := range figures {
		c.descs[f.name] = prometheus.NewDesc("highwater_"+f.name, f.help, f.labels, nil)
	}
	r.MustRegister(c)
	return c
}

// attach makes the collector read these parts.
func (c *collector) attach(of observed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of, c.servers = &of, nil
}

// detach makes the collector forget its parts: they are about to be closed. It waits for whoever is reading them.
func (c *collector) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of, c.servers = nil, nil
}

// watch asks Redis for its figures now and then, until ctx ends: a scrape must not wait for a server that is down. What a server last told stays until it tells again.
func (c *collector) watch(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(askRedisEvery)
	defer ticker.Stop()
	for {
		c.ask(ctx, log)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (c *collector) ask(ctx context.Context, log *slog.Logger) {
	c.mu.RLock()
	of := c.of
	c.mu.RUnlock()
	if of == nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, askRedisFor)
	defer cancel()
	servers, err := of.servers(asking)
	if err != nil {
		log.Debug("Redis does not tell its figures", "act", "watch", "err", err) // the sinks tell of an outage
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == of {
		c.servers = servers
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.of == nil {
		return
	}
	tell := func(f figure, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.descs[f.name], f.kind, value, labels...)
	}
	m := c.of.state()
	records, fetched := c.of.fetched()
	collectState(m, tell)
	ch <- prometheus.MustNewConstHistogram(c.descs[figWALSync.name], m.WALSyncs.Count, m.WALSyncs.Seconds, m.WALSyncs.UpTo)
	tell(figFetched, float64(records))
	tell(figCommitFailures, float64(c.of.commits()))
	collectMemory(m, fetched, tell)
	if free, size, err := c.of.disk(c.of.dataDir); err == nil {
		tell(figDiskFree, float64(free), c.of.dataDir)
		tell(figDiskSize, float64(size), c.of.dataDir)
	}
	for _, s := range c.servers {
		collectServer(s, tell)
	}
}

// collectServer tells what a server has told.
func collectServer(s online.Server, tell func(f figure, value float64, labels ...string)) {
	if s.EvictedKeys >= 0 {
		tell(figRedisEvicted, float64(s.EvictedKeys), s.Addr)
	}
	if s.UsedMemory >= 0 {
		tell(figRedisMemory, float64(s.UsedMemory), s.Addr)
	}
	if s.MaxMemory > 0 {
		tell(figRedisLimit, float64(s.MaxMemory), s.Addr)
	}
}

func collectState(m state.Metrics, tell func(f figure, value float64, labels ...string)) {
	for view, n := range m.Entities {
		tell(figEntities, float64(n), view)
	}
	tell(figStateDisk, float64(m.DiskBytes))
	tell(figCacheEntities, float64(m.CacheEntities))
	tell(figLookups, float64(m.CacheHits), "entities", "hit")
	tell(figLookups, float64(m.CacheMisses), "entities", "miss")
	tell(figLookups, float64(m.BlockHits), "blocks", "hit")
	tell(figLookups, float64(m.BlockMisses), "blocks", "miss")
	tell(figCompactions, float64(m.Compactions))
	tell(figCompactionDebt, float64(m.CompactionDebt))
	tell(figL0Files, float64(m.L0Files))
	tell(figReadAmp, float64(m.ReadAmp))
	tell(figStalls, float64(m.WriteStalls))
	tell(figStallSeconds, m.WriteStallTime.Seconds())
	tell(figWALBytes, float64(m.WALBytes))
}

// collectMemory tells what Go's memory is for. What has no name of its own (the batch in hand, connections, garbage that is not collected yet) is "other".
func collectMemory(m state.Metrics, fetched int64, tell func(f figure, value float64, labels ...string)) {
	named := []struct {
		purpose string
		bytes   int64
	}{{"cache", m.CacheBytes}, {"block_cache", m.BlockCacheBytes}, {"memtables", m.MemTableBytes}, {"fetched", fetched}}
	other := goMemory()
	for _, n := range named {
		tell(figMemory, float64(n.bytes), n.purpose)
		other -= float64(n.bytes)
	}
	tell(figMemory, math.Max(0, other), "other")
}

// goMemory is what GOMEMLIMIT bounds: all that the runtime has mapped and not given back.
func goMemory() float64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return float64(samples[0].Value.Uint64()) - float64(samples[1].Value.Uint64())
}

// diskOf returns the room on the disk that a directory lies on.
func diskOf(dir string) (free, size uint64, err error) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	return usage.AvailBytes, usage.TotalBytes, err
}
