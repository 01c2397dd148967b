package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"highwater/batch"
	"highwater/batch/faults"
	"highwater/features"
)

// stub is everything that a task is wired with: it remembers what was called.
type stub struct {
	mu    sync.Mutex
	calls []string
}

func (s *stub) call(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
	return nil
}

type stubSource struct {
	batch.Source
	*stub
}

func (s stubSource) Start(context.Context, []batch.Place) error { return s.call("start") }
func (s stubSource) Cut(int64, int64) (batch.Cut, error)        { return batch.Cut{Offsets: 7}, s.call("cut") }
func (s stubSource) Ends(context.Context) ([]batch.End, error) {
	return []batch.End{{LogEnd: 7}}, s.call("ends")
}
func (s stubSource) Take(context.Context, []batch.Slice) ([][]batch.Record, error) {
	return [][]batch.Record{{}}, s.call("take")
}
func (s stubSource) Stalled() error { return errors.New("no leader") }

type stubPlans struct{ *stub }

func (p stubPlans) ID() string { return "log" }
func (p stubPlans) Append(_ context.Context, plan *batch.Plan) (*batch.Plan, error) {
	return plan, p.call("append")
}
func (p stubPlans) After(context.Context, features.Version) ([]*batch.Plan, error) {
	return []*batch.Plan{{}}, p.call("after")
}

type stubState struct {
	batch.State
	*stub
}

func (s stubState) Due(batch.TimerClock, int64, func(int, string) error) error { return s.call("due") }
func (s stubState) Begin() batch.Change {
	_ = s.call("begin")
	return stubChange{stub: s.stub}
}
func (s stubState) Scan(context.Context, int, string, func(*batch.Entity) error) error {
	return s.call("scan")
}
func (s stubState) Raise(context.Context, batch.Position, bool) error { return s.call("raise") }

type stubChange struct {
	batch.Change
	*stub
}

func (c stubChange) Load(int, []string) ([]*batch.Entity, error) {
	return []*batch.Entity{{}}, c.call("load")
}
func (c stubChange) Commit(context.Context, batch.Position) error { return c.call("commit") }
func (c stubChange) Discard()                                     { _ = c.call("discard") }

type stubStore struct{ *stub }

func (s stubStore) Name() string               { return "stub" }
func (s stubStore) Takes(o *batch.Output) bool { return len(o.Vectors) > 0 }
func (s stubStore) Publish(context.Context, *batch.Output) (batch.Outcome, error) {
	return batch.Outcome{Written: 1}, s.call("publish")
}
func (s stubStore) Read(context.Context) (batch.Key, bool, error) {
	return batch.Key{Owner: "me"}, true, s.call("read")
}
func (s stubStore) Owner(context.Context) (batch.Heartbeat, bool, error) {
	return batch.Heartbeat{Time: 1}, true, s.call("owner")
}
func (s stubStore) Claim(context.Context, batch.Claim) error { return s.call("claim") }
func (s stubStore) Planned(context.Context, features.Version, string) error {
	return s.call("planned")
}
func (s stubStore) Confirmed(context.Context, features.Version, batch.Key) (bool, error) {
	return true, s.call("confirmed")
}
func (s stubStore) Restoring(context.Context, batch.Key) error { return s.call("restoring") }
func (s stubStore) Restore(context.Context, batch.Key) (bool, error) {
	return true, s.call("restore")
}
func (s stubStore) Sweep(context.Context, features.Version, int64, int64, func(int) error) (int64, error) {
	return 1, s.call("sweep")
}
func (s stubStore) Beat(context.Context, batch.Heartbeat) error { return s.call("beat") }

