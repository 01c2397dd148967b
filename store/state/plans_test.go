package state_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
)

// planOf is the plan of batch sequence, which at(sequence) follows.
func planOf(p *features.Project, sequence uint64) *batch.Plan {
	pos := at(sequence)
	return &batch.Plan{
		Version: pos.Version, Clock: pos.Clock, Definitions: p.Hash,
		Slices: []batch.Slice{{Partition: pos.Partitions[0].Partition, Start: pos.Partitions[0].Next - 10, End: pos.Partitions[0].Next, LogEnd: 1000}},
	}
}

func mustAppend(tb testing.TB, s *state.Store, plan *batch.Plan) *batch.Plan {
	tb.Helper()
	won, err := s.Plans().Append(context.Background(), plan)
	if err != nil {
		tb.Fatalf("append plan: %v", err)
	}
	return won
}

func sequences(tb testing.TB, s *state.Store, after uint64) []uint64 {
	tb.Helper()
	plans, err := s.Plans().After(context.Background(), features.Version{Generation: 1, Sequence: after})
	if err != nil {
		tb.Fatalf("plans: %v", err)
	}
	all := []uint64{}
	for _, p := range plans {
		all = append(all, p.Version.Sequence)
	}
	return all
}

// TestPlans_FirstWins is I2: a plan, once written, is never changed.
func TestPlans_FirstWins(t *testing.T) {
	fs := vfs.NewCrashableMem()
	p := users(t)
	s := mustOpen(t, fs, p)
	first := planOf(p, 1)
	if won := mustAppend(t, s, first); won != first {
		t.Errorf("the first plan of a sequence: %+v won", won)
	}
	rival := planOf(p, 1)
	rival.Clock, rival.Slices[0].End = rival.Clock+1, 1000
	if won := mustAppend(t, s, rival); !cmp.Equal(won, first) {
		t.Errorf("against a plan that was there first: %+v won", won)
	}
	again := mustOpen(t, fs.CrashClone(vfs.CrashCloneCfg{}), p)
	if won := mustAppend(t, again, rival); !cmp.Equal(won, first) {
		t.Errorf("after a power cut: %+v won", won)
	}
	if text, found, err := again.Definitions(p.Hash); text != p.Text || !found || err != nil {
		t.Errorf("definitions after a power cut: %q, found %t, error %v", text, found, err)
	}
}

func TestPlans_InOrder(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p)
	for _, n := range []uint64{3, 1, 2, 300, 4} {
		mustAppend(t, s, planOf(p, n))
	}
	later := planOf(p, 1)
	later.Version.Generation = 2
	mustAppend(t, s, later)
	if got, want := sequences(t, s, 2), []uint64{3, 4, 300, 1}; !slices.Equal(got, want) {
		t.Errorf("plans after 2: %v, want %v", got, want)
	}
	between, err := s.PlansBetween(context.Background(), features.Version{Generation: 1, Sequence: 1}, features.Version{Generation: 1, Sequence: 3})
	if err != nil || len(between) != 2 || !cmp.Equal(between[1], planOf(p, 3)) {
		t.Errorf("plans beyond 1, up to 3: %v, error %v", between, err)
	}
}

func TestPlans_RefusesWhatCannotBeExecuted(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p)
	unknown := planOf(p, 1)
	unknown.Definitions = "feedfeedfeedfeed"
	if _, err := s.Plans().Append(context.Background(), unknown); err == nil || !strings.Contains(err.Error(), "feedfeedfeedfeed") {
		t.Errorf("a plan under definitions that nobody has: %v", err)
	}
	commit(t, s, p, 5, "u1")
	if _, err := s.Plans().Append(context.Background(), planOf(p, 5)); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a plan of a sequence that is committed, and kept no more: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Plans().Append(ctx, planOf(p, 6)); err == nil {
		t.Error("a plan after its context has ended: no error")
	}
	if got := sequences(t, s, 0); len(got) != 0 {
		t.Errorf("refused plans were kept: %v", got)
	}
}

