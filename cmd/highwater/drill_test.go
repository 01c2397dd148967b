package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/redis/go-redis/v9"

	"highwater/batch"
	"highwater/batch/faults"
	"highwater/batch/faults/disk"
	"highwater/batch/kafka/embedded"
	"highwater/features"
	"highwater/testutil/e2e"
	"highwater/testutil/redistest"
	"highwater/windows"
)

// A drill of an example ends with every value and every byte as promised, has killed real processes for it, and somebody has read all the while.
func TestDrill_AsPromised(t *testing.T) {
	t.Parallel()
	const seed = "20"
	code, out, log := e2e.Run(t, "drill", "--example", "surge", "--rounds", "2", "--seed", seed, "--json", "--data-dir", t.TempDir())
	var got struct {
		Verdict string        `json:"verdict"`
		Rounds  []roundResult `json:"rounds"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitDone {
		t.Fatalf("seed %s: exit %d, %v:\n%s\n%s", seed, code, err, out, log)
	}
	if got.Verdict != "equal" || len(got.Rounds) != 2 {
		t.Errorf("seed %s: %s", seed, out)
	}
	for _, r := range got.Rounds {
		if r.Kills < 2 || r.Batches < 20 || r.Values < 2000 || r.Vectors < 400 || r.State < 400 || r.Seen == 0 || r.Strays == 0 || !r.sound() {
			t.Errorf("seed %s: round %+v", seed, r)
		}
		for _, n := range r.Reads {
			if n.Seen < 50 || n.Failed > n.Polls/2 {
				t.Errorf("seed %s: read by %+v", seed, n)
			}
		}
		if len(r.Reads) != int(readWays) {
			t.Errorf("seed %s: read by %+v", seed, r.Reads)
		}
	}
}

// A round in which vectors are put back to what they were before is no sound one, although later batches write them anew: the reader beside it sees them go back.
func TestDrill_NoticesAnOldVector(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	const kept, putBack = 3, 12
	var old map[string]string
	d.meddle = func(addr string, committed features.Version) {
		client := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
		defer client.Close()
		project := client.Keys(t.Context(), "*:catalogue").Val()
		if len(project) == 0 {
			return
		}
		name := strings.TrimSuffix(project[0], ":catalogue")
		switch {
		case old == nil && committed.Sequence >= kept:
			old = redistest.Vectors(t.Context(), client, name)
		case committed.Sequence >= putBack && len(old) > 0:
			for key, value := range old {
				client.Set(t.Context(), key, value, 0)
			}
			old = map[string]string{}
		}
	}
	result, err := d.round(t.Context(), 0, 7)
	if err != nil {
		t.Fatal(err)
	}
	if result.StepsBack == 0 || len(result.Steps) == 0 || result.sound() {
		t.Errorf("old vectors were put back, and the round says %+v", result)
	}
}

// A worker that has read what its broker no longer knows of stops, and stops again when it is started, until the logs are whole again; one whose logs end before they should takes nothing for complete.
func TestDrill_LogsLoseTheirEnds(t *testing.T) {
	t.Parallel()
	for _, keep := range []int{0, 99} {
		d := startDrill(t)
		d.fate = func(life int) (l drillLife) {
			if life == 0 {
				l.cut, l.cutAt = &embedded.Disturbance{Act: embedded.Truncate, Keep: keep, For: time.Second}, 1
			}
			return l
		}
		result, err := d.round(t.Context(), 0, 7)
		if err != nil {
			t.Fatal(err)
		}
		if result.CutOff == 0 || !result.sound() || result.Values < 2000 {
			t.Errorf("logs of which %d %% were left for a while: %+v", keep, result)
		}
		t.Logf("logs of which %d %% were left for a while: the worker stopped %d times", keep, result.CutOff)
	}
}

// A worker that finds its own versions with other bytes stops, and that is no stop by a fault, also where its disk was to break: the round fails, even if all is well again before the next life.
func TestDrill_SwallowsNoDivergence(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	lives := 0
	withRedis := func(addr string, do func(client *redis.Client, project string)) {
		client := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
		defer client.Close()
		do(client, strings.TrimSuffix(client.Keys(t.Context(), "*:catalogue").Val()[0], ":catalogue"))
	}
	var sound map[string]string
	var server string
	d.fate = func(life int) (l drillLife) {
		if lives = life + 1; life > 0 {
			withRedis(server, func(client *redis.Client, _ string) {
				for key, value := range sound {
					client.Set(t.Context(), key, value, 0)
				}
			})
			return l
		}
		l.disk = []disk.Fault{{Act: disk.Full, Nth: 1 << 30}}
		return l
	}
	d.meddle = func(addr string, committed features.Version) {
		if committed.Sequence != 3 {
			return
		}
		server = addr
		withRedis(addr, func(client *redis.Client, project string) {
			sound = redistest.Vectors(t.Context(), client, project)
			next := uint64(0)
			for key, value := range sound { // of the batches to come: those that are planned already may be past their publishing
				v := features.Version{Generation: committed.Generation, Sequence: committed.Sequence + 2 + next%8}
				client.Set(t.Context(), key, v.String()+value[20:], 0)
				next++
			}
		})
	}
	_, err := d.round(t.Context(), 0, 7)
	if err == nil || !strings.Contains(err.Error(), "were stored with other bytes") || lives != 1 {
		t.Errorf("after %d lives: %v", lives, err)
	}
}

// A worker whose disk refuses a sync, as it was to, is stopped, also where the disk takes the process down at once; the round goes on, and is sound.
func TestDrill_CountsABrokenDiskAsAStop(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	d.fate = func(life int) (l drillLife) {
		if nth := []int{1, 2, 5, 20}; life < len(nth) {
			l.disk = []disk.Fault{{Act: disk.FailSync, Nth: nth[life], Syncs: 1}}
		}
		return l
	}
	result, err := d.round(t.Context(), 0, 7)
	if err != nil {
		t.Fatal(err)
	}
	if result.Stopped != 4 || result.Kills != 0 || !result.sound() {
		t.Errorf("four disks broke: %+v", result)
	}
}

// What ends a worker counts as a stop only where it is what was injected, all of it.
func TestDrillChild_KnowsWhatWasDoneToIt(t *testing.T) {
	full, failing, sound := disk.New(vfs.NewMem(), disk.Options{}), disk.New(vfs.NewMem(), disk.Options{}), disk.New(vfs.NewMem(), disk.Options{})
	full.Inject(disk.Fault{Act: disk.Full})
	failing.Inject(disk.Fault{Act: disk.FailSync})
	f, err := failing.Create("1.log", vfs.WriteCategoryUnspecified)
	must(t, err)
	if err := f.Sync(); err == nil {
		t.Fatal("a sync that was to fail did not")
	}
	injected, other := fmt.Errorf("batch 1/5: %w", &faults.Error{At: "publish.before"}), batch.Permanent(errors.New("2 vectors have this task's versions with other bytes"))
	io, space := fmt.Errorf("commit: %w", syscall.EIO), fmt.Errorf("open: %w", syscall.ENOSPC)
	for _, c := range []struct {
		disk *disk.FS
		err  error
		want bool
	}{
		{sound, injected, true}, {sound, other, false}, {sound, errors.Join(injected, other), false}, {sound, errors.Join(injected, fmt.Errorf("close: %w", injected)), true},
		{sound, io, false}, {sound, space, false}, {sound, &batch.FullError{}, false},
		{failing, io, true}, {failing, space, false}, {failing, other, false}, {failing, errors.Join(other, io), false},
		{full, io, false}, {full, space, true}, {full, &batch.FullError{}, true}, {full, other, false}, {full, errors.Join(other, space), false},
	} {
		w := &childWords{inject: faults.New(nil, nil), disk: c.disk}
		if got := only(c.err, w.injected); got != c.want {
			t.Errorf("%q, on a disk of %v: injected %v", c.err, c.disk.Struck(), got)
		}
	}
}

// Two runs of other batches have equal values, and bytes that differ.
func TestDrill_TellsBytesFromValues(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	run := func(name string, records int64) (drillEnd, map[string]string, string) {
		changes, dir := d.changes("drilled", records), filepath.Join(d.dir, name)
		server, err := d.runClean(t.Context(), changes, dir, nil)
		must(t, err)
		defer server.Close()
		flags := redisFlags{Redis: []string{server.Addr()}}
		end, err := d.endOf(t.Context(), changes, dir, flags)
		must(t, err)
		stored, err := storedBytes(t.Context(), flags, "drilled")
		must(t, err)
		return end, stored, dir
	}
	one, oneBytes, oneDir := run("one", 5_000)
	two, twoBytes, twoDir := run("two", 3_000)
	var values, vectors, state, none differences
	if n := compareValues(two, one, &values); values.count != 0 || n < 2000 {
		t.Errorf("%d values compared: %v", n, values.first)
	}
	p, err := d.parse(d.changes("drilled", 1))
	must(t, err)
	a, err := openDrilled(p, oneDir)
	must(t, err)
	defer a.Close()
	b, err := openDrilled(p, twoDir)
	must(t, err)
	defer b.Close()
	compareBytes(twoBytes, oneBytes, &vectors)
	compareBytes(oneBytes, oneBytes, &none)
	_, err = compareStates(b, a, &state)
	must(t, err)
	n, err := compareStates(a, a, &none)
	must(t, err)
	if vectors.count == 0 || state.count == 0 || none.count != 0 || n < 400 {
		t.Errorf("differences of vectors %d, of state %d, of a run and itself %d (%v), of %d entries", vectors.count, state.count, none.count, none.first, n)
	}
}

// Whatever is not equal is named: the view, the entity, the feature, and both values.
func TestDrill_NamesWhatDiffers(t *testing.T) {
	end := func(change func(map[features.VectorKey]drillVector)) drillEnd {
		values := map[features.VectorKey]drillVector{
			{View: "users", Entity: "u1"}: {eventTime: 5, values: map[string]windows.Value{"clicks": windows.IntOf(3), "mean": windows.DoubleOf(0.3)}},
			{View: "users", Entity: "u2"}: {eventTime: 6, expired: true},
		}
		change(values)
		return drillEnd{frontier: 9, values: values}
	}
	u1 := features.VectorKey{View: "users", Entity: "u1"}
	for want, change := range map[string]func(map[features.VectorKey]drillVector){
		"": func(m map[features.VectorKey]drillVector) { m[u1].values["mean"] = windows.DoubleOf(0.3 + 1e-16) },
		`value of users "u1" clicks: want 3, got 4`:    func(m map[features.VectorKey]drillVector) { m[u1].values["clicks"] = windows.IntOf(4) },
		`value of users "u1" clicks: want 3, got null`: func(m map[features.VectorKey]drillVector) { m[u1].values["clicks"] = windows.Value{} },
		`value of users "u1": want a vector, got none`: func(m map[features.VectorKey]drillVector) { delete(m, u1) },
		`value of users "u3": want no vector, got one`: func(m map[features.VectorKey]drillVector) {
			m[features.VectorKey{View: "users", Entity: "u3"}] = drillVector{}
		},
		`value of users "u1" expired: want false, got true`: func(m map[features.VectorKey]drillVector) { v := m[u1]; v.expired = true; m[u1] = v },
		`value of users "u1" mean: want 0.3, got 0.3001`:    func(m map[features.VectorKey]drillVector) { m[u1].values["mean"] = windows.DoubleOf(0.3001) },
	} {
		var found differences
		compareValues(end(change), end(func(map[features.VectorKey]drillVector) {}), &found)
		if want == "" && found.count == 0 {
			continue
		}
		if found.count != 1 || want == "" || !strings.HasPrefix(found.first[0].String(), want) {
			t.Errorf("want %q, got %d: %v", want, found.count, found.first)
		}
	}
}

// A step back is one that no loss of Redis explains; after a loss, a vector must again not go back.
func TestDrillReader_TellsLossesFromStepsBack(t *testing.T) {
	r := &drillReader{}
	w := r.watch(readRedis)
	k := features.VectorKey{View: "users", Entity: "u1"}
	at := func(sequence uint64, asOf int64) sighting {
		return sighting{found: true, version: features.Version{Generation: 1, Sequence: sequence}, asOf: asOf, losses: r.losses.Load()}
	}
	for _, step := range []struct {
		what       string
		lose       bool
		now        sighting
		back, lost int64
	}{
		{what: "first seen", now: at(5, 50)},
		{what: "the same", now: at(5, 50)},
		{what: "newer as of", now: at(5, 60)},
		{what: "older as of", now: at(5, 55), back: 1},
		{what: "older version", now: at(4, 60), back: 1},
		{what: "gone", now: sighting{}, back: 1},
		{what: "there again", now: at(6, 70)},
	} {
		back, lost := r.back, r.lost
		if w.see(k, step.now); r.back-back != step.back || r.lost-lost != step.lost {
			t.Errorf("%s: %d steps back, %d by losses; want %d, %d", step.what, r.back-back, r.lost-lost, step.back, step.lost)
		}
	}
	must(t, r.lose(func() error { return nil }))
	if w.see(k, at(2, 20)); r.lost != 1 || r.back != 3 {
		t.Errorf("after a loss: %d steps back, %d by losses", r.back, r.lost)
	}
	if w.see(k, at(1, 10)); r.lost != 1 || r.back != 4 {
		t.Errorf("a step back after the loss was seen: %d steps back, %d by losses", r.back, r.lost)
	}
}

// httpVectors is a server of vectors over HTTP, as api is one: what it says of each is what the test has it say.
type httpVectors struct {
	status   int
	sequence int    // of versions
	asOf     string // RFC 3339
	found    bool
}

func (h *httpVectors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Features []string         `json:"features"`
		Entities []map[string]any `json:"entities"`
	}
	switch {
	case h.status != http.StatusOK:
		w.WriteHeader(h.status)
		fmt.Fprintf(w, `{"type":"urn:highwater:problem:internal"}`)
	case r.Method == http.MethodGet && r.URL.EscapedPath() == "/v1/features/users/u%2F1" && !h.found:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"type":"urn:highwater:problem:no-vector"}`)
	case r.Method == http.MethodGet && r.URL.EscapedPath() == "/v1/features/users/u%2F1":
		fmt.Fprintf(w, `{"version":{"generation":1,"sequence":%d},"as_of":%q}`, h.sequence, h.asOf)
	case r.Method == http.MethodPost && r.URL.Path == "/v1/features" && json.NewDecoder(r.Body).Decode(&body) == nil && slices.Equal(body.Features, []string{"users:clicks"}) && len(body.Entities) == 1 && body.Entities[0]["user_id"] == "u/1":
		status := "PRESENT"
		if !h.found {
			status = "NOT_FOUND"
		}
		fmt.Fprintf(w, `{"rows":[{"statuses":[%q],"as_of":[%q]}]}`, status, h.asOf)
	default:
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, `{"type":"what was that?"}`)
	}
}

