package main

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/batch/kafka/embedded"
	"highwater/features"
	"highwater/testutil/redistest"
)

// adEvents is the benchmark's definitions: two sliding counts a user, an hourly click-through rate a campaign.
const adEvents = `
project: bench
clock: event
batch: {interval: 5s, max_records: 100000}
entities:
  user: {join_key: user_id, type: string}
  campaign: {join_key: campaign, type: string}
sources:
  ad_events:
    kafka: {topic: ad_events}
    timestamp: {field: event_time, unit: ms}
    key: user_id
    max_lateness: 30s
    fields: {user_id: string, campaign: string, event_type: string}
feature_views:
  users:
    source: ad_events
    entity: user
    features:
      views_30m: {aggregate: count, where: event_type == 'view', window: 30m, resolution: 5s}
      clicks_30m: {aggregate: count, where: event_type == 'click', window: 30m, resolution: 5s}
  campaigns:
    source: ad_events
    entity: campaign
    features:
      impressions_10m: {aggregate: count, where: event_type == 'view', window: {tumbling: 10m}}
      clicks_10m: {aggregate: count, where: event_type == 'click', window: {tumbling: 10m}}
      ctr_10m: {expression: clicks_10m / impressions_10m}
`

// adRows makes n events of about 180 bytes, 1,000 a second of event time, over users and campaigns drawn evenly.
func adRows(n, users, campaigns int) iter.Seq2[kafka.Row, error] {
	return func(yield func(kafka.Row, error) bool) {
		r := rand.New(rand.NewPCG(1, 2))
		for i := range n {
			user, campaign, kind := r.IntN(users), r.IntN(campaigns), "view"
			if i < users && users > 500_000 {
				user = i // every user comes, for the measure of memory
			}
			if r.IntN(20) == 0 {
				kind = "click"
			}
			ts := int64(1_700_000_100_000 + i)
			value := fmt.Appendf(nil, `{"user_id":"u%07d","page_id":"p%08d","ad_id":"a%05d","campaign":"c%05d","ad_type":"banner","event_type":"%s","event_time":%d,"ip_address":"1.2.3.4"}`,
				user, r.IntN(1e8), campaign*10, campaign, kind, ts)
			if !yield(kafka.Row{Key: fmt.Appendf(nil, "u%07d", user), Value: value, Time: ts * 1000}, nil) {
				return
			}
		}
	}
}

