package state

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Metrics are figures about the state, for people and for monitoring.
type Metrics struct {
	DiskBytes       int64 // files of the directory, those not yet removed included
	MemTableBytes   int64
	WALBytes        int64
	WALSyncs        Syncs
	L0Files         int64 // many of them: compactions do not keep up
	ReadAmp         int   // how many sorted runs a read merges
	Compactions     int64
	CompactionDebt  int64 // bytes that compactions have yet to go through
	WriteStalls     int64 // how often writes had to wait for compactions or flushes
	WriteStallTime  time.Duration
	BlockCacheBytes int64
	BlockHits       int64
	BlockMisses     int64

	DiskFreeBytes    int64 // room on the disk under the directory; 0 where it is not known
	DiskReserveBytes int64 // how much of it no plan or commit takes
	DiskWaits        int64 // how often a write was held or refused for want of room
	DiskSlow         int64 // syncs and other writes that took too long
	DiskErrors       int64 // of flushes and compactions, which are tried again

	CacheEntities int64 // decoded, in memory
	CacheLimit    int64 // bytes that they may take, see SetCacheBytes
	CacheBytes    int64
	CacheHits     int64 // entities that Load found in memory
	CacheMisses   int64 // entities that Load read, or made

	Entities map[string]int64 // by view, as committed
}

// Syncs is how long the syncs of the log took, since the directory was opened.
type Syncs struct {
	Count   uint64
	Seconds float64            // in all
	UpTo    map[float64]uint64 // how many took at most so many seconds
}

// stats is what Metrics may read while a change runs.
type stats struct {
	entities, bytes, hits, misses atomic.Int64

	stalls  atomic.Int64
	stalled atomic.Int64 // ns, of the stalls that are over
	since   atomic.Int64 // Unix ns: when the stall under way began; 0 for none
}

func (s *stats) loaded(c *cache, hits, misses int) {
	s.entities.Store(int64(len(c.ring)))
	s.bytes.Store(c.bytes)
	s.hits.Add(int64(hits))
	s.misses.Add(int64(misses))
}

// listen returns a listener that counts, and passes on to l.
func (s *stats) listen(l *pebble.EventListener) *pebble.EventListener {
	counting := pebble.TeeEventListener(*l, pebble.EventListener{
		WriteStallBegin: func(pebble.WriteStallBeginInfo) {
			s.stalls.Add(1)
			s.since.Store(time.Now().UnixNano())
		},
		WriteStallEnd: func() {
			if since := s.since.Swap(0); since != 0 {
				s.stalled.Add(time.Now().UnixNano() - since)
			}
		},
	})
	return &counting
}

// stallTime is how long writes have waited, the stall under way included.
func (s *stats) stallTime() time.Duration {
	stalled := s.stalled.Load()
	if since := s.since.Load(); since != 0 {
		stalled += max(0, time.Now().UnixNano()-since)
	}
	return time.Duration(stalled)
}

// Metrics returns the figures of now; the zero Metrics once s is closed. It may run beside everything else but Close.
func (s *Store) Metrics() Metrics {
	if s.closed.Load() {
		return Metrics{}
	}
	m := s.db.Metrics()
	free, reserve, _ := s.disk.enough(0)
	return Metrics{
		DiskFreeBytes:    free,
		DiskReserveBytes: reserve,
		DiskWaits:        s.disk.waits.Load(),
		DiskSlow:         s.disk.slowOnes.Load(),
		DiskErrors:       s.disk.errors.Load(),
		CacheLimit:       s.cache.limit.Load(),

		DiskBytes:       int64(m.DiskSpaceUsage()),
		MemTableBytes:   int64(m.MemTable.Size),
		WALBytes:        int64(m.WAL.PhysicalSize),
		WALSyncs:        syncs(m.LogWriter.FsyncLatency),
		L0Files:         m.Levels[0].TablesCount,
		ReadAmp:         m.ReadAmp(),
		Compactions:     m.Compact.Count,
		CompactionDebt:  int64(m.Compact.EstimatedDebt),
		WriteStalls:     s.stats.stalls.Load(),
		WriteStallTime:  s.stats.stallTime(),
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

// SetCacheBytes bounds the memory of decoded entities from now on. It may be called beside everything else; what is too much then leaves memory with the next batch.
func (s *Store) SetCacheBytes(n int64) { s.cache.limit.Store(max(n, 1)) }

// Waiting returns why plans and commits are held up: the disk is full, or no file handles are left. "" says that they are not.
func (s *Store) Waiting() string {
	for _, why := range []*string{s.disk.waiting.Load(), s.disk.flushing.Load()} {
		if why != nil {
			return *why
		}
	}
	return ""
}

// syncEvery thins out Pebble's hundred buckets: every tenth of the fine ones below 5 ms, every seventh of the coarse ones up to 10 s. What stays is exact, but for bounds written with three digits.
const (
	fineSyncs, syncEvery = 50, 10
	coarseSyncEvery      = 7
)

// syncs reads Pebble's histogram of log syncs, which counts in ns.
func syncs(h prometheus.Histogram) Syncs {
	var m dto.Metric
	if h == nil || h.Write(&m) != nil {
		return Syncs{}
	}
	s := Syncs{Count: m.GetHistogram().GetSampleCount(), Seconds: m.GetHistogram().GetSampleSum() / 1e9, UpTo: map[float64]uint64{}}
	for i, b := range m.GetHistogram().GetBucket() {
		if i > 0 && i < fineSyncs && i%syncEvery == 0 || i >= fineSyncs && (i-fineSyncs)%coarseSyncEvery == 0 {
			s.UpTo[threeDigits(b.GetUpperBound()/1e9)] = b.GetCumulativeCount()
		}
	}
	return s
}

func threeDigits(x float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	if err != nil { // cannot happen: it was a number
		return x
	}
	return rounded
}
