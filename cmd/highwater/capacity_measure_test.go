package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"highwater/testutil/redistest"
)

// clicksAndVisits is a project with a source in JSON, and one in CSV whose records have no time but their own.
const clicksAndVisits = `
project: shop
batch: {interval: 2s, max_records: 5000}
entities:
  user: {join_key: user, type: string}
sources:
  clicks:
    kafka: {topic: clicks}
    timestamp: {field: at, unit: rfc3339}
    key: user
    fields: {user: string, price: double}
  visits:
    kafka: {topic: visits}
    format: csv
    key: user
    fields: {user: string}
feature_views:
  spending:
    source: clicks
    entity: user
    ttl: 1h
    features:
      spent_10m: {aggregate: sum, of: price, window: 10m}
      hourly: {aggregate: count, window: {tumbling: 1h}}
  visiting:
    source: visits
    entity: user
    features:
      visits: {aggregate: count}
`

// writeShop writes the definitions of clicksAndVisits with 3,000 clicks over an hour and 1,000 visits of 100 users, and returns the flags that name them.
func writeShop(t *testing.T) []string {
	t.Helper()
	clicks, visits := &bytes.Buffer{}, bytes.NewBufferString("user\n")
	for i := range 3000 {
		fmt.Fprintf(clicks, `{"user":"u%d","price":%d.5,"at":"2024-05-06T07:%02d:%02d.%03dZ"}`+"\n", i%100, i%7, i/50%60, i%50, i%1000)
		if i%3 == 0 {
			fmt.Fprintf(visits, "u%d\n", i%100)
		}
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"shop.yaml": clicksAndVisits, "clicks.jsonl": clicks.String(), "visits.csv": visits.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--definitions", filepath.Join(dir, "shop.yaml"), "--events", "clicks=" + filepath.Join(dir, "clicks.jsonl"), "--events", "visits=" + filepath.Join(dir, "visits.csv")}
}

// measured runs a short measurement and returns its JSON.
func measured(t *testing.T, args ...string) (report struct {
	Measured bool  `json:"worker_speed_measured"`
	Speed    int64 `json:"worker_speed"`
	Load     *struct {
		Bare struct{ Workers int64 } `json:"without_headroom"`
	}
	Measurement measurement
	Notes       []string
}) {
	t.Helper()
	var out, errOut bytes.Buffer
	args = append([]string{"capacity", "--measure", "--measure-for", "100ms", "--json"}, args...)
	if code := run(t.Context(), args, &out, &errOut); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &errOut)
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	return report
}

// TestMeasure_TwoSources: both sources' events are repeated, in time, and mixed as in the sample; nothing is left behind.
func TestMeasure_TwoSources(t *testing.T) {
	dir := t.TempDir()
	r := measured(t, append(writeShop(t), "--data-dir", dir, "--rate", "1k", "--batch-max-records", "400")...)
	m := r.Measurement
	if !r.Measured || r.Speed <= 0 || r.Speed != m.Speed || r.Load == nil || r.Load.Bare.Workers < 1 {
		t.Errorf("%+v", r)
	}
	if m.SampleEvents != 4000 || m.BatchEvents != 400 || m.Batches < leastBatches-1 || m.Events != int64(m.Batches)*400 || m.Slowest > m.Speed || m.Speed > m.Fastest {
		t.Errorf("%+v", m)
	}
	if m.Late != 0 || m.DeadLetters != 0 {
		t.Errorf("%d events were late and %d dead letters, though the sample has none", m.Late, m.DeadLetters)
	}
	if m.Entities != 200 || m.StateBytes <= 0 || m.VectorBytes <= 0 || m.VectorsPerEvent <= 0 || !m.EmbeddedRedis {
		t.Errorf("%+v", m)
	}
	if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "The embedded Redis is many times slower") }) {
		t.Errorf("notes %q", r.Notes)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left in the data directory", left, err)
	}
}

// TestMeasure_LeavesAGivenRedisAsItWas, also when it is stopped half way.
func TestMeasure_LeavesAGivenRedisAsItWas(t *testing.T) {
	m := redistest.Embedded(t, nil)
	leavesRedisAsItWas(t, m.Addr(), func() []string { return m.Keys() }, func(key string) { _ = m.Set(key, "1") })
}

// TestReal_MeasureLeavesRedisAsItWas is the same with a real one, whose memory is measured, too.
func TestReal_MeasureLeavesRedisAsItWas(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client(t)
	leavesRedisAsItWas(t, s.Addr, func() []string { return c.Keys(t.Context(), "*").Val() }, func(key string) { c.Set(t.Context(), key, "1", 0) })
	if r := measured(t, "--example", "ads", "--redis", s.Addr, "--batch-max-records", "500"); r.Measurement.VectorMemoryBytes < r.Measurement.VectorBytes {
		t.Errorf("a vector of %.0f bytes takes %.0f of Redis's memory", r.Measurement.VectorBytes, r.Measurement.VectorMemoryBytes)
	}
}

func leavesRedisAsItWas(t *testing.T, addr string, keys func() []string, set func(key string)) {
	t.Helper()
	before := []string{"ads:catalogue", "ads_capacity", "other"}
	for _, key := range before {
		set(key)
	}
	args := []string{"--example", "ads", "--redis", addr, "--batch-max-records", "500"}
	if r := measured(t, args...); r.Measurement.EmbeddedRedis {
		t.Error("it was measured with the embedded Redis")
	}
	left := func(when string) {
		if have := slices.Sorted(slices.Values(keys())); !slices.Equal(have, before) {
			t.Errorf("%s there are %d keys, such as %q, want %q", when, len(have), have[:min(5, len(have))], before)
		}
	}
	left("after a measurement")

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // stops it once vectors are there
		defer close(done)
		defer stop()
		for look := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil && len(keys()) < len(before)+10; {
			select {
			case <-ctx.Done():
			case <-look.C:
			}
		}
	}()
	var errOut bytes.Buffer
	code := run(ctx, append([]string{"capacity", "--measure", "--measure-for", "1h"}, args...), io.Discard, &errOut)
	stop()
	<-done
	if code != exitFailed || !strings.Contains(errOut.String(), "stopped before the measurement was done") {
		t.Errorf("exit code %d: %s", code, &errOut)
	}
	left("after one that was stopped")
}