// Both ways over HTTP hear what the server says, see it go back, and tell when it says nothing that they understand; a way that was never answered with a vector fails the round.
func TestDrillReader_ReadsOverHTTP(t *testing.T) {
	p, err := features.Parse("shop.yaml", []byte(strings.ReplaceAll(twoSourcesYAML, "clicked:", "users:")))
	must(t, err)
	says := &httpVectors{}
	server := httptest.NewServer(says)
	defer server.Close()
	r := &drillReader{project: p, base: server.URL, wanted: []features.VectorKey{{View: "users", Entity: "u/1"}}}
	ways := [readWays]poll{readOne: r.pollOneByOne(1), readMany: r.pollMany(1)}
	random := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		what    string
		says    httpVectors
		one     string // what one by one sees go back; "" for nothing
		many    string
		seen    int
		refused bool
	}{
		{"an error", httpVectors{status: 500}, "", "", 0, true},
		{"no vector yet", httpVectors{status: 200, asOf: "2026-01-01T00:00:01Z"}, "", "", 0, false},
		{"a vector", httpVectors{200, 5, "2026-01-01T00:00:01Z", true}, "", "", 1, false},
		{"a newer one", httpVectors{200, 6, "2026-01-01T00:00:02Z", true}, "", "", 1, false},
		{"an older version", httpVectors{200, 5, "2026-01-01T00:00:02Z", true}, "version", "", 1, false},
		{"an older as_of", httpVectors{200, 6, "2026-01-01T00:00:01.5Z", true}, "as_of", "as_of", 1, false},
		{"no time", httpVectors{200, 7, "yesterday", true}, "", "", 0, true},
		{"none any more", httpVectors{status: 200, asOf: "2026-01-01T00:00:03Z"}, "vector", "vector", 0, false},
	} {
		*says = c.says
		for way, want := range map[readWay]string{readOne: c.one, readMany: c.many} {
			before := len(r.steps)
			seen, err := ways[way](t.Context(), random)
			r.count(t.Context(), way, seen, err)
			if seen != c.seen || (err != nil) != c.refused {
				t.Errorf("%s, %s: %d vectors, %v", c.what, way, seen, err)
			}
			var what string
			if len(r.steps) > before {
				what = r.steps[before].What
			}
			if what != want {
				t.Errorf("%s, %s: %q went back, want %q", c.what, way, what, want)
			}
		}
		if c.what == "no vector yet" {
			if err := r.answered(); err == nil || !strings.Contains(err.Error(), "http, one by one") || !strings.Contains(err.Error(), "http, many at once") || !strings.Contains(err.Error(), "answered with 500") {
				t.Errorf("nobody was answered with a vector: %v", err)
			}
		}
	}
	if err := r.answered(); err == nil || strings.Contains(err.Error(), "http") || !strings.Contains(err.Error(), "(redis) was never answered with a vector, in 0 polls") {
		t.Errorf("both over HTTP were answered, and Redis was never asked: %v", err)
	}
	if n := r.counts()[readMany]; n.Polls != 8 || n.Seen != 4 || n.Failed != 2 {
		t.Errorf("%+v", n)
	}
}

// The worker that a drill kills is nobody's command.
func TestDrillChild_TakesNothingButOrders(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"drill-child"}, {"drill-child", "--data-dir", t.TempDir()}, {"worker", "drill-child"}} {
		if code, out, log := e2e.Run(t, args...); code != exitUsage || out != "" {
			t.Errorf("highwater %v: exit %d, %q, %q", args, code, out, log)
		}
	}
}

// startDrill starts a drill of surge, which ends with the test.
func startDrill(t *testing.T) *drill {
	t.Helper()
	seed := uint64(1)
	c := &drillCommand{Example: "surge", Rounds: 1, Seed: &seed, Kills: 3, Partitions: 1, DataDir: t.TempDir()}
	d, err := newDrill(t.Context(), c, streams{out: io.Discard, err: io.Discard, log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() {
		if err := d.close(t.Context()); err != nil {
			t.Logf("end the drill: %v", err)
		}
	})
	d.program, err = exec.LookPath(program)
	must(t, err)
	return d
}
