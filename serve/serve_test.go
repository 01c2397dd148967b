package serve_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"highwater/features"
	"highwater/serve"
	"highwater/serve/servetest"
	"highwater/windows"
)

const second = int64(1_000_000)

// noon is the wall clock of these tests, in µs.
var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC).UnixMicro()

var (
	clicksSchema = servetest.Schema("c1", "clicks", "int64", "spend", "double")
	ctrSchema    = servetest.Schema("r1", "ctr", "double")
	pairSchema   = servetest.Schema("p1", "seen", "bool")
)

// ads is a project with three views of three entities, one of them of two join keys.
func ads(clock features.Clock) *features.Catalogue {
	return &features.Catalogue{
		Project: "ads", Clock: clock, Tasks: 1,
		Entities: []features.CatalogueEntity{
			{Name: "user", JoinKeys: []features.CatalogueJoinKey{{Name: "user_id", Type: "string"}}},
			{Name: "campaign", JoinKeys: []features.CatalogueJoinKey{{Name: "campaign_id", Type: "int64"}}},
			{Name: "pair", JoinKeys: []features.CatalogueJoinKey{{Name: "user_id", Type: "string"}, {Name: "campaign_id", Type: "int64"}}},
			{Name: "odd", JoinKeys: []features.CatalogueJoinKey{{Name: "user_id", Type: "int64"}}},
		},
		Views: []features.CatalogueView{
			{Name: "user_clicks", Entity: "user", TTL: time.Hour, Schema: clicksSchema},
			{Name: "campaign_ctr", Entity: "campaign", Schema: ctrSchema},
			{Name: "pair_seen", Entity: "pair", Schema: pairSchema},
			{Name: "odd_view", Entity: "odd", Schema: pairSchema},
		},
		Services: []features.CatalogueService{
			{Name: "ranker", Features: []string{"user_clicks:clicks", "campaign_ctr:ctr", "pair_seen:seen"}},
			{Name: "broken", Features: []string{"user_clicks:gone"}},
			{Name: "twice", Features: []string{"user_clicks:clicks", "user_clicks:clicks"}},
		},
	}
}

// clicks is a vector of user_clicks as of a minute ago, its newest event two minutes old.
func clicks(user string) features.StoredVector {
	return features.StoredVector{
		View: "user_clicks", Entity: user, Version: features.Version{Generation: 2, Sequence: 7}, Schema: clicksSchema,
		Frontier: noon - 60*second, EventTime: noon - 120*second,
		Values: []windows.Value{windows.IntOf(3), windows.DoubleOf(1.5)},
	}
}

// clock is a wall clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

func newServer(t testing.TB, clockKind features.Clock) (*serve.Server, *servetest.Store, *clock) {
	t.Helper()
	store := &servetest.Store{}
	store.SetCatalogue(ads(clockKind))
	wall := &clock{now: time.UnixMicro(noon)}
	return serve.New(serve.Options{Store: store, Project: "ads", Now: wall.Now, Refresh: 5 * time.Second}), store, wall
}

func mustLookup(t testing.TB, s *serve.Server, view string, keys ...string) serve.Row {
	t.Helper()
	row, err := s.Lookup(t.Context(), view, keys)
	if err != nil {
		t.Fatalf("look up %s %q: %v", view, keys, err)
	}
	return row
}

func wantError(t testing.TB, err error, kind serve.Kind, detail string) *serve.Error {
	t.Helper()
	var e *serve.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want a *serve.Error", err, err)
	}
	if e.Kind != kind || !strings.Contains(e.Error(), detail) {
		t.Fatalf("error of kind %d %q, want kind %d and %q", e.Kind, e, kind, detail)
	}
	return e
}