// everything makes each call of the driver's once, through an injector, and returns the errors by the point's call.
func everything(t *testing.T, i *faults.Injector, s *stub) map[string]error {
	t.Helper()
	errs, ctx := map[string]error{}, t.Context()
	source, plans, state, sink, key := i.Source(stubSource{stub: s}), i.Plans(stubPlans{s}), i.State(stubState{stub: s}), i.Sink(stubStore{s}), i.TaskKey(stubStore{s})
	want := func(call string, err error, got bool) {
		errs[call] = err
		if err == nil && !got {
			t.Errorf("%s: what the call returned was lost", call)
		}
	}
	errs["source_start"] = source.Start(ctx, nil)
	cut, err := source.Cut(1, 1)
	want("cut", err, cut.Offsets == 7)
	ends, err := source.Ends(ctx)
	want("ends", err, len(ends) == 1)
	records, err := source.Take(ctx, nil)
	want("read", err, len(records) == 1)
	won, err := plans.Append(ctx, &batch.Plan{Clock: 7})
	want("plan", err, won != nil && won.Clock == 7)
	pending, err := plans.After(ctx, features.Version{})
	want("pending", err, len(pending) == 1)
	errs["due"] = state.Due(0, 0, nil)
	errs["scan"] = state.Scan(ctx, 0, "", nil)
	errs["raise"] = state.Raise(ctx, batch.Position{}, false)
	change := state.Begin()
	entities, err := change.Load(0, nil)
	want("transform", err, len(entities) == 1)
	errs["commit"] = change.Commit(ctx, batch.Position{})
	change.Discard()
	outcome, err := sink.Publish(ctx, &batch.Output{})
	want("publish", err, outcome.Written == 1)
	k, found, err := key.Read(ctx)
	want("key_read", err, found && k.Owner == "me")
	b, found, err := key.Owner(ctx)
	want("owner", err, found && b.Time == 1)
	errs["claim"] = key.Claim(ctx, batch.Claim{})
	errs["planned"] = key.Planned(ctx, features.Version{}, "")
	held, err := key.Confirmed(ctx, features.Version{}, batch.Key{})
	want("confirmed", err, held)
	errs["restoring"] = key.Restoring(ctx, batch.Key{})
	held, err = key.Restore(ctx, batch.Key{})
	want("restore", err, held)
	swept, err := key.Sweep(ctx, features.Version{}, 0, 0, nil)
	want("sweep", err, swept == 1)
	errs["beat"] = key.Beat(ctx, batch.Heartbeat{})
	errs["announce"] = i.Announce(func(context.Context) error { return s.call("announce") })(ctx)
	errs["begin"] = nil // tells by the calls that follow
	return errs
}

