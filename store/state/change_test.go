package state_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

func TestCache_KeepsItsBound(t *testing.T) {
	const limit, chunk = 64 << 10, 50
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p, func(o *state.Options) { o.CacheBytes = limit })
	all := names(1000)
	for sequence := uint64(1); sequence <= 3; sequence++ {
		c := s.Begin()
		for texts := range slices.Chunk(all, chunk) {
			if err := upsert(c, 0, texts, func(e *batch.Entity) { click(p, e, start+int64(sequence)*second, 1) }); err != nil {
				t.Fatal(err)
			}
			if m := s.Metrics(); m.CacheBytes > limit {
				t.Fatalf("in batch %d the cache holds %d entities of %d bytes, bound %d", sequence, m.CacheEntities, m.CacheBytes, limit)
			}
		}
		if err := c.Commit(context.Background(), at(sequence)); err != nil {
			t.Fatal(err)
		}
		if m := s.Metrics(); m.CacheBytes > limit || m.CacheEntities < 10 {
			t.Fatalf("after batch %d the cache holds %d entities of %d bytes, bound %d", sequence, m.CacheEntities, m.CacheBytes, limit)
		}
	}
	for text, e := range entitiesOf(t, s, 0) {
		if got := p.Views[0].Machine.Values(e.Windows, start+3*second, windows.NoTime, nil)[1].Int(); got != 3 {
			t.Fatalf("entity %s counts %d, want 3", text, got)
		}
	}
}

func TestCache_KeepsWhatIsUsedAgain(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p, func(o *state.Options) { o.CacheBytes = 100 << 10 })
	hot, cold := names(50), names(2000)[50:]
	for sequence := uint64(1); len(cold) > 0; sequence++ {
		before := s.Metrics().CacheHits
		c := s.Begin()
		if err := upsert(c, 0, slices.Clone(hot), func(*batch.Entity) {}); err != nil {
			t.Fatal(err)
		}
		if hits := s.Metrics().CacheHits - before; sequence > 2 && hits < int64(len(hot))*9/10 {
			t.Fatalf("batch %d found %d of %d hot entities in memory", sequence, hits, len(hot))
		}
		n := min(50, len(cold)) // together with the hot ones they fill much of the cache
		if err := errors.Join(upsert(c, 0, cold[:n], func(*batch.Entity) {}), c.Commit(context.Background(), at(sequence))); err != nil {
			t.Fatal(err)
		}
		cold = cold[n:]
	}
}

// TestLoad_FromMemoryAndFromDiskAlike compares a cached entity with the same read back.
func TestLoad_FromMemoryAndFromDiskAlike(t *testing.T) {
	fs := vfs.NewMem()
	p := users(t)
	s := mustOpen(t, fs, p)
	commit(t, s, p, 1, "u1", "u2", "u3")
	value := func(s *state.Store) []string {
		c := s.Begin()
		defer c.Discard()
		var all []string
		if err := upsert(c, 0, []string{"u0", "u1", "u2", "u3", "u4"}, func(e *batch.Entity) {
			all = append(all, e.Text, string(p.Views[0].Machine.Append(nil, e.Windows)), e.Published.Version.String())
		}); err != nil {
			t.Fatal(err)
		}
		return all
	}
	cached := value(s)
	if s.Metrics().CacheHits != 3 {
		t.Errorf("%d entities were found in memory, want 3", s.Metrics().CacheHits)
	}
	mustClose(t, s)
	if read := value(mustOpen(t, fs, p)); !slices.Equal(cached, read) {
		t.Errorf("from memory %q, from disk %q", cached, read)
	}
}

func TestChange_Misuse(t *testing.T) {
	p := project("two", view(t, "users", clicks), view(t, "zones", recent))
	s := mustOpen(t, vfs.NewMem(), p)
	c := s.Begin()
	lent, err := c.Load(0, []string{"b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin().Load(0, []string{"x"}); err == nil {
		t.Error("a second change beside an open one: no error")
	}
	if err := c.Put(&batch.Entity{Text: "b"}); err == nil {
		t.Error("an entity that was not lent is put: no error")
	}
	if err := errors.Join(c.Put(lent[1]), c.Put(lent[0]), c.Delete(lent[1]), c.Put(lent[0])); err != nil {
		t.Errorf("entities put in any order, and twice: %v", err)
	}
	for _, texts := range [][]string{{"c"}, {"a"}, {"e", "d"}, {""}} {
		if _, err := c.Load(0, texts); err == nil {
			t.Errorf("texts %q after %q: no error", texts, "c")
		}
	}
	if err := c.Put(lent[0]); err == nil {
		t.Error("an entity is put after the next Load: no error")
	}
	if _, err := c.Load(2, []string{"a"}); err == nil {
		t.Error("a view that is not there: no error")
	}
	if _, err := c.Load(1, []string{"a"}); err != nil {
		t.Errorf("a lesser text of another view: %v", err)
	}
	if err := c.Commit(context.Background(), at(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Load(0, []string{"z"}); err == nil {
		t.Error("a load after the commit: no error")
	}
	if err := c.Commit(context.Background(), at(2)); err == nil {
		t.Error("a second commit: no error")
	}
	if found := entitiesOf(t, s, 0); len(found) != 1 || found["b"].Text != "b" {
		t.Errorf("entities %v, want b alone", found)
	}
}

func TestCommit_EndedContextChangesNothing(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p)
	commit(t, s, p, 1, "u1")
	before := dump(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := s.Begin()
	if err := upsert(c, 0, []string{"u1", "u2"}, func(e *batch.Entity) { click(p, e, start, 1) }); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(ctx, at(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	if after := dump(t, s); !slices.Equal(before, after) {
		t.Errorf("the state was %q, is %q", before, after)
	}
	commit(t, s, p, 2, "u1")
}

// TestScan_BesideBatches runs what a status page and a republish do while batches commit.
func TestScan_BesideBatches(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p, func(o *state.Options) { o.CacheBytes = 8 << 10 })
	texts := names(200)
	commit(t, s, p, 1, texts...)
	done, scanned := make(chan struct{}), make(chan error)
	go func() {
		for {
			var versions []features.Version
			err := s.Scan(context.Background(), 0, "", func(e *batch.Entity) error {
				versions = append(versions, e.Published.Version)
				return nil
			})
			if n := len(versions); err == nil && (n != len(texts) || len(slices.Compact(versions)) != 1) {
				err = errors.New("a scan saw a commit by half")
			}
			s.Metrics()
			s.Position()
			select {
			case <-done:
				scanned <- err
				return
			default:
				if err != nil {
					scanned <- err
					return
				}
			}
		}
	}()
	for n := uint64(2); n < 40; n++ {
		mustAppend(t, s, planOf(p, n))
		commit(t, s, p, n, texts...)
	}
	close(done)
	if err := <-scanned; err != nil {
		t.Error(err)
	}
}

func TestScan_EndsWithItsContext(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p)
	commit(t, s, p, 1, names(10)...)
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	err := s.Scan(ctx, 0, "", func(*batch.Entity) error {
		if n++; n == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n != 3 {
		t.Errorf("scan went on for %d entities: %v", n, err)
	}
	mine := errors.New("mine")
	if err := s.Scan(context.Background(), 0, "", func(*batch.Entity) error { return mine }); err != mine {
		t.Errorf("scan returns %v", err)
	}
	if err := s.Due(batch.ByFrontier, windows.Never, func(int, string) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("due returns %v", err)
	}
}
