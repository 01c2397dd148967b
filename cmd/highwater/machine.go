package main

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/batch/kafka"
	"highwater/store/state"
)

// machine is what this process has of the machine it runs on: its memory and its file handles. There is one a process, whichever engine runs in it; it is safe for concurrent use.
type machine struct {
	limit int64 // bytes of memory; noLimit for none
	files int   // for Pebble to keep open

	descs []*prometheus.Desc // in the order of machineFigures

	mu     sync.RWMutex // guards what follows; held while they are read, so that detach waits for readers
	store  *state.Store // nil while no engine runs
	memory *memoryController
}

// Of the file handles that a process may have, those for Kafka, Redis, HTTP, and what the state has besides its tables.
const (
	leastFiles    = 256
	otherFiles    = 192
	mostPebble    = 4096
	unlimitedFile = 1 << 20
)

// newMachine finds out what there is. It refuses to start with so few file handles that the process would fail later, in the middle of something.
func newMachine(r prometheus.Registerer, log *slog.Logger) (*machine, error) {
	files := fileLimit()
	if files < leastFiles {
		return nil, fmt.Errorf("this process may have only %d files and connections open at a time, and needs at least %d (4096 are better): raise the limit (ulimit -n, LimitNOFILE= in a service file) and start again", files, leastFiles)
	}
	m := &machine{limit: memoryLimit(log), files: min(files-otherFiles, mostPebble)}
	for _, f := range machineFigures {
		m.descs = append(m.descs, prometheus.NewDesc("highwater_"+f.name, f.help, f.labels, nil))
	}
	return m, r.Register(m)
}

// budget shares the memory out.
func (m *machine) budget(cache, prefetch int64) memoryBudget {
	return budgetOf(m.limit, cache, prefetch)
}

// attach has the memory of an engine's parts kept within bounds, which log tells of, and their figures shown.
func (m *machine) attach(b memoryBudget, store *state.Store, source *kafka.Source, log *slog.Logger) *memoryController {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store = store
	m.memory = newMemoryController(b, liveMemory, func(cache, prefetch int64) {
		store.SetCacheBytes(cache)
		source.SetMemoryBytes(prefetch)
	}, log)
	return m.memory
}

// detach forgets an engine's parts, which are about to be closed.
func (m *machine) detach() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store, m.memory = nil, nil
}

// machineFigures are the metrics of a machine, in the order of docs/metrics.md, and of the values in Collect.
var machineFigures = []figure{
	{"disk_waiting", "1 while plans and commits are held up because the state's disk is full, or no file handles are left; else 0.", nil, prometheus.GaugeValue},
	{"disk_waits_total", "Writes held or refused for want of room on the state's disk, or of file handles.", nil, prometheus.CounterValue},
	{"disk_reserve_bytes", "Room on the state's disk that no plan and no commit takes.", nil, prometheus.GaugeValue},
	{"disk_background_errors_total", "Flushes and compactions of the state that failed; each is tried again.", nil, prometheus.CounterValue},
	{"memory_limit_bytes", "What this process keeps its memory to (GOMEMLIMIT, or nine tenths of its cgroup's limit); 0 for no limit.", nil, prometheus.GaugeValue},
	{"memory_live_bytes", "Memory that a garbage collection would not free.", nil, prometheus.GaugeValue},
	{"memory_bound_bytes", "What the cache of decoded entities, and the records fetched ahead, may take now.", []string{"of"}, prometheus.GaugeValue},
	{"memory_shrinks_total", "How often those bounds were lowered because memory was tight.", nil, prometheus.CounterValue},
}

// Describe implements [prometheus.Collector].
func (m *machine) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *machine) Collect(ch chan<- prometheus.Metric) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.store == nil {
		return
	}
	s, waiting, limit := m.store.Metrics(), 0.0, float64(m.limit)
	if m.store.Waiting() != "" {
		waiting = 1
	}
	if m.limit == noLimit {
		limit = 0
	}
	cache, prefetch, shrinks := m.memory.bounds()
	values := []float64{waiting, float64(s.DiskWaits), float64(s.DiskReserveBytes), float64(s.DiskErrors), limit, float64(liveMemory()), float64(cache), float64(shrinks)}
	for i, v := range values {
		var labels []string
		if len(machineFigures[i].labels) > 0 {
			labels = []string{"cache"}
			ch <- prometheus.MustNewConstMetric(m.descs[i], machineFigures[i].kind, float64(prefetch), "prefetch")
		}
		ch <- prometheus.MustNewConstMetric(m.descs[i], machineFigures[i].kind, v, labels...)
	}
}
