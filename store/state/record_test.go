package state_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
)

const kept = `
project: ads
clock: event
entities:
  user: {join_key: user, type: string}
sources:
  events:
    kafka: {topic: events}
    timestamp: {field: ts, unit: s}
    fields: {user: string, amount: int64}
feature_views:
  users:
    source: events
    entity: user
    features:
      clicks_30m: {aggregate: count, window: 30m}
      spend: {aggregate: sum, of: amount}
`

// onDisk makes a directory with the plans and the commits of n batches.
func onDisk(t *testing.T, p *features.Project, n uint64) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	s, err := state.Open(dir, p, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= n; i++ {
		mustAppend(t, s, planOf(p, i))
		pos := at(i)
		pos.Definitions = p.Hash
		c := s.Begin()
		if err := errors.Join(upsert(c, 0, []string{"u1", "u2"}, func(*batch.Entity) {}), c.Commit(context.Background(), pos)); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, s, planOf(p, n+1)) // planned, and not committed
	mustClose(t, s)
	return dir
}

// What a directory records, another one takes over, through JSON as the control socket has it: its plans are then the same, byte for byte.
func TestRecord_IsAdopted(t *testing.T) {
	p := parsed(t, kept)
	dir := onDisk(t, p, 5)
	s, err := state.OpenKept(dir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	v := func(n uint64) features.Version { return features.Version{Generation: 1, Sequence: n} }
	r, err := s.Record(t.Context(), v(1), v(4), 2)
	if err != nil || len(r.Plans) != 2 || r.Plans[0].Version != v(2) || r.Oldest != v(1) || r.Position.Version != v(5) || r.Project != "ads" || r.Log != s.Plans().ID() {
		t.Fatalf("two plans beyond 1: %+v, %v", r, err)
	}
	if r.Definitions[p.Hash] != kept {
		t.Errorf("the definitions are %q", r.Definitions)
	}
	if r, err := s.Record(t.Context(), v(3), v(4), 100); err != nil || len(r.Plans) != 1 {
		t.Errorf("up to 4: %+v, %v", r, err)
	}

	all, err := s.Record(t.Context(), features.Version{}, v(9), 100)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var sent state.Record
	if err := json.Unmarshal(text, &sent); err != nil || !cmp.Equal(sent, all) {
		t.Fatalf("through JSON: %v\n%s", err, cmp.Diff(sent, all))
	}
	other, err := state.Open(filepath.Join(t.TempDir(), "state"), p, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, other)
	if err := other.Adopt(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	if got := sequences(t, other, 0); !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 6}) || other.Plans().ID() != s.Plans().ID() {
		t.Errorf("adopted plans %v of log %s", got, other.Plans().ID())
	}
	plans := func(lines []string) []string {
		return slices.DeleteFunc(lines, func(l string) bool { return !strings.Contains(l, "events") || !strings.HasPrefix(l, `"p`) })
	}
	if a, b := plans(dump(t, s)), plans(dump(t, other)); !slices.Equal(a, b) {
		t.Errorf("the plans' bytes differ: %s", cmp.Diff(a, b))
	}
	if text, found, err := other.Definitions(p.Hash); text != kept || !found || err != nil {
		t.Errorf("definitions: %q, %t, %v", text, found, err)
	}
}

// OpenKept takes a directory as it is, and makes none.
func TestOpenKept(t *testing.T) {
	p := parsed(t, kept)
	s, err := state.OpenKept(onDisk(t, p, 2), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Project(); got.Hash != p.Hash || got.Name != "ads" {
		t.Errorf("opened for %s, %s", got.Name, got.Hash)
	}
	mustClose(t, s)
	missing := filepath.Join(t.TempDir(), "nowhere")
	if _, err := state.OpenKept(missing, state.Options{}); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a directory that is not there: %v", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("it was made")
	}
	empty := t.TempDir()
	if _, err := state.OpenKept(empty, state.Options{}); err == nil || !strings.Contains(err.Error(), "holds no state yet") {
		t.Errorf("an empty directory: %v", err)
	}
}

// A clone is the same state, and what becomes of it does not show in the original.
func TestClone(t *testing.T) {
	p := parsed(t, kept)
	src := onDisk(t, p, 3)
	read := func(dir string) []string {
		s, err := state.OpenKept(dir, state.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer mustClose(t, s)
		return dump(t, s)
	}
	before := read(src)
	dst := filepath.Join(t.TempDir(), "clone")
	if err := state.Clone(dst, src); err != nil {
		t.Fatal(err)
	}
	if got := read(dst); len(before) == 0 || !slices.Equal(got, before) {
		t.Errorf("the clone differs: %s", cmp.Diff(got, before))
	}
	if err := state.Clone(dst, src); err == nil {
		t.Error("a clone over another: no error")
	}
	s, err := state.OpenKept(dst, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := s.Begin()
	pos := at(4)
	pos.Definitions = p.Hash
	if err := errors.Join(upsert(c, 0, []string{"u1", "u7"}, func(*batch.Entity) {}), c.Commit(t.Context(), pos)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if got := read(src); !slices.Equal(got, before) {
		t.Errorf("the original changed with its clone: %s", cmp.Diff(got, before))
	}

	open, err := state.OpenKept(src, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, open)
	if err := state.Clone(filepath.Join(t.TempDir(), "other"), src); err == nil {
		t.Error("a directory in use was cloned")
	} else if inUse, ok := errors.AsType[*state.InUseError](err); !ok {
		t.Errorf("a directory in use: %v, %v", err, inUse)
	}
}