func TestInjector_PassesEveryPointOnceAndChangesNothingWithoutFaults(t *testing.T) {
	i, s := faults.New(nil, func() { t.Error("killed") }), &stub{}
	for call, err := range everything(t, i, s) {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	counts := i.Counts()
	for _, p := range faults.Points() {
		if counts[p] != 1 {
			t.Errorf("%s was passed %d times, want once", p, counts[p])
		}
	}
	if len(counts) != len(faults.Points()) || len(i.Fired()) != 0 {
		t.Errorf("%d points were passed, want the %d; fired: %v", len(counts), len(faults.Points()), i.Fired())
	}
	if i.Source(stubSource{}).(batch.StalledSource).Stalled() == nil {
		t.Error("what the source says of itself was lost")
	}
	if takes := i.Sink(stubStore{}).(batch.Selective).Takes; takes(&batch.Output{}) || !takes(&batch.Output{Vectors: make([]features.Vector, 1)}) {
		t.Error("what the sink takes was lost")
	}
}

func TestInjector_FailsBeforeWithoutAnEffectAndAfterWithOne(t *testing.T) {
	calls := len(func() []string { s := &stub{}; everything(t, faults.New(nil, nil), s); return s.calls }())
	for _, at := range faults.Points() {
		i, s := faults.New([]faults.Fault{{At: at, Nth: 1, Act: faults.Fail}}, nil), &stub{}
		errs := everything(t, i, s)
		call, when := string(at)[:slices.Index([]byte(at), '.')], string(at)[slices.Index([]byte(at), '.')+1:]
		for c, err := range errs {
			failed := c == call || call == "begin" && (c == "transform" || c == "commit")
			if f, ok := errors.AsType[*faults.Error](err); failed && c != "begin" && (!ok || f.At != at) || !failed && err != nil {
				t.Errorf("%s: %s returned %v", at, c, err)
			}
		}
		missing := calls - len(s.calls)
		switch {
		case call == "begin" && when == "before" && missing == 4, call == "begin" && when == "after" && missing == 2: // nothing was begun, or nothing done with it
		case call != "begin" && when == "before" && missing == 1, call != "begin" && when == "after" && missing == 0:
		default:
			t.Errorf("%s: %d calls had no effect: %v", at, missing, s.calls)
		}
		if fired := i.Fired(); len(fired) != 1 || fired[0].At != at {
			t.Errorf("%s: fired %v", at, fired)
		}
	}
}

func TestInjector_CountsEachPointByItself(t *testing.T) {
	i, s := faults.New([]faults.Fault{{At: "planned.before", Nth: 3, Act: faults.Fail}, {At: "beat.after", Nth: 0, Act: faults.Fail}}, nil), &stub{}
	key := i.TaskKey(stubStore{s})
	for n := 1; n <= 4; n++ {
		if err := key.Planned(t.Context(), features.Version{}, ""); (err != nil) != (n == 3) {
			t.Errorf("passage %d: %v", n, err)
		}
		if err := key.Beat(t.Context(), batch.Heartbeat{}); err == nil {
			t.Errorf("beat %d did not fail, and every one was to", n)
		}
	}
	if fired := i.Fired(); len(fired) != 5 || fired[4] != (faults.Fault{At: "beat.after", Nth: 4, Act: faults.Fail}) {
		t.Errorf("fired %v", fired)
	}
}

func TestInjector_DelaysAndOutagesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, s := faults.New([]faults.Fault{{At: "publish.before", Nth: 2, Act: faults.Delay, For: time.Minute}, {At: "commit.after", Nth: 1, Act: faults.Fail, For: time.Minute}}, nil), &stub{}
		start, sink := time.Now(), i.Sink(stubStore{s})
		for n, want := range []time.Duration{0, time.Minute, time.Minute} {
			if _, err := sink.Publish(t.Context(), &batch.Output{}); err != nil || time.Since(start) != want {
				t.Errorf("call %d ended after %s with %v, want %s", n+1, time.Since(start), err, want)
			}
		}
		change := i.State(stubState{stub: s}).Begin()
		for n, fails := range []bool{true, true, false} {
			if err := change.Commit(t.Context(), batch.Position{}); (err != nil) != fails {
				t.Errorf("commit %d: %v", n+1, err)
			}
			time.Sleep(40 * time.Second)
		}

		i = faults.New([]faults.Fault{{At: "publish.before", Nth: 1, Act: faults.Delay, For: time.Hour}}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		_, _ = i.Sink(stubStore{s}).Publish(ctx, &batch.Output{})
		if time.Since(start) != time.Second {
			t.Errorf("a delay went on for %s after its context had ended", time.Since(start)-time.Second)
		}
	})
}

func TestInjector_NothingThatADeadProcessDoesHasAnEffect(t *testing.T) {
	kills := 0
	i, s := faults.New([]faults.Fault{{At: "source_start.after", Nth: 1, Act: faults.Kill}}, func() { kills++ }), &stub{}
	for call, err := range everything(t, i, s) {
		if call != "begin" && !errors.Is(err, faults.ErrKilled) {
			t.Errorf("%s of a dead process: %v", call, err)
		}
	}
	if !reflect.DeepEqual(s.calls, []string{"start"}) || kills != 1 || !batch.IsPermanent(faults.ErrKilled) {
		t.Errorf("%d kills; called %v, want what came before the death alone", kills, s.calls)
	}
}

