package batch_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
)

// house is a world whose directory is a real one, on a disk whose power is cut, in copies: before and after every call to the store, and before every write to the disk.
type house struct {
	*world
	disk *vfs.MemFS

	cutting sync.Mutex // guards what follows
	on      bool
	cuts    []*house
	at      string // what came next when the power was cut

	kept map[string]string // what the directory holds, once the house was lived in
}

// open opens the real directory.
func (h *house) open(fs vfs.FS) (*state.Store, error) {
	return state.Open("data", h.project, state.Options{FS: fs, NewMeaning: true, MemTableBytes: 256 << 10, BlockCacheBytes: 1 << 20, CacheBytes: 1 << 20})
}

// leave closes the real directory, and remembers what it holds: the position, the entities, the timers.
func (h *house) leave(t *testing.T, s *state.Store) {
	t.Helper()
	h.kept = map[string]string{}
	err := s.Dump(func(key, value []byte) error {
		h.kept[string(key)] = string(value)
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

// write begins the names of cuts before a write to the disk.
const write = "a write to "

// cut takes a copy: the disk without anything that was not synced, and the store as it is. The caller holds the world's lock, so that the store stands still.
func (h *house) cut(at string) {
	h.cutting.Lock()
	defer h.cutting.Unlock()
	if h.on {
		h.cuts = append(h.cuts, &house{world: h.copyWorld(), disk: h.disk.CrashClone(vfs.CrashCloneCfg{}), at: at})
	}
}

// live runs a process in the house until everything is committed, and a little longer for what goes on in the background. What is in the directory then is put down in the world.
func (h *house) live(t *testing.T, metrics *batch.Metrics, configure func(*world, *batch.Options)) {
	t.Helper()
	fs := errorfs.Wrap(h.disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			h.world.mu.Lock()
			defer h.world.mu.Unlock()
			h.cut(write + op.Path)
		}
		return nil
	}))
	h.fail = func(call string) error {
		h.cut(call)
		return nil
	}
	s, err := h.open(fs)
	if err != nil {
		t.Fatalf("after a power cut before %s: open: %v", h.at, err)
	}
	h.world.mu.Lock() // Pebble writes already
	if at, found := s.Position(); found {
		h.position = &at
		if len(h.raised) < int(at.Version.Generation)-1 { // the power was cut before the raise was put down
			h.raised = []raised{{at, false}}
		}
	}
	h.world.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = h.runUntil(ctx, func(o *batch.Options) {
		o.OnDrained = func() { time.AfterFunc(time.Second, cancel) }
		o.State, o.Plans, o.Rebind, o.Metrics = raising{s, h.world}, s.Plans(), s.Rebind, metrics
		if configure != nil {
			configure(h.world, o)
		}
	})
	if err != nil {
		t.Fatalf("after a power cut before %s: %v", h.at, err)
	}
	h.cutting.Lock()
	h.on = false
	h.cutting.Unlock()
	at, _ := s.Position()
	plans, err := s.Plans().After(t.Context(), features.Version{})
	if err != nil {
		t.Fatal(err)
	}
	id := s.Plans().ID()
	h.leave(t, s)
	h.position, h.logID, h.plans = &at, id, plans
}

// raising keeps what generations were begun.
type raising struct {
	*state.Store
	world *world
}

func (r raising) Raise(ctx context.Context, p batch.Position, empty bool) error {
	err := r.Store.Raise(ctx, p, empty)
	if err == nil {
		r.world.mu.Lock()
		defer r.world.mu.Unlock()
		r.world.raised = append(r.world.raised, raised{p, empty})
	}
	return err
}

