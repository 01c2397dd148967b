package state_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/state"
	"highwater/windows"
)

func TestOpen_CreatesAndFindsAgain(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := filepath.Join(t.TempDir(), "a", "b")
	p := users(t)
	s, err := state.Open(dir, p, state.Options{})
	if err != nil {
		t.Fatalf("open a missing directory: %v", err)
	}
	if _, found := s.Position(); found {
		t.Error("an empty directory has a position")
	}
	id := s.Plans().ID()
	if len(id) != 16 {
		t.Errorf("plan log's id %q: want 16 hex digits", id)
	}
	commit(t, s, p, 1, "u1", "u2")
	before := dump(t, s)
	mustClose(t, s)

	if s, err = state.Open(dir, p, state.Options{}); err != nil {
		t.Fatalf("open again: %v", err)
	}
	if got := s.Plans().ID(); got != id {
		t.Errorf("plan log's id was %q, is %q", id, got)
	}
	if after := dump(t, s); !slices.Equal(before, after) {
		t.Errorf("reopened, the directory holds\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	mustClose(t, s)
	if _, err := os.Stat(filepath.Join(dir, "OWNER")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close, the owner's file: %v", err)
	}
}

func TestOpen_RefusesADirectoryInUse(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"disk": nil, "memory": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := state.Open(dir, users(t), state.Options{FS: fs, Owner: "worker at 10.0.0.3:8080"})
			if err != nil {
				t.Fatal(err)
			}
			defer mustClose(t, s)
			_, err = state.Open(dir, users(t), state.Options{FS: fs})
			var inUse *state.InUseError
			if !errors.As(err, &inUse) || inUse.Owner.Process != os.Getpid() {
				t.Fatalf("opening twice: %v; want an InUseError that names process %d", err, os.Getpid())
			}
			for _, part := range []string{dir, "worker at 10.0.0.3:8080", "stop that process, or name another directory"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
			commit(t, s, users(t), 1, "u1") // the owner is not disturbed
		})
	}
}

func TestOpen_RefusesWhatIsNotItsOwn(t *testing.T) {
	write := func(name, text string) func(testing.TB, *vfs.MemFS) {
		return func(tb testing.TB, fs *vfs.MemFS) {
			f, err := fs.Create(fs.PathJoin("data", name), vfs.WriteCategoryUnspecified)
			if err == nil {
				_, err = io.WriteString(f, text)
			}
			if err := errors.Join(err, f.Close()); err != nil {
				tb.Fatal(err)
			}
		}
	}
	set := func(k []byte, value string) func(testing.TB, *vfs.MemFS) {
		return func(tb testing.TB, fs *vfs.MemFS) {
			db, err := pebble.Open("data", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
			if err != nil {
				tb.Fatal(err)
			}
			if err := errors.Join(db.Set(k, []byte(value), pebble.Sync), db.Close()); err != nil {
				tb.Fatal(err)
			}
		}
	}
	mine := func(tb testing.TB, fs *vfs.MemFS) { mustClose(tb, mustOpen(tb, fs, users(tb))) }
	other := func(tb testing.TB, fs *vfs.MemFS) {
		p := users(tb)
		p.Name = "shop"
		mustClose(tb, mustOpen(tb, fs, p))
	}
	for _, tc := range []struct {
		name    string
		prepare []func(testing.TB, *vfs.MemFS)
		want    []string // parts of the error; none: it opens
	}{
		{"other files", []func(testing.TB, *vfs.MemFS){write("holiday.jpg", "x")}, []string{"data", "holiday.jpg", "name an empty or a new directory"}},
		{"hidden files", []func(testing.TB, *vfs.MemFS){write(".keep", "")}, nil},
		{"a first opening cut short", []func(testing.TB, *vfs.MemFS){write("marker.manifest.000001.MANIFEST-000001", ""), write("000002.log", "")}, nil},
		{"a lost manifest", []func(testing.TB, *vfs.MemFS){write("marker.manifest.000001.MANIFEST-000001", ""), write("000002.log", "data")}, []string{"MANIFEST-000001", "does not exist"}},
		{"another's store", []func(testing.TB, *vfs.MemFS){set([]byte("k"), "v")}, []string{"Pebble store that Highwater did not write", "name an empty or a new directory"}},
		{"a newer format", []func(testing.TB, *vfs.MemFS){mine, set(keys.Meta("format"), "2")}, []string{"newer Highwater", "format 2", "this one reads 1", "run that version"}},
		{"no format", []func(testing.TB, *vfs.MemFS){mine, set(keys.Meta("format"), "one")}, []string{`"one" is not a format version`}},
		{"another project", []func(testing.TB, *vfs.MemFS){other}, []string{`project "shop"`, `project "ads"`}},
		{"a newer Pebble", []func(testing.TB, *vfs.MemFS){mine, write("marker.format-version.999999.999", "")}, []string{"cannot be read by this version", "run the version that wrote it"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := vfs.NewMem()
			if err := fs.MkdirAll("data", 0o755); err != nil {
				t.Fatal(err)
			}
			for _, prepare := range tc.prepare {
				prepare(t, fs)
			}
			s, err := state.Open("data", users(t), state.Options{FS: fs})
			if tc.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				mustClose(t, s)
				return
			}
			for _, part := range tc.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error %v; want it to say %q", err, part)
				}
			}
			lock, err := pebble.LockDirectory("data", fs)
			if err != nil {
				t.Fatalf("the refused directory is still locked: %v", err)
			}
			lock.Close()
		})
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)             {}
func (quiet) Errorf(string, ...any)            {}
func (quiet) Fatalf(format string, arg ...any) { panic(format) }