func TestInjector_KillsItsOwnProcess(t *testing.T) {
	if os.Getenv("HIGHWATER_TEST_DIE") != "" {
		i := faults.New([]faults.Fault{{At: "beat.before", Nth: 1, Act: faults.Kill}}, nil)
		_ = i.TaskKey(stubStore{&stub{}}).Beat(t.Context(), batch.Heartbeat{})
		t.Log("survived")
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestInjector_KillsItsOwnProcess", "-test.v")
	child.Env = append(os.Environ(), "HIGHWATER_TEST_DIE=1")
	out, err := child.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Exited() {
		t.Errorf("the child ended with %v, want a death by a signal:\n%s", err, out)
	}
}

func TestInjector_IsSafeForConcurrentUse(t *testing.T) {
	i, s := faults.New([]faults.Fault{{At: "publish.before", Nth: 50, Act: faults.Fail}}, nil), &stub{}
	var wg sync.WaitGroup
	failed := make(chan error, 100)
	for range 4 {
		wg.Go(func() {
			sink := i.Sink(stubStore{s})
			for range 25 {
				if _, err := sink.Publish(t.Context(), &batch.Output{}); err != nil {
					failed <- err
				}
			}
		})
	}
	wg.Wait()
	if len(failed) != 1 || i.Counts()["publish.before"] != 100 || i.Counts()["publish.after"] != 99 {
		t.Errorf("%d calls failed, want one; counts %v", len(failed), i.Counts())
	}
}

func TestFault_IsReadAsItWasWritten(t *testing.T) {
	list := faults.Draw(rand.New(rand.NewPCG(1, 1)), faults.Schedule{Faults: 100})
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	var read []faults.Fault
	if err := json.Unmarshal(text, &read); err != nil || !slices.Equal(list, read) {
		t.Errorf("%v: read %v of %s", err, read, text)
	}
	for _, bad := range []string{`{"at":"publish.during","act":"kill"}`, `{"at":"publish.before","act":"dead"}`, `{"at":"","act":"kill"}`} {
		if err := json.Unmarshal([]byte(bad), new(faults.Fault)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestDraw_FollowsItsSeedAndItsSchedule(t *testing.T) {
	draw := func(seed uint64, s faults.Schedule) []faults.Fault {
		return faults.Draw(rand.New(rand.NewPCG(seed, 0)), s)
	}
	all := faults.Schedule{Faults: 500}
	if !slices.Equal(draw(1, all), draw(1, all)) || slices.Equal(draw(1, all), draw(2, all)) {
		t.Error("a seed must give its own faults, again and again")
	}
	points, acts := map[faults.Point]bool{}, map[faults.Act]bool{}
	for _, f := range draw(3, all) {
		points[f.At], acts[f.Act] = true, true
		if f.Nth < 1 || f.Nth > 8 || f.For < 0 || f.For > 200*time.Millisecond || f.Act == faults.Kill && f.For > 0 || f.Act == faults.Delay && f.For == 0 {
			t.Errorf("drew %s", f)
		}
	}
	if len(points) != len(faults.Points()) || !maps.Equal(acts, map[faults.Act]bool{faults.Fail: true, faults.Delay: true, faults.Kill: true}) {
		t.Errorf("drew %d of %d points, and the acts %v", len(points), len(faults.Points()), acts)
	}
	for _, f := range draw(4, faults.Schedule{Faults: 50, Points: faults.Stages(), Acts: []faults.Act{faults.Kill}, Nth: 2}) {
		if !slices.Contains(faults.Stages(), f.At) || f.Act != faults.Kill || f.Nth > 2 {
			t.Errorf("drew %s, against its schedule", f)
		}
	}
	if len(draw(5, faults.Schedule{})) != 1 {
		t.Error("the zero schedule draws one fault")
	}
	for _, p := range faults.Retried() {
		if !slices.Contains(faults.Points(), p) {
			t.Errorf("%s is retried, and is no point", p)
		}
	}
}