// Whatever the disk has not synced is lost at any moment, on a real directory: the next start ends at the oracle's values, and with the bytes of a clean execution of the recorded plans.
func TestCrash_WithAPowerCutAtEveryWrite(t *testing.T) {
	played := []struct {
		name       string
		configure  func(*world, *batch.Options)
		generation uint32 // that it ends in
	}{
		{"a log", nil, 1},
		{"a reset from here", func(w *world, o *batch.Options) {
			if w.position.Version.Generation == 1 {
				o.Reset = &batch.Reset{From: batch.FromHere}
			}
		}, 2},
	}
	for _, clock := range []features.Clock{features.EventClock, features.WallClock} {
		for _, s := range played {
			t.Run(fmt.Sprintf("%s, clock %s", s.name, clock), func(t *testing.T) {
				t.Parallel()
				e := newExplorer(t, clock, 8, scenario{configure: s.configure})
				h := &house{world: e.world(0), disk: vfs.NewCrashableMem()}
				synctest.Test(t, func(t *testing.T) {
					if s.generation > 1 {
						for i := range h.avail {
							h.avail[i] /= 2
						}
						h.live(t, e.metrics, nil)
						e.rest(h.world)
					}
					h.on = true
					h.live(t, e.metrics, e.configure)
				})
				for _, c := range append(h.cuts, h) {
					if c != h {
						synctest.Test(t, func(t *testing.T) {
							time.Sleep(time.Minute) // of the bubble
							c.live(t, e.metrics, e.configure)
						})
					}
					e.checkHouse(t, c, s.generation)
				}
				writes := 0
				for _, c := range h.cuts {
					if strings.HasPrefix(c.at, write) {
						writes++
					}
				}
				t.Logf("%d power cuts, %d of them before a write to the disk", len(h.cuts), writes)
				if writes < 20 || len(h.cuts)-writes < 15 {
					t.Error("that is too few")
				}
			})
		}
	}
}

func (e *explorer) checkHouse(t *testing.T, h *house, generation uint32) {
	t.Helper()
	w := h.world
	checkForward(t, w)
	checkGeneration(t, w, generation)
	checkStore(t, w, expect(w.project, e.events, w.position.Frontier, w.position.Watermark))
	vectors := func(bytes map[string]string) map[string]string {
		bytes = maps.Clone(bytes)
		maps.DeleteFunc(bytes, func(k, _ string) bool { return !strings.HasPrefix(k, "stored") && k != "position" }) // the rest is in the real directory
		return bytes
	}
	if got, want := vectors(bytesOf(w)), vectors(e.cleanly(t, w)); !maps.Equal(got, want) {
		t.Errorf("the bytes differ from a clean execution of the recorded plans: %s", difference(got, want))
	}
	if len(h.kept) <= len(w.stored) { // the position, and an entity for every vector
		t.Errorf("the directory holds only %d keys", len(h.kept))
	}
	if want := e.cleanHouse(t, w); !maps.Equal(h.kept, want) {
		t.Errorf("the directory differs from a clean execution of the recorded plans: %s", difference(h.kept, want))
	}
	if t.Failed() {
		t.Fatalf("after a power cut before %s", h.at)
	}
}

// cleanHouse is cleanly in a real directory, and returns what that holds.
func (e *explorer) cleanHouse(t *testing.T, w *world) map[string]string {
	t.Helper()
	key := "house " + historyOf(w)
	if clean, done := e.clean[key]; done {
		return clean
	}
	c := &house{world: newWorld(w.project, w.log), disk: vfs.NewCrashableMem()}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(10 * time.Minute) // of the bubble: no reading is ahead
		s, err := c.open(c.disk)
		if err != nil {
			t.Fatal(err)
		}
		execute := func(plans []*batch.Plan) {
			for _, p := range plans {
				if _, err := s.Plans().Append(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			c.execute(t, func(o *batch.Options) { o.State, o.Plans, o.Rebind = s, s.Plans(), s.Rebind })
		}
		from := features.Version{}
		for _, r := range w.raised {
			execute(w.plansBetween(from, r.position.Opening.Parent))
			if err := s.Raise(t.Context(), r.position, r.empty); err != nil {
				t.Fatal(err)
			}
			from = r.position.Version
		}
		execute(w.plansBetween(from, features.Version{Generation: 1 << 30}))
		c.leave(t, s)
	})
	e.clean[key] = c.kept
	return c.kept
}
