package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"highwater/batch"
	"highwater/batch/kafka/embedded"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	embeddedredis "highwater/store/online/embedded"
	"highwater/store/state"
	"highwater/testutil/e2e"
	"highwater/testutil/redistest"
)

// TestKill_EndsAsARunLeftAlone kills `highwater dev` at 20 random moments and starts it again on the same directory. In the end the features are those of a run left alone, and every byte, in the state and in Redis, is that of a
// clean execution of the recorded plans in an empty directory, although every call that any of them ever sent to Redis comes once more, late and out of order. HIGHWATER_SEED repeats the moments, as far as a scheduler lets them be repeated.
func TestKill_EndsAsARunLeftAlone(t *testing.T) {
	t.Parallel()
	const kills = 20
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("HIGHWATER_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))

	killed := newVictim(t)
	for n := range kills {
		killed.live(killed.moment(r, n, kills))
	}
	got := killed.finish()
	replayed := killed.replayCalls(r)
	alone := newVictim(t)
	want := alone.finish()
	if got.Events != want.Events || got.Late != want.Late || got.DeadLetter != want.DeadLetter || *got.Frontier != *want.Frontier || got.Stale+got.Divergent != 0 {
		t.Errorf("after %d kills: %+v\na run left alone: %+v", kills, got, want)
	}
	a, b := killed.features(), alone.features()
	if len(a) == 0 || !maps.Equal(a, b) {
		t.Errorf("after %d kills the features are not those of a run left alone: %s", kills, firstDifference(a, b))
	}
	clean := killed.executePlans()
	if a, b := killed.vectors(), clean.vectors(); !maps.Equal(a, b) {
		t.Errorf("the bytes in Redis are not those of a clean execution of the plans: %s", firstDifference(a, b))
	}
	if a, b := dump(t, killed.dir), dump(t, clean.dir); !maps.Equal(a, b) {
		t.Errorf("the bytes of the state are not those of a clean execution of the plans: %s", firstDifference(a, b))
	}
	t.Logf("%d features, %d vectors, %d keys of state compared, after %d stray calls", len(a), len(clean.vectors()), len(dump(t, clean.dir)), replayed)
}

// victim is a data directory and a Redis, and the highwater that lives on them again and again.
type victim struct {
	t     *testing.T
	dir   string
	redis *embeddedredis.Redis

	calls  atomic.Int64                       // of the process alive, to Redis's scripts
	strike atomic.Pointer[func(n int64) bool] // hears of each such call before it is carried out; true: it never is

	mu   sync.Mutex // guards sent
	sent [][]any    // every such call
}

func newVictim(t *testing.T) *victim {
	v := &victim{t: t, dir: t.TempDir()}
	v.redis = redistest.Embedded(t, func(peer *server.Peer, command string, args ...string) bool {
		if command != "EVALSHA" {
			return false
		}
		v.keep(args)
		strike := v.strike.Load()
		if strike == nil {
			return false
		}
		if swallow := (*strike)(v.calls.Add(1)); swallow {
			peer.Close()
			return true
		}
		return false
	})
	return v
}

func (v *victim) keep(args []string) {
	call := []any{"EVALSHA"}
	for _, a := range args {
		call = append(call, a)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sent = append(v.sent, call)
}

// replayCalls sends every call once more, as strays that were long under way: in any order. It returns how many there were.
func (v *victim) replayCalls(r *rand.Rand) int {
	v.t.Helper()
	v.mu.Lock()
	strays := v.sent
	v.sent = nil
	v.mu.Unlock()
	r.Shuffle(len(strays), func(i, j int) { strays[i], strays[j] = strays[j], strays[i] })
	client := redis.NewClient(&redis.Options{Addr: v.redis.Addr(), DisableIdentity: true})
	defer client.Close()
	for _, call := range strays {
		if err := client.Do(v.t.Context(), call...).Err(); err != nil {
			v.t.Fatalf("a stray call: %v", err)
		}
	}
	return len(strays)
}

func (v *victim) start() *e2e.Process {
	return e2e.Start(v.t, "dev", "--example", "ads", "--batch-max-records", "500", "--batch-interval", "200ms", "--data-dir", v.dir, "--redis", v.redis.Addr(), "--addr", "127.0.0.1:0",
		"--exit-when-drained", "--json", "--log-level", "warn")
}

// moment is when a process is to die.
type moment struct {
	what    string
	file    string // once this file or directory of the data directory has so many bytes; "" for no such condition
	bytes   int64
	call    int64         // at the latest at this call of a script in Redis, which are how a batch is claimed, published and confirmed; 0: once started
	swallow bool          // that call is lost with the process, else it is carried out without its hearing of it
	after   time.Duration // or the call is answered, and it dies so much later: while it commits, plans, fetches
}

// moment draws the n-th of several. The first few are while it starts on an empty directory, the next while it loads; a batch makes some 9 calls, so no life is longer than two.
func (v *victim) moment(r *rand.Rand, n, of int) moment {
	m := moment{call: 1 + r.Int64N(20), swallow: r.IntN(2) == 0}
	switch {
	case n == 0:
		return moment{what: "as it starts"}
	case n < of/4:
		const each = 700_000 // of 3 MB
		m.file, m.bytes = "kafka/broker/partitions", each*int64(n-1)+r.Int64N(each)
		m.what = fmt.Sprintf("loading, at %d bytes, or at call %d", m.bytes, m.call)
	case r.IntN(5) == 0:
		m.file = []string{"kafka/LOCK", "state/OWNER", "control.sock"}[r.IntN(3)]
		m.what = "starting, once " + m.file + " is there"
	case r.IntN(3) == 0:
		m.after, m.swallow = time.Duration(r.IntN(20_000))*time.Microsecond, false
		m.what = fmt.Sprintf("%s after call %d", m.after, m.call)
	default:
		m.what = fmt.Sprintf("at call %d, swallowed: %v", m.call, m.swallow)
	}
	return m
}

// live starts the process and has it die at the moment.
func (v *victim) live(m moment) {
	v.t.Helper()
	_ = os.Remove(filepath.Join(v.dir, "control.sock")) // what the one before has left says nothing of this one
	_ = os.Remove(filepath.Join(v.dir, "state/OWNER"))
	v.calls.Store(0)
	child := make(chan *e2e.Process, 1)
	strike := func(n int64) bool {
		if n != m.call {
			return n > m.call && m.after == 0 // nothing that it sent before it died comes later than its death
		}
		p := <-child
		child <- p
		if m.after > 0 {
			time.AfterFunc(m.after, p.Kill)
			return false
		}
		p.Kill()
		<-p.Ended()
		return m.swallow
	}
	v.strike.Store(&strike)
	p := v.start()
	child <- p
	switch {
	case m.call == 0 && m.file == "":
		p.Kill()
	case m.file != "":
		v.awaitFile(p, m)
		p.Kill()
	}
	code := p.Wait()
	v.strike.Store(nil)
	v.t.Logf("killed %s, after %d calls", m.what, v.calls.Load())
	if code != -1 {
		v.t.Fatalf("it ended by itself, with %d, before its time; its log:\n%s", code, p.Stderr())
	}
}

// awaitFile looks at the data directory until it is as the moment wants it, or the process has ended.
func (v *victim) awaitFile(p *e2e.Process, m moment) {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		if size, found := sizeOf(filepath.Join(v.dir, m.file)); found && size >= m.bytes {
			return
		}
		select {
		case <-p.Ended():
			return
		case <-look.C:
		}
	}
}

// sizeOf returns the bytes in a file, or in all files below a directory.
func sizeOf(path string) (size int64, found bool) {
	err := filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size, err == nil
}

// finish lets the process run to its end, and returns its summary.
func (v *victim) finish() summary {
	v.t.Helper()
	p := v.start()
	var s summary
	if code := p.Wait(); code != exitDone {
		v.t.Fatalf("the last run ended with %d:\n%s", code, p.Stderr())
	}
	if err := json.Unmarshal([]byte(p.Stdout()), &s); err != nil {
		v.t.Fatalf("the summary %q: %v", p.Stdout(), err)
	}
	return s
}

// vectors returns what is in Redis, byte for byte.
func (v *victim) vectors() map[string]string { return vectorsIn(v.redis.Addr(), "ads") }

func vectorsIn(addr, project string) map[string]string {
	client := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	defer client.Close()
	return redistest.Vectors(context.Background(), client, project)
}

// features returns what readers find, without versions, which are the cuts': by vector, its values and its newest event.
func (v *victim) features() map[string]string {
	v.t.Helper()
	found := map[string]string{}
	for _, vec := range storedVectors(v.t, v.redis.Addr(), "ads") {
		found[vec.View+" "+vec.Entity] = fmt.Sprintf("%v, expired %v, newest event %d", vec.Values, vec.Tombstone, vec.EventTime)
	}
	return found
}

// storedVectors reads every vector of a project as serve does.
func storedVectors(t *testing.T, redis, project string) (all []features.StoredVector) {
	t.Helper()
	reader, err := online.NewReader(redisFlags{Redis: []string{redis}}.options(project, 0, nil))
	must(t, err)
	defer reader.Close()
	for names := range slices.Chunk(slices.Sorted(maps.Keys(vectorsIn(redis, project))), 1000) {
		var wanted []features.VectorKey
		for _, name := range names {
			_, view, entity, _ := keys.ParseVector(name)
			wanted = append(wanted, features.VectorKey{View: view, Entity: entity})
		}
		fetched, err := reader.Fetch(t.Context(), wanted)
		must(t, err)
		all = append(all, fetched.Vectors...)
	}
	return all
}

// executePlans runs the recorded plans once, in an empty directory and on an empty Redis, over the same log.
func (v *victim) executePlans() *victim {
	v.t.Helper()
	clean := newVictim(v.t)
	p := exampleProject(v.t, "ads")
	from := openState(v.t, v.dir, p)
	recorded := planCount(v.t, from)
	closeState(v.t, from)
	broker := startBroker(v.t, embedded.Options{DataDir: filepath.Join(v.dir, "kafka")})
	store, err := online.Open(v.t.Context(), redisFlags{Redis: []string{clean.redis.Addr()}}.options("ads", 7*24*time.Hour, nil))
	must(v.t, err)
	defer store.Close()
	must(v.t, executeRecord(v.t.Context(), v.dir, clean.dir, executeOptions{kafka: kafkaFlags{Kafka: broker.Addrs()}, sinks: []batch.Sink{store}, tombstoneTTL: 7 * 24 * time.Hour}, slog.New(slog.DiscardHandler)))
	to := openState(v.t, clean.dir, p)
	defer closeState(v.t, to)
	if n := planCount(v.t, to); n != recorded || n < 20 {
		v.t.Errorf("the clean execution ran %d plans, %d are recorded", n, recorded)
	}
	return clean
}

func openState(t *testing.T, dataDir string, p *features.Project) *state.Store {
	t.Helper()
	s, err := state.Open(filepath.Join(dataDir, "state"), p, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeState(t *testing.T, s *state.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func planCount(t *testing.T, s *state.Store) int {
	t.Helper()
	plans, err := s.Plans().After(t.Context(), features.Version{})
	if err != nil {
		t.Fatal(err)
	}
	return len(plans)
}

// dump returns all bytes of an ads directory's state.
func dump(t *testing.T, dataDir string) map[string]string {
	t.Helper()
	s := openState(t, dataDir, exampleProject(t, "ads"))
	defer closeState(t, s)
	all := map[string]string{}
	err := s.Dump(func(key, value []byte) error {
		all[string(key)] = string(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// firstDifference names the first key that two maps disagree on.
func firstDifference(a, b map[string]string) string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		x, inA := a[k]
		y, inB := b[k]
		if inA != inB || x != y {
			return fmt.Sprintf("of %d and %d, first %q:\n%q (there: %v)\n%q (there: %v)", len(a), len(b), k, x, inA, y, inB)
		}
	}
	return "none"
}