func TestLookup_Freshness(t *testing.T) {
	version := features.Version{Generation: 2, Sequence: 7}
	tests := map[string]struct {
		clock    features.Clock
		change   func(v *features.StoredVector, m *features.TaskMark)
		status   serve.Status
		asOf     int64
		hasValue bool
	}{
		"without a mark a vector holds at its own frontier": {
			change: func(*features.StoredVector, *features.TaskMark) {}, asOf: noon - 60*second, hasValue: true,
		},
		"a mark of its generation carries it on": {
			change: func(_ *features.StoredVector, m *features.TaskMark) {
				*m = features.TaskMark{Found: true, Version: version, Frontier: noon - second}
			}, asOf: noon - second, hasValue: true,
		},
		"a vector ahead of the mark keeps its own": {
			change: func(_ *features.StoredVector, m *features.TaskMark) {
				*m = features.TaskMark{Found: true, Version: version, Frontier: noon - 90*second}
			}, asOf: noon - 60*second, hasValue: true,
		},
		"a mark of an older generation says nothing": {
			change: func(_ *features.StoredVector, m *features.TaskMark) {
				*m = features.TaskMark{Found: true, Version: features.Version{Generation: 1, Sequence: 99}, Frontier: noon}
			}, asOf: noon - 60*second, hasValue: true,
		},
		"a vector of a lower generation than the mark is absent": {
			change: func(_ *features.StoredVector, m *features.TaskMark) {
				*m = features.TaskMark{Found: true, Version: features.Version{Generation: 3, Sequence: 1}, Frontier: noon}
			}, status: serve.NotFound, asOf: windows.NoTime,
		},
		"another task's mark says nothing": {
			change: func(v *features.StoredVector, m *features.TaskMark) {
				v.Task = 1
				*m = features.TaskMark{Found: true, Version: features.Version{Generation: 3, Sequence: 1}, Frontier: noon}
			}, asOf: noon - 60*second, hasValue: true,
		},
		"one µs within its ttl": {
			change: func(v *features.StoredVector, _ *features.TaskMark) { v.EventTime = noon - 3600*second + 1 },
			asOf:   noon - 60*second, hasValue: true,
		},
		"past its ttl at event time + ttl": {
			change: func(v *features.StoredVector, _ *features.TaskMark) { v.EventTime = noon - 3600*second },
			status: serve.OutsideMaxAge, asOf: noon - 60*second,
		},
		"a tombstone is past its ttl, whatever the clock says": {
			change: func(v *features.StoredVector, _ *features.TaskMark) { v.Tombstone, v.Values = true, nil },
			status: serve.OutsideMaxAge, asOf: noon - 60*second,
		},
		"by event clock the age ends at the vector's frontier": {
			clock:  features.EventClock,
			change: func(v *features.StoredVector, _ *features.TaskMark) { v.EventTime = noon - 3600*second },
			asOf:   noon - 60*second, hasValue: true,
		},
		"by event clock the mark's frontier counts": {
			clock: features.EventClock,
			change: func(v *features.StoredVector, m *features.TaskMark) {
				v.EventTime = noon
				*m = features.TaskMark{Found: true, Version: version, Frontier: noon + 3600*second}
			}, status: serve.OutsideMaxAge, asOf: noon + 3600*second,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, store, _ := newServer(t, tt.clock)
			v, m := clicks("u1"), features.TaskMark{}
			tt.change(&v, &m)
			store.Put(v)
			store.SetMark(m)
			row := mustLookup(t, s, "user_clicks", "u1")
			if row.Status != tt.status || row.AsOf != tt.asOf || row.Values[0].IsNull() == tt.hasValue {
				t.Fatalf("status %s as of %d, values %v; want %s as of %d, with values: %t", row.Status, row.AsOf, row.Values, tt.status, tt.asOf, tt.hasValue)
			}
		})
	}
}

