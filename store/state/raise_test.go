package state_test

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// TestRaise_GoesOn begins a new generation on a state that has entities and plans: the log has another id, and the next plan and the next commit are taken.
func TestRaise_GoesOn(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p)
	mustAppend(t, s, planOf(p, 1))
	commit(t, s, p, 1, "u1")
	id := s.Plans().ID()
	pos := at(1)
	pos.Version = features.Version{Generation: 2}
	pos.Opening = batch.Opening{Why: "a test", Frontier: pos.Frontier, Watermark: windows.NoTime, Definitions: p.Hash}
	if err := s.Raise(context.Background(), pos, false); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Position(); got.Version != pos.Version || s.Plans().ID() == id {
		t.Errorf("it is at %v, and its log is called %s, before %s", got.Version, s.Plans().ID(), id)
	}
	plan := planOf(p, 2)
	plan.Version = features.Version{Generation: 2, Sequence: 1}
	mustAppend(t, s, plan)
	if e := entitiesOf(t, s, 0)["u1"]; e.Published.Version != pos.Version {
		t.Errorf("u1 counts as published at %v, want %v", e.Published.Version, pos.Version)
	}
}