// loadedBroker starts an embedded broker that holds the events.
func loadedBroker(b *testing.B, partitions int, rows iter.Seq2[kafka.Row, error]) *embedded.Broker {
	b.Helper()
	broker, err := embedded.Start(embedded.Options{DataDir: b.TempDir(), Topics: map[string]int{"ad_events": partitions}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { broker.Close() })
	if _, err := kafka.Load(b.Context(), kafka.LoadOptions{Brokers: broker.Addrs(), Topic: "ad_events", Partitions: partitions}, rows, func(int64, int64) {}); err != nil {
		b.Fatal(err)
	}
	return broker
}

// BenchmarkEndToEnd takes 1,000,000 JSON ad events over 200,000 users and 1,000 campaigns from the embedded broker through Pebble, with synced commits, to a real redis-server on the same cores.
// Run it with make bench-e2e. HIGHWATER_PROFILE=FILE writes a CPU profile.
func BenchmarkEndToEnd(b *testing.B) {
	server := redistest.Start(b)
	n := envInt("HIGHWATER_EVENTS", 1_000_000)
	broker := loadedBroker(b, 1, adRows(n, 200_000, 1000))
	for b.Loop() {
		b.StopTimer()
		runtime.GC()
		server.Client(b).FlushAll(b.Context())
		p, err := features.Parse("bench.yaml", []byte(adEvents))
		if err != nil {
			b.Fatal(err)
		}
		p.Batch.MaxRecords = int64(envInt("HIGHWATER_BATCH", int(p.Batch.MaxRecords)))
		ctx, cancel := context.WithCancel(b.Context())
		complete := make(chan struct{})
		close(complete)
		var sum batch.Stages
		vectors, batches := int64(0), 0
		e, err := newEngine(ctx, engineOptions{project: p, kafka: kafkaFlags{Kafka: broker.Addrs()}, redis: redisFlags{Redis: []string{server.Addr}}, dataDir: b.TempDir(), cacheBytes: int64(envInt("HIGHWATER_CACHE_MIB", 128)) << 20,
			tombstoneTTL: 7 * 24 * time.Hour, metrics: batch.NewMetrics(prometheus.NewRegistry()), log: slog.New(slog.DiscardHandler), complete: complete, onDrained: cancel,
			onBatch: func(s batch.Stats) {
				vectors, batches = vectors+s.Vectors, batches+1
				sum.Plan, sum.Read, sum.Transform, sum.Publish, sum.Commit = sum.Plan+s.Stages.Plan, sum.Read+s.Stages.Read, sum.Transform+s.Stages.Transform, sum.Publish+s.Stages.Publish, sum.Commit+s.Stages.Commit
			}})
		if err != nil {
			b.Fatal(err)
		}
		if file := os.Getenv("HIGHWATER_PROFILE"); file != "" {
			f, err := os.Create(file)
			if err != nil {
				b.Fatal(err)
			}
			if err := pprof.StartCPUProfile(f); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		start, cpu := time.Now(), cpuSeconds()
		redisCPU := redisCPUSeconds(b, server)
		if err := e.Run(ctx); err != nil {
			b.Fatal(err)
		}
		took := time.Since(start)
		b.StopTimer()
		pprof.StopCPUProfile()
		position, _, _ := e.task.Position()
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
		if position.Counters.Events != int64(n) {
			b.Fatalf("%d events were counted, want %d", position.Counters.Events, n)
		}
		b.ReportMetric(float64(n)/took.Seconds(), "events/s")
		b.ReportMetric(cpuSeconds()-cpu, "cpu-s")
		b.ReportMetric(redisCPUSeconds(b, server)-redisCPU, "redis-cpu-s")
		b.ReportMetric(float64(vectors)/took.Seconds(), "vectors/s")
		for name, d := range map[string]time.Duration{"plan": sum.Plan, "read": sum.Read, "transform": sum.Transform, "publish": sum.Publish, "commit": sum.Commit} {
			b.ReportMetric(d.Seconds(), name+"-s")
		}
		b.Logf("%d events became %d vectors in %d batches in %.2f s: %.0f events/s", n, vectors, batches, took.Seconds(), float64(n)/took.Seconds())
		b.StartTimer()
	}
}

// redisCPUSeconds returns the processor time that a Redis has used.
func redisCPUSeconds(b *testing.B, server *redistest.Server) float64 {
	info, err := server.Client(b).InfoMap(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	total := 0.0
	for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
		seconds, err := strconv.ParseFloat(info["CPU"][name], 64)
		if err != nil {
			b.Fatal(err)
		}
		total += seconds
	}
	return total
}

func envInt(name string, value int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return value
}

// BenchmarkMemory runs a worker process over 2,000,000 events of 1,000,000 users, and reports the most memory that it had resident.
func BenchmarkMemory(b *testing.B) {
	server := redistest.Start(b)
	broker := loadedBroker(b, 1, adRows(2_000_000, 1_000_000, 1000))
	dir := b.TempDir()
	binary, definitions := filepath.Join(dir, "highwater"), filepath.Join(dir, "bench.yaml")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	if err := os.WriteFile(definitions, []byte(adEvents), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		server.Client(b).FlushAll(b.Context())
		cmd := exec.Command(binary, "dev", "--definitions", definitions, "--kafka", strings.Join(broker.Addrs(), ","), "--redis", server.Addr, "--data-dir", b.TempDir(), "--addr", "127.0.0.1:0", "--exit-when-drained", "--json")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(maxResident(cmd))/(1<<20), "peak-MiB")
		b.Logf("%s", out)
	}
}