func TestLookup_Row(t *testing.T) {
	s, store, _ := newServer(t, features.WallClock)
	pair := features.StoredVector{View: "pair_seen", Entity: servetest.Entity("a/b", -7), Version: features.Version{Generation: 1, Sequence: 3}, Schema: pairSchema, Frontier: noon, EventTime: noon - 1, Values: []windows.Value{windows.BoolOf(true)}}
	store.Put(pair)
	row := mustLookup(t, s, "pair_seen", "a/b", "-7")
	want := serve.Row{
		View:     "pair_seen",
		JoinKeys: []serve.JoinKey{{Name: "user_id", Kind: windows.String}, {Name: "campaign_id", Kind: windows.Int64}},
		Keys:     []windows.Value{windows.StringOf("a/b"), windows.IntOf(-7)},
		Status:   serve.Present, Version: pair.Version, AsOf: noon, EventTime: noon - 1,
		Features: []serve.Feature{{View: "pair_seen", Name: "seen", Kind: "bool"}},
		Values:   []windows.Value{windows.BoolOf(true)},
	}
	if diff := cmp.Diff(want, row, cmp.AllowUnexported(windows.Value{})); diff != "" {
		t.Fatalf("row differs (-want +got):\n%s", diff)
	}
	if row := mustLookup(t, s, "pair_seen", "a/b", "8"); row.Status != serve.NotFound || row.Version != (features.Version{}) || row.EventTime != windows.NoTime {
		t.Fatalf("an unknown entity: %+v, want NOT_FOUND and nothing else", row)
	}
}

func TestLookup_OlderSchemaIsReadByName(t *testing.T) {
	s, store, _ := newServer(t, features.WallClock)
	v := clicks("u1")
	v.Schema = servetest.Schema("c0", "spend", "double", "dropped", "int64", "clicks", "double") // clicks was of another kind
	v.Values = []windows.Value{windows.DoubleOf(2.5), windows.IntOf(1), windows.DoubleOf(9)}
	store.Put(v)
	sel, err := s.View(t.Context(), "user_clicks")
	if err != nil {
		t.Fatal(err)
	}
	table, err := s.Read(t.Context(), sel, []windows.Value{windows.StringOf("u1")})
	if err != nil {
		t.Fatal(err)
	}
	if c := table.Cell(0, 0); c.Status != serve.NotFound || !c.Value.IsNull() || c.AsOf != windows.NoTime {
		t.Fatalf("clicks, which the vector does not have as an int64: %+v, want NOT_FOUND", c)
	}
	if c := table.Cell(0, 1); c.Status != serve.Present || c.Value.Double() != 2.5 {
		t.Fatalf("spend, which stands elsewhere in the vector: %+v, want 2.5", c)
	}
}

func TestRead_AsksForEveryVectorOnce(t *testing.T) {
	s, store, _ := newServer(t, features.WallClock)
	sel, err := s.Service(t.Context(), "ranker")
	if err != nil {
		t.Fatal(err)
	}
	u, c := windows.StringOf, windows.IntOf
	table, err := s.Read(t.Context(), sel, []windows.Value{u("u1"), c(1), u("u2"), c(1), u("u1"), c(1), u("u1"), c(2)})
	if err != nil {
		t.Fatal(err)
	}
	want := []features.VectorKey{
		{View: "user_clicks", Entity: "u1"}, {View: "user_clicks", Entity: "u2"},
		{View: "campaign_ctr", Entity: "1"}, {View: "campaign_ctr", Entity: "2"},
		{View: "pair_seen", Entity: servetest.Entity("u1", 1)}, {View: "pair_seen", Entity: servetest.Entity("u2", 1)}, {View: "pair_seen", Entity: servetest.Entity("u1", 2)},
	}
	if diff := cmp.Diff([][]features.VectorKey{want}, store.Fetched()); diff != "" {
		t.Fatalf("keys fetched differ (-want +got):\n%s", diff)
	}
	if table.Rows != 4 || table.Vectors != len(want) {
		t.Fatalf("%d rows from %d vectors, want 4 from %d", table.Rows, table.Vectors, len(want))
	}
}

