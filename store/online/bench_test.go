package online_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/store/online"
	"highwater/testutil/redistest"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// BenchmarkUpsert publishes 20,000 vectors of about 110 bytes again and again, each time under the next version, and measures beside it, turn by turn, raw pipelined SET of the same keys
// and values, ready-made: over as many connections and with as many keys a round trip as Publish (raw), and over one connection with 500 a round trip, as in design.md's figures (plain).
// It prints keys a second of the best turn of each (what the machine can do while nothing else runs on it), and the ratios of the best turns and of the medians.
// It starts a redis-server of its own, where HIGHWATER_INTEGRATION=1; HIGHWATER_REDIS is the host:port of another one that may be written to.
func BenchmarkUpsert(b *testing.B) {
	addr := os.Getenv("HIGHWATER_REDIS")
	if addr == "" {
		addr = redistest.Start(b).Addr
	}
	const entities = 20_000
	o := online.Options{Project: "bench", Addrs: []string{addr}}
	s := openStore(b, o)
	client := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	defer client.Close()
	defer client.FlushDB(b.Context())

	view := clicks()
	vectors := make([]features.Vector, entities)
	for i := range vectors {
		vectors[i] = live(view, fmt.Sprint("user", i), version(1, 1), 0)
	}
	keys, values := make([]string, entities), make([]string, entities)
	for i, v := range vectors {
		keys[i] = "raw" + keyOf(o, v)[len("raw"):] // the same length, and not ours
		values[i] = stored(b, o, v)[keyOf(o, v)]
	}
	if _, err := s.Publish(b.Context(), output(vectors...)); err != nil {
		b.Fatal(err)
	}
	rawSet(b, client, keys, values, 2, 2000)

	var upsert, raw, plain []time.Duration
	sequence := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		sequence++
		for i := range vectors {
			vectors[i].Version.Sequence = sequence
		}
		start := time.Now()
		got, err := s.Publish(b.Context(), &batch.Output{Clock: time.Now().UnixMicro(), Vectors: vectors})
		upsert = append(upsert, time.Since(start))
		if err != nil || got.Written != entities {
			b.Fatalf("%+v, %v", got, err)
		}
		b.StopTimer()
		raw = append(raw, rawSet(b, client, keys, values, 2, 2000))
		plain = append(plain, rawSet(b, client, keys, values, 1, 500))
		b.StartTimer()
	}
	for _, turns := range [][]time.Duration{upsert, raw, plain} {
		slices.Sort(turns)
	}
	middle := len(upsert) / 2
	b.ReportMetric(entities/upsert[0].Seconds(), "upserts/s")
	b.ReportMetric(entities/raw[0].Seconds(), "raw/s")
	b.ReportMetric(entities/plain[0].Seconds(), "plain/s")
	b.ReportMetric(raw[0].Seconds()/upsert[0].Seconds(), "best-of-raw")
	b.ReportMetric(plain[0].Seconds()/upsert[0].Seconds(), "best-of-plain")
	b.ReportMetric(raw[middle].Seconds()/upsert[middle].Seconds(), "median-of-raw")
	b.ReportMetric(plain[middle].Seconds()/upsert[middle].Seconds(), "median-of-plain")
}

// rawSet sets keys with go-redis, in pipelines of each, over that many connections, and returns how long it took.
func rawSet(b *testing.B, client *redis.Client, keys, values []string, connections, each int) time.Duration {
	start := time.Now()
	var g errgroup.Group
	for c := range connections {
		g.Go(func() error {
			for start := c * each; start < len(keys); start += connections * each {
				pipe := client.Pipeline()
				for i := start; i < min(start+each, len(keys)); i++ {
					pipe.Set(b.Context(), keys[i], values[i], 0)
				}
				if _, err := pipe.Exec(b.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
