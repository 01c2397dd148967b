package state_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
	"syscall"
	"runtime"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

const (
	tuneEntities = 1_000_000
	tuneBatch    = 100_000
	tuneChunk    = 2048
)

// BenchmarkTune reads, changes and writes 100,000 of 1,000,000 entities, on the disk, a batch an iteration: a sliding count each, its timer moved. Cold, every entity is read from Pebble; hot, all are in memory.
func BenchmarkTune(b *testing.B) {
	for _, bc := range []struct {
		name  string
		cache int64
		among int // how many entities the batches draw from
	}{
		{"cold", 1, tuneEntities},
		{"hot", 4 << 30, tuneEntities},
		{"hot, of 100,000", 4 << 30, tuneBatch},
	} {
		b.Run(bc.name, func(b *testing.B) { benchmarkTune(b, bc.cache, bc.among) })
	}
}

func benchmarkTune(b *testing.B, cacheBytes int64, among int) {
	p := project("bench", view(b, "users", clicks))
	s, err := state.Open(b.TempDir(), p, state.Options{CacheBytes: cacheBytes})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	texts, sequence := names(tuneEntities), uint64(0)
	var load, put, sync time.Duration
	turn := func(texts []string) {
		sequence++
		l, p, c, err := tuneTurn(s, p, sequence, texts)
		if err != nil {
			b.Fatal(err)
		}
		load, put, sync = load+l, put+p, sync+c
	}
	for chunk := range slices.Chunk(texts, tuneBatch) {
		turn(chunk)
	}
	rng := seeded(1)
	draw := func() []string {
		some := make([]string, 0, tuneBatch)
		for _, i := range rng.Perm(among)[:tuneBatch] {
			some = append(some, texts[i])
		}
		slices.Sort(some)
		return some
	}
	for range 2 {
		turn(draw())
	}
	load, put, sync = 0, 0, 0
	runtime.LockOSThread()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		some := draw()
		b.StartTimer()
		turn(some)
	}
	n := float64(b.N)
	b.ReportMetric(n*tuneBatch/(load+put+sync).Seconds(), "entities/s")
	b.ReportMetric(float64(load.Milliseconds())/n, "load-ms")
	b.ReportMetric(float64(put.Milliseconds())/n, "put-ms")
	b.ReportMetric(float64(sync.Milliseconds())/n, "commit-ms")
	m := s.Metrics()
	b.ReportMetric(float64(m.CacheBytes)/float64(max(1, m.CacheEntities)), "cache-B/entity")
}

func tuneTurn(s *state.Store, p *features.Project, sequence uint64, texts []string) (load, put, sync time.Duration, err error) {
	c, pos := s.Begin(), at(sequence)
	defer c.Discard()
	m := p.Views[0].Machine
	ev := windows.Event{Time: pos.Frontier, Takes: []uint64{1}}
	for chunk := range slices.Chunk(texts, tuneChunk) {
		began := cpuNow()
		entities, err := c.Load(0, chunk)
		load += cpuNow()-began
		if err != nil {
			return 0, 0, 0, err
		}
		for _, e := range entities {
			m.Apply(e.Windows, &ev, windows.NoTime, nil)
			e.Published = batch.Published{Version: pos.Version, Frontier: pos.Frontier, Watermark: pos.Watermark, Schema: p.Views[0].Schema.ID}
			e.Timers[batch.ByFrontier] = pos.Frontier + 30*minute
		}
		began = cpuNow()
		for _, e := range entities {
			err = errors.Join(err, c.Put(e))
		}
		put += cpuNow()-began
		if err != nil {
			return 0, 0, 0, err
		}
	}
	began := cpuNow()
	err = c.Commit(context.Background(), pos)
	return load, put, cpuNow()-began, err
}

// BenchmarkTuneDue finds the timers of 1,000 among 100,000 entities, after their timers have moved many times.
func BenchmarkTuneDue(b *testing.B) {
	p := project("bench", view(b, "users", clicks))
	s, err := state.Open(b.TempDir(), p, state.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	texts := names(100_000)
	for sequence := range uint64(20) {
		if _, _, _, err := tuneTurn(s, p, sequence+1, texts); err != nil {
			b.Fatal(err)
		}
	}
	if _, _, _, err := tuneTurn(s, p, 1, texts[:1000]); err != nil { // 1,000 of them due before the others
		b.Fatal(err)
	}
	runtime.LockOSThread()
	b.ResetTimer()
	for range b.N {
		n := 0
		err := s.Due(batch.ByFrontier, at(1).Frontier+30*minute, func(int, string) error { n++; return nil })
		if err != nil || n != 1000 {
			b.Fatal(fmt.Errorf("%d due: %w", n, err))
		}
	}
}

func cpuNow() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(1, &r)
	return time.Duration(r.Utime.Nano()+r.Stime.Nano())
}