func TestErrors(t *testing.T) {
	s, store, _ := newServer(t, features.WallClock)
	v := clicks("torn")
	v.Values = v.Values[:1]
	store.Put(v)
	lookup := func(view string, keys ...string) error {
		_, err := s.Lookup(t.Context(), view, keys)
		return err
	}
	ask := func(refs ...string) error {
		_, err := s.Features(t.Context(), refs)
		return err
	}
	service := func(name string) error {
		_, err := s.Service(t.Context(), name)
		return err
	}
	for _, tt := range []struct {
		err    error
		kind   serve.Kind
		detail string
	}{
		{lookup("user_click", "u1"), serve.UnknownView, `no feature view "user_click"; did you mean "user_clicks"?`},
		{lookup("", "u1"), serve.UnknownView, `no feature view ""`},
		{lookup(strings.Repeat("x", 5000), "u1"), serve.UnknownView, `xxx"…`},
		{lookup("user_clicks"), serve.Invalid, "by user_id: values wanted: 1, given: 0"},
		{lookup("pair_seen", "u1"), serve.Invalid, "by user_id/campaign_id: values wanted: 2, given: 1"},
		{lookup("user_clicks", ""), serve.Invalid, "user_id is empty"},
		{lookup("user_clicks", "\xff"), serve.Invalid, "user_id is not valid UTF-8"},
		{lookup("campaign_ctr", "abc"), serve.Invalid, `campaign_id is an int64, and "abc" is not one`},
		{lookup("campaign_ctr", "9223372036854775808"), serve.Invalid, "is not one"},
		{lookup("user_clicks", "torn"), serve.Corrupt, "holds 1 values, and its schema c1 has 2 features"},
		{ask("user_clicks"), serve.Invalid, "not of the form view:feature"},
		{ask("a:b:c"), serve.Invalid, "not of the form view:feature"},
		{ask(":clicks"), serve.Invalid, "not of the form view:feature"},
		{ask(), serve.Invalid, "no feature is asked for"},
		{ask("user_clicks:click"), serve.UnknownFeature, `user_clicks has no feature "click"; did you mean "user_clicks:clicks"?`},
		{ask("user_clicks:clicks", "user_clicks:clicks"), serve.Invalid, "asked for twice"},
		{ask("user_clicks:clicks", "odd_view:seen"), serve.Invalid, "join key user_id is of type int64 for entity odd and of type string"},
		{service("rankr"), serve.UnknownService, `did you mean "ranker"?`},
		{service("broken"), serve.UnknownFeature, `no feature "gone"`},
	} {
		wantError(t, tt.err, tt.kind, tt.detail)
	}
}

func TestRead_EmptyKeyNamesItsEntity(t *testing.T) {
	s, _, _ := newServer(t, features.WallClock)
	sel, err := s.View(t.Context(), "user_clicks")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context(), sel, []windows.Value{windows.StringOf("u1"), {}})
	wantError(t, err, serve.Invalid, "entity 1: a join key is empty")
}

func TestStoreFaults(t *testing.T) {
	s, store, _ := newServer(t, features.WallClock)
	mustLookup(t, s, "user_clicks", "u1")
	refused := errors.New("connection refused")
	store.Fail(refused)
	_, err := s.Lookup(t.Context(), "user_clicks", []string{"u1"})
	if e := wantError(t, err, serve.Unavailable, "connection refused"); !errors.Is(e, refused) {
		t.Fatalf("the cause is lost: %v", e)
	}
	_, err = s.Tasks(t.Context())
	wantError(t, err, serve.Unavailable, "connection refused")
	if ok, reason := s.Ready(t.Context()); ok || !strings.Contains(reason, "connection refused") {
		t.Fatalf("ready: %t, %q; want the store's reason", ok, reason)
	}
	store.Fail(context.DeadlineExceeded)
	_, err = s.Lookup(t.Context(), "user_clicks", []string{"u1"})
	wantError(t, err, serve.Unavailable, "did not answer in time")
	store.Fail(nil)
	if ok, reason := s.Ready(t.Context()); !ok {
		t.Fatalf("not ready: %s", reason)
	}
	store.SetCatalogue(nil)
	if ok, reason := s.Ready(t.Context()); ok || !strings.Contains(reason, `no catalogue of project "ads"`) {
		t.Fatalf("ready: %t, %q; want the reason that there is no catalogue", ok, reason)
	}
	_, err = s.Lookup(t.Context(), "user_clicks", []string{"u1"})
	wantError(t, err, serve.Unavailable, "no catalogue")
}