func TestOpen_RefusesShapesThatCannotGoOn(t *testing.T) {
	fs := vfs.NewMem()
	p := users(t)
	s := mustOpen(t, fs, p)
	commit(t, s, p, 1, "u1")
	changed := project("changed", view(t, "users", clicks, reused))
	err := s.Rebind(changed)
	var incompatible *state.IncompatibleError
	if !errors.As(err, &incompatible) || len(incompatible.Reasons) != 1 {
		t.Fatalf("rebind to a changed feature: %v; want one reason", err)
	}
	commit(t, s, p, 2, "u1") // all is as it was
	mustClose(t, s)
	_, err = state.Open("data", changed, state.Options{FS: fs})
	for _, part := range []string{"data", "feature view users", "spend", "rename the feature", "highwater reset"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("open with a changed feature: %v; want it to say %q", err, part)
		}
	}
	mustClose(t, mustOpen(t, fs, p)) // and still is
}

const definitions = `project: ads
entities:
  user: {join_key: user_id, type: string}
sources:
  ad_events:
    kafka: {topic: ad_events}
    format: json
    timestamp: {field: ts, unit: ms}
    key: user_id
    fields: {user_id: string, kind: string, price: int64}
feature_views:
  users:
    source: ad_events
    entity: user
    features:
      clicks_30m: {aggregate: count, where: kind == 'click', window: 30m}
`

func parsed(tb testing.TB, text string) *features.Project {
	tb.Helper()
	p, err := features.Parse("test.yaml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestOpen_RefusesDefinitionsThatMeanSomethingElse(t *testing.T) {
	fs := vfs.NewMem()
	p := parsed(t, definitions)
	s := mustOpen(t, fs, p)
	if _, err := s.Plans().Append(context.Background(), planOf(p, 1)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	changed := parsed(t, strings.Replace(definitions, "'click'", "'view'", 1))
	_, err := state.Open("data", changed, state.Options{FS: fs})
	for _, part := range []string{"users", "clicks_30m", `"click"`, `"view"`, "it takes a new generation", "rename the feature, or begin a new generation"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("open with another filter: %v; want it to say %q", err, part)
		}
	}
	mustClose(t, mustOpen(t, fs, changed, func(o *state.Options) { o.NewMeaning = true }))
	more := parsed(t, definitions+"      spend: {aggregate: sum, of: price}\n")
	mustClose(t, mustOpen(t, fs, more))
}

func TestOpen_ReadOnly(t *testing.T) {
	fs := vfs.NewMem()
	p := users(t)
	readOnly := func(o *state.Options) { o.ReadOnly = true }
	if _, err := state.Open("data", p, state.Options{FS: fs, ReadOnly: true}); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("opening a missing directory to read: %v", err)
	}
	s := mustOpen(t, fs, p)
	commit(t, s, p, 1, "u1")
	want := dump(t, s)
	mustClose(t, s)
	s = mustOpen(t, fs, project("more", view(t, "users", clicks, recent, spend)), readOnly)
	if got := dump(t, s); !slices.Equal(got, want) {
		t.Errorf("read only, the directory holds %q, want %q", got, want)
	}
	if e := entitiesOf(t, s, 0)["u1"]; e.Windows == nil {
		t.Error("entity u1 is not found")
	}
	c := s.Begin()
	if err := c.Commit(context.Background(), at(2)); err == nil {
		t.Error("a commit to a directory opened to read: no error")
	}
	if _, err := s.Plans().Append(context.Background(), planOf(project("more"), 2)); err == nil {
		t.Error("a plan for a directory opened to read: no error")
	}
}

func TestClosed_GivesErrors(t *testing.T) {
	p := users(t)
	s := mustOpen(t, vfs.NewMem(), p)
	commit(t, s, p, 1, "u1")
	left := s.Begin()
	mustClose(t, s)
	mustClose(t, s)
	ctx := context.Background()
	_, loadErr := s.Begin().Load(0, []string{"u1"})
	_, nextErr := s.Next(batch.ByFrontier)
	_, planErr := s.Plans().Append(ctx, planOf(p, 2))
	_, afterErr := s.Plans().After(ctx, features.Version{})
	_, _, textErr := s.Definitions(p.Hash)
	_, _, entityErr := s.Entity(0, "u1")
	_, firstErr := s.FirstTimer(batch.ByFrontier)
	_, leftErr := left.Load(0, []string{"u1"})
	for name, err := range map[string]error{
		"Load": loadErr, "Next": nextErr, "Append": planErr, "After": afterErr, "Definitions": textErr, "Entity": entityErr, "FirstTimer": firstErr, "Load of a change left open": leftErr,
		"Commit": s.Begin().Commit(ctx, at(2)), "Due": s.Due(batch.ByFrontier, windows.Never, nil), "Scan": s.Scan(ctx, 0, "", nil), "Dump": s.Dump(nil), "Rebind": s.Rebind(p), "CopyPlans": s.CopyPlans(s),
	} {
		if err == nil {
			t.Errorf("%s of a closed state gives no error", name)
		}
	}
	if m := s.Metrics(); m.Entities != nil {
		t.Errorf("metrics of a closed state: %+v", m)
	}
}
