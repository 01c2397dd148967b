package online_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/store/online"

	"github.com/redis/go-redis/v9"
)

// fill writes n vectors, the task key and the catalogue of a project.
func fill(t *testing.T, s *online.Store, n int) {
	t.Helper()
	out := &batch.Output{Version: version(1, 1), Clock: time.Now().UnixMicro()}
	for i := range n {
		out.Vectors = append(out.Vectors, live(visits(), fmt.Sprintf("u%04d", i), out.Version, 1))
	}
	if err := s.WriteCatalogue(t.Context(), features.Catalogue{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Publish(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	if err := s.Beat(t.Context(), batch.Heartbeat{Time: 1}); err != nil {
		t.Fatal(err)
	}
}

// testErase: everything of the project goes, and nothing of one whose name begins with its.
func testErase(t *testing.T, w *world) {
	o := w.project()
	neighbour := o
	neighbour.Project += "_capacity"
	s, beside := openStore(t, o), openStore(t, neighbour)
	fill(t, s, 3000)
	fill(t, beside, 2)
	if err := s.Erase(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := keysOf(t, w, o.Project); len(left) > 0 {
		t.Errorf("%d keys are left: %.5q", len(left), left)
	}
	if left := keysOf(t, w, neighbour.Project); len(left) < 3 {
		t.Errorf("of the neighbour's keys only %q are left", left)
	}
}

// testFootprint: vectors are weighed, and other keys are not.
func testFootprint(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	if f, err := s.Footprint(t.Context()); err != nil || f != (online.Footprint{}) {
		t.Fatalf("an empty project weighs %+v, %v", f, err)
	}
	fill(t, s, 200)
	f, err := s.Footprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := int64(0)
	for _, key := range keysOf(t, w, o.Project) {
		if strings.Contains(key, "{visits:") {
			want += int64(len(key)) + w.client.StrLen(t.Context(), key).Val()
		}
	}
	if f.Vectors != 200 || f.Bytes != want {
		t.Errorf("%d vectors of %d bytes, want 200 of %d", f.Vectors, f.Bytes, want)
	}
	if f.MemoryBytes != 0 && f.MemoryBytes < f.Bytes {
		t.Errorf("%d bytes take %d of the server's memory", f.Bytes, f.MemoryBytes)
	}
}

// keysOf returns the keys of one project, on whichever server they lie.
func keysOf(t *testing.T, w *world, project string) (found []string) {
	t.Helper()
	var mu sync.Mutex
	look := func(ctx context.Context, c *redis.Client) error {
		page, err := c.Keys(ctx, project+":*").Result()
		mu.Lock()
		defer mu.Unlock()
		found = append(found, page...)
		return err
	}
	var err error
	switch c := w.client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(t.Context(), look)
	case *redis.Client:
		err = look(t.Context(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// testVectors: all vectors of a project are read as they lie there, and nothing of one whose name begins with its; a project without a key is empty.
func testVectors(t *testing.T, w *world) {
	o := w.project()
	neighbour := o
	neighbour.Project += "_drill"
	s, beside := openStore(t, o), openStore(t, neighbour)
	fill(t, beside, 2)
	if empty, err := s.Empty(t.Context()); err != nil || !empty {
		t.Errorf("a project without a key is empty: %v, %v", empty, err)
	}
	fill(t, s, 3000)
	vectors, err := s.Vectors(t.Context())
	if err != nil || len(vectors) != 3000 {
		t.Fatalf("%d vectors, %v; want 3000", len(vectors), err)
	}
	for _, key := range keysOf(t, w, neighbour.Project) {
		if _, there := vectors[key]; there {
			t.Errorf("the neighbour's key %q is among them", key)
		}
	}
	if empty, err := s.Empty(t.Context()); err != nil || empty {
		t.Errorf("a project of 3,000 vectors is empty: %v, %v", empty, err)
	}
}