func TestCatalogue_ContradictionIsCorrupt(t *testing.T) {
	for want, spoil := range map[string]func(c *features.Catalogue){
		`no entity "nobody"`:   func(c *features.Catalogue) { c.Views[0].Entity = "nobody" },
		`of type "double"`:     func(c *features.Catalogue) { c.Entities[0].JoinKeys[0].Type = "double" },
		"entity user: no join": func(c *features.Catalogue) { c.Entities[0].JoinKeys = nil },
	} {
		s, store, _ := newServer(t, features.WallClock)
		c := ads(features.WallClock)
		spoil(c)
		store.SetCatalogue(c)
		_, err := s.Lookup(t.Context(), "user_clicks", []string{"u1"})
		wantError(t, err, serve.Corrupt, want)
	}
}

func TestCatalogue_IsCachedAndRefreshed(t *testing.T) {
	s, store, wall := newServer(t, features.WallClock)
	reads := func(want int, when string) {
		t.Helper()
		if got := store.Catalogues(); got != want {
			t.Fatalf("%s: the catalogue was read %d times, want %d", when, got, want)
		}
	}
	mustLookup(t, s, "user_clicks", "u1")
	mustLookup(t, s, "user_clicks", "u2")
	reads(1, "two lookups at once")
	wall.Move(5 * time.Second)
	mustLookup(t, s, "user_clicks", "u1")
	reads(2, "after the refresh interval")
	_, err := s.Lookup(t.Context(), "brand_new", []string{"u1"})
	wantError(t, err, serve.UnknownView, "brand_new")
	reads(3, "after an unknown name")
	c := ads(features.WallClock)
	c.Views = append(c.Views, features.CatalogueView{Name: "brand_new", Entity: "user", Schema: pairSchema})
	store.SetCatalogue(c)
	mustLookup(t, s, "brand_new", "u1")
	reads(4, "after a name that is new")
	wall.Move(5 * time.Second)
	store.SetCatalogue(nil)
	_, err = s.Lookup(t.Context(), "user_clicks", []string{"u1"})
	wantError(t, err, serve.Unavailable, "no catalogue")
	reads(5, "after the store was emptied")
}

// flaky fails to read the catalogue, and nothing else.
type flaky struct {
	*servetest.Store
	fail bool
}

func (f *flaky) Catalogue(ctx context.Context) (features.Catalogue, bool, error) {
	c, found, err := f.Store.Catalogue(ctx)
	if f.fail {
		err = errors.New("timeout")
	}
	return c, found, err
}

func TestCatalogue_LastKnownOneServesWhileTheStoreStutters(t *testing.T) {
	store := &flaky{Store: &servetest.Store{}}
	store.SetCatalogue(ads(features.WallClock))
	wall := &clock{now: time.UnixMicro(noon)}
	s := serve.New(serve.Options{Store: store, Project: "ads", Now: wall.Now, Refresh: 5 * time.Second})
	mustLookup(t, s, "user_clicks", "u1")
	store.fail = true
	wall.Move(6 * time.Second)
	mustLookup(t, s, "user_clicks", "u1")
	mustLookup(t, s, "user_clicks", "u1")
	if got := store.Catalogues(); got != 2 {
		t.Fatalf("the catalogue was asked for %d times, want 2: once, and once again after 6 s", got)
	}
}

func TestCatalogue_NewSchemaIsSeenAtOnce(t *testing.T) {
	s, store, wall := newServer(t, features.WallClock)
	mustLookup(t, s, "user_clicks", "u1")
	c := ads(features.WallClock)
	c.Views[0].Schema = servetest.Schema("c2", "clicks", "int64", "spend", "double", "visits", "int64")
	store.SetCatalogue(c)
	v := clicks("u1")
	v.Schema, v.Values = c.Views[0].Schema, append(v.Values, windows.IntOf(11))
	store.Put(v)
	wall.Move(1100 * time.Millisecond)
	row := mustLookup(t, s, "user_clicks", "u1")
	if len(row.Values) != 3 || row.Values[2].Int() != 11 {
		t.Fatalf("values %v, want the new feature too", row.Values)
	}
	store.Put(clicks("u2")) // not rewritten yet
	before := store.Catalogues()
	for range 10 {
		if row := mustLookup(t, s, "user_clicks", "u2"); row.Values[0].Int() != 3 || !row.Values[2].IsNull() {
			t.Fatalf("values %v of an older vector, want 3 and no visits", row.Values)
		}
	}
	if got := store.Catalogues(); got != before {
		t.Fatalf("vectors not yet rewritten made the catalogue be read %d times within a second, want none", got-before)
	}
}

