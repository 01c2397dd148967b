package state

import "sync/atomic"

// Metrics are figures about the state, for people and for monitoring.
type Metrics struct {
	DiskBytes       int64 // files of the directory, those not yet removed included
	MemTableBytes   int64
	WALBytes        int64
	L0Files         int64 // many of them: compactions do not keep up
	ReadAmp         int   // how many sorted runs a read merges
	Compactions     int64
	CompactionDebt  int64 // bytes that compactions have yet to go through
	BlockCacheBytes int64
	BlockHits       int64
	BlockMisses     int64

	CacheEntities int64 // decoded, in memory
	CacheBytes    int64
	CacheHits     int64 // entities that Load found in memory
	CacheMisses   int64 // entities that Load read, or made

	Entities map[string]int64 // by view, as committed
}

// stats is what Metrics may read while a change runs.
type stats struct {
	entities, bytes, hits, misses atomic.Int64
}

func (s *stats) loaded(c *cache, hits, misses int) {
	s.entities.Store(int64(len(c.ring)))
	s.bytes.Store(c.bytes)
	s.hits.Add(int64(hits))
	s.misses.Add(int64(misses))
}

// Metrics returns the figures of now; the zero Metrics once s is closed. It may run beside everything else but Close.
func (s *Store) Metrics() Metrics {
	if s.closed.Load() {
		return Metrics{}
	}
	m := s.db.Metrics()
	return Metrics{
		DiskBytes:       int64(m.DiskSpaceUsage()),
		MemTableBytes:   int64(m.MemTable.Size),
		WALBytes:        int64(m.WAL.PhysicalSize),
		L0Files:         m.Levels[0].TablesCount,
		ReadAmp:         m.ReadAmp(),
		Compactions:     m.Compact.Count,
		CompactionDebt:  int64(m.Compact.EstimatedDebt),
		BlockCacheBytes: m.BlockCache.Size,
		BlockHits:       m.BlockCache.Hits,
		BlockMisses:     m.BlockCache.Misses,

		CacheEntities: s.stats.entities.Load(),
		CacheBytes:    s.stats.bytes.Load(),
		CacheHits:     s.stats.hits.Load(),
		CacheMisses:   s.stats.misses.Load(),

		Entities: *s.counts.Load(),
	}
}
