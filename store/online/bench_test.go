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

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// BenchmarkUpsert publishes 20,000 vectors of about 110 bytes again and again, each time under the next version, and measures beside it, turn by turn, raw pipelined SET of the same keys
// and values, ready-made, over as many connections and as many keys a round trip. It prints keys a second of both, and the ratio, for the median turn of each and for the best. HIGHWATER_REDIS is the host:port of a Redis that may be written to.
func BenchmarkUpsert(b *testing.B) {
	addr := os.Getenv("HIGHWATER_REDIS")
	if addr == "" {
		b.Skip("SKIPPED: set HIGHWATER_REDIS to the host:port of a real Redis")
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
	rawSet(b, client, keys, values)

	var upsert, raw []time.Duration
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
		start = time.Now()
		rawSet(b, client, keys, values)
		raw = append(raw, time.Since(start))
		b.StartTimer()
	}
	slices.Sort(upsert)
	slices.Sort(raw)
	report := func(name string, i int) {
		u, r := upsert[i].Seconds(), raw[i].Seconds()
		b.ReportMetric(entities/u, name+"-upserts/s")
		b.ReportMetric(entities/r, name+"-raw-sets/s")
		b.ReportMetric(r/u, name+"-ratio")
	}
	report("median", len(upsert)/2)
	report("best", 0) // what the machine can do while nothing else runs on it
}

// rawSet sets keys as fast as go-redis does it in the plainest way.
func rawSet(b *testing.B, client *redis.Client, keys, values []string) {
	const connections, each = 2, 2000
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
}