// slow lets a test hold the catalogue back.
type slow struct {
	*servetest.Store
	release chan struct{}
}

func (s *slow) Catalogue(ctx context.Context) (features.Catalogue, bool, error) {
	select {
	case <-s.release:
		return s.Store.Catalogue(ctx)
	case <-ctx.Done():
		return features.Catalogue{}, false, ctx.Err()
	}
}

func TestCatalogue_OneReadServesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{&servetest.Store{}, make(chan struct{})}
		store.SetCatalogue(ads(features.WallClock))
		s := serve.New(serve.Options{Store: store, Project: "ads"})
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make(chan error, 11)
		for i := range 10 {
			go func() {
				_, err := s.Lookup(t.Context(), "user_clicks", []string{fmt.Sprint(i)})
				errs <- err
			}()
		}
		synctest.Wait()
		_, err := s.Lookup(impatient, "user_clicks", []string{"u"})
		wantError(t, err, serve.Unavailable, "did not answer in time")
		close(store.release)
		for range 10 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if got := store.Catalogues(); got != 1 {
			t.Fatalf("the catalogue was read %d times for 10 callers, want once", got)
		}
	})
}

func TestTasks_TellTheirAge(t *testing.T) {
	s, store, _ := newServer(t, features.WallClock)
	store.Beat(features.Heartbeat{Task: 0, Time: noon - 3*second, Address: "w:1"})
	tasks, err := s.Tasks(t.Context())
	if err != nil || len(tasks) != 1 || tasks[0].Age != 3*time.Second || tasks[0].Address != "w:1" {
		t.Fatalf("tasks %+v, %v; want one, 3 s old", tasks, err)
	}
	if s.Project() != "ads" {
		t.Fatalf("project %q, want ads", s.Project())
	}
}

func TestService_MayNameAFeatureTwice(t *testing.T) {
	s, store, _ := newServer(t, features.WallClock)
	store.Put(clicks("u1"))
	sel, err := s.Service(t.Context(), "twice")
	if err != nil {
		t.Fatal(err)
	}
	table, err := s.Read(t.Context(), sel, []windows.Value{windows.StringOf("u1")})
	if err != nil || len(table.Features) != 2 || table.Cell(0, 0) != table.Cell(0, 1) || table.Vectors != 1 {
		t.Fatalf("%+v, %v; want the same value twice, from one vector", table, err)
	}
}

// An answer is as old as the oldest of the vectors that were found for it; with the event clock nobody can say.
func TestRead_AgeOfAnAnswer(t *testing.T) {
	s, store, wall := newServer(t, features.WallClock)
	if age := mustLookup(t, s, "user_clicks", "u1").Age; age != -1 {
		t.Errorf("the age of nothing is %d µs, want -1", age)
	}
	v := clicks("u1")
	store.Put(v)
	if age := mustLookup(t, s, "user_clicks", "u1").Age; age != 60*second {
		t.Errorf("a vector that holds at a frontier 60 s ago is %d µs old", age)
	}
	wall.Move(5 * time.Second)
	if age := mustLookup(t, s, "user_clicks", "u1").Age; age != 65*second {
		t.Errorf("5 s later it is %d µs old", age)
	}
	wall.Move(-2 * time.Minute)
	if age := mustLookup(t, s, "user_clicks", "u1").Age; age != 0 {
		t.Errorf("by a clock behind the worker's it is %d µs old, want 0", age)
	}
	s, store, _ = newServer(t, features.EventClock)
	store.Put(v)
	if age := mustLookup(t, s, "user_clicks", "u1").Age; age != -1 {
		t.Errorf("with the event clock it is %d µs old, want -1", age)
	}
}