// TestPlans_KeptForTheRetention commits a batch every five seconds of the plans' clock.
func TestPlans_KeptForTheRetention(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p, func(o *state.Options) { o.PlanRetention = 5 * time.Minute })
	const keep, slack = 5 * 60 / 5, 4 // in batches
	for n := uint64(1); n <= 200; n++ {
		mustAppend(t, s, planOf(p, n))
		mustAppend(t, s, planOf(p, n+1)) // the next is planned while this one publishes
		commit(t, s, p, n, "u1")
		kept := sequences(t, s, 0)
		if kept[len(kept)-1] != n+1 || len(kept) != int(n+2-kept[0]) {
			t.Fatalf("after batch %d, plans %v are kept: one is missing", n, kept)
		}
		if oldest, least := kept[0], int(n)-keep; int(oldest) > max(1, least) || int(oldest) < least-slack {
			t.Fatalf("after batch %d, plans are kept from %d on; want them from %d on, or up to %d more", n, oldest, max(1, least), slack)
		}
	}
}

// execute runs recorded plans on s, each under the definitions that made it.
func execute(tb testing.TB, s *state.Store, plans []*batch.Plan, by map[string]*features.Project) {
	tb.Helper()
	for _, plan := range plans {
		p := by[plan.Definitions]
		if err := s.Rebind(p); err != nil {
			tb.Fatalf("rebind for plan %v: %v", plan.Version, err)
		}
		n := plan.Version.Sequence
		commit(tb, s, p, n, names(20)[n%7:7+n%13]...)
	}
}

// TestCopyPlans_ExecutedCleanly is I6's clean execution: whatever befell the first directory, the recorded plans give the same bytes in an empty one.
func TestCopyPlans_ExecutedCleanly(t *testing.T) {
	old, gained := users(t), project("gained", view(t, "users", clicks, recent, spend))
	by := map[string]*features.Project{old.Hash: old, gained.Hash: gained}
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, fs, old, func(o *state.Options) { o.CacheBytes = 2000 })
	var plans []*batch.Plan
	for n := uint64(1); n <= 12; n++ {
		p := old
		if n > 6 {
			p = gained
		}
		plan := planOf(p, n)
		if n == 7 { // sequence 6 is still pending when the definitions change
			s = mustOpen(t, fs.CrashClone(vfs.CrashCloneCfg{}), gained)
		}
		plans = append(plans, plan)
		mustAppend(t, s, plan)
		if n%2 == 0 { // plans are a step ahead of the batches
			if n%3 == 0 {
				c := s.Begin()
				if err := upsert(c, 0, names(9), func(e *batch.Entity) { click(p, e, start, 1000) }); err != nil {
					t.Fatal(err)
				}
				c.Discard()
			}
			execute(t, s, plans[len(plans)-2:], by)
		}
	}
	clean := mustOpen(t, vfs.NewMem(), gained)
	if err := s.CopyPlans(clean); err != nil {
		t.Fatal(err)
	}
	if clean.Plans().ID() != s.Plans().ID() {
		t.Errorf("the copied log is called %s, the log %s", clean.Plans().ID(), s.Plans().ID())
	}
	for hash, p := range by {
		if text, found, err := clean.Definitions(hash); text != p.Text || !found || err != nil {
			t.Errorf("copied definitions %s: %q, found %t, error %v", hash, text, found, err)
		}
	}
	copied, err := clean.Plans().After(context.Background(), features.Version{})
	if err != nil || !cmp.Equal(copied, plans) {
		t.Fatalf("copied plans, error %v, differ: %s", err, cmp.Diff(plans, copied))
	}
	execute(t, clean, copied, by)
	if diff := cmp.Diff(dump(t, s), dump(t, clean)); diff != "" {
		t.Errorf("the clean execution left other bytes (-first +clean):\n%s", diff)
	}
	if err := s.CopyPlans(clean); err == nil {
		t.Error("plans copied over a position: no error")
	}
}

func TestRebind_WhileAChangeIsOpen(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p)
	c := s.Begin()
	if err := s.Rebind(project("other", view(t, "users", clicks))); err == nil {
		t.Error("rebind while a change is open: no error")
	}
	c.Discard()
	if err := s.Rebind(p); err != nil {
		t.Errorf("rebind to the project in force: %v", err)
	}
}
