package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"highwater/batch/kafka"
	"highwater/examples"
	"highwater/features"
	"highwater/store/keys"
	"highwater/testutil/e2e"
)

// day is a bad day in the life of a worker on the ads example's events: some of them come before, the others after it. In the end every value must be the oracle's.
type day struct {
	*shop
	rows  []kafka.Row
	world *e2e.World
}

func newDay(t *testing.T) *day {
	t.Helper()
	text := strings.NewReplacer("topic: ad_events", "topic: clicks", "{interval: 5s, max_records: 100000}", "{interval: 100ms, max_records: 500}").Replace(string(examples.Definitions("ads")))
	d := &day{shop: newShop(t, text)}
	d.startKafka()
	d.startRedis()
	p, err := features.Load(d.definitions)
	must(t, err)
	_, gz := examples.Events("ads")
	d.rows, d.world = exampleRows(t, "ads", p), e2e.NewWorld(p, 1)
	for _, e := range e2e.Events(t, gz, p.Sources[0]) {
		d.world.Tell(e)
	}
	return d
}

// load brings the first n parts of the events in, of four.
func (d *day) load(n int) {
	d.t.Helper()
	rows := d.rows[:len(d.rows)*n/4]
	_, err := kafka.Load(d.t.Context(), kafka.LoadOptions{Brokers: []string{d.kafka}, Topic: "clicks"}, rowsOf(rows), nil)
	must(d.t, err)
	d.sent = int64(len(rows))
}

// awaitCommitted waits until all that was loaded is committed: by events, for the markers of the loader's transactions have offsets too.
func (d *day) awaitCommitted(w *e2e.Process) (at inspectedPosition) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("%d events to be committed", d.sent), func() error {
		select {
		case <-w.Ended():
			d.t.Fatalf("the worker has ended:\n%s", w.Stderr())
		default:
		}
		in, err := d.inspect()
		if err != nil {
			return err
		}
		if at = in.Position; at.Counters.Events != d.sent {
			return fmt.Errorf("the worker is at %+v", at)
		}
		return nil
	})
	return at
}

// refused starts the worker, which must end with exit code 1, and say all of that.
func (d *day) refused(t *testing.T, says ...string) {
	t.Helper()
	fails(t, exitFailed, says, "worker", "--definitions", d.definitions, "--kafka", d.kafka, "--redis", d.redisAddr, "--data-dir", d.dataDir, "--addr", "127.0.0.1:0")
}

// begin starts the worker and has it commit the first half of the events.
func (d *day) begin(flags ...string) (w *e2e.Process, own e2e.Client) {
	d.t.Helper()
	d.load(2)
	w = d.worker(flags...)
	own = e2e.Client{Base: "http://" + e2e.Log(w.AwaitLog("worker started"), "worker started", "addr")}
	d.awaitCommitted(w)
	return w, own
}

// end has the worker commit what is left, and holds every value against the oracle.
func (d *day) end(t *testing.T, w *e2e.Process) {
	t.Helper()
	d.load(4)
	at := d.awaitCommitted(w)
	if at.Counters.Events != int64(len(d.rows)) || at.Counters.Late+at.Counters.DeadLetter != 0 {
		t.Errorf("counters %+v, want %d events", at.Counters, len(d.rows))
	}
	serve := e2e.Start(t, "serve", "--project", "ads", "--redis", d.redisAddr, "--addr", "127.0.0.1:0")
	client := e2e.Client{Base: "http://" + e2e.Log(serve.AwaitLog("msg=serving"), "msg=serving", "addr")}
	if n := d.world.Check(t, client, false); n == 0 {
		t.Error("nothing was compared")
	}
	stopped(t, serve)
	stopped(t, w)
}

// says checks that a log or a message has all of those.
func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("it does not say %q:\n%s", p, text)
		}
	}
}

// TestDisk_DirectoryMovedAway takes the state's directory away under a running worker: it stops at once, and names the way out. With the directory back it goes on.
func TestDisk_DirectoryMovedAway(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	w, _ := d.begin()
	state := filepath.Join(d.dataDir, "state")
	must(t, os.Rename(state, state+".away"))
	d.load(3)
	if code := w.Wait(); code != exitFailed {
		t.Errorf("without its directory the worker ended with %d, want %d", code, exitFailed)
	}
	says(t, w.Stderr(), "the data directory was deleted, moved or replaced while it was in use: data directory "+state, "bring it back as it was and start again")
	must(t, os.RemoveAll(state))
	must(t, os.Rename(state+".away", state))
	d.end(t, d.worker())
}

// TestDisk_Corrupt damages the state's tables, and then its log: the worker refuses both, with the way out, and goes on from a sound copy.
func TestDisk_Corrupt(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	w, _ := d.begin()
	stopped(t, w)
	w = d.worker() // which turns the log into a table
	w.AwaitLog("worker started")
	d.load(3)
	d.awaitCommitted(w)
	stopped(t, w)
	state, sound := filepath.Join(d.dataDir, "state"), filepath.Join(t.TempDir(), "sound")
	must(t, os.CopyFS(sound, os.DirFS(state)))
	for _, kind := range []string{".sst", ".log"} {
		damaged := 0
		for _, path := range glob(t, state, "*"+kind) {
			content, err := os.ReadFile(path)
			must(t, err)
			for i := 100; i < len(content)-100; i += 1000 {
				content[i] ^= 0x55
				damaged++
			}
			must(t, os.WriteFile(path, content, 0o600))
		}
		if damaged == 0 {
			t.Fatalf("there was no %s to damage", kind)
		}
		if kind == ".log" { // a log with no sound record is what a power cut leaves: the directory is older than the vectors, and says so
			w := d.worker()
			w.AwaitLog("restored from an older copy")
			d.awaitCommitted(w)
			stopped(t, w)
		} else {
			d.refused(t, "the state is corrupt: data directory "+state, "nothing was misread", "restore the directory from a backup")
		}
		must(t, os.RemoveAll(state))
		must(t, os.CopyFS(state, os.DirFS(sound)))
	}
	d.end(t, d.worker("--take-over"))
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	must(t, err)
	return paths
}

// TestDisk_NoRights starts the worker, without the rights that root has, on a directory that it may not write to: it says whose it must be.
func TestDisk_NoRights(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("needs util-linux's setpriv")
	}
	d := newDay(t)
	w, _ := d.begin()
	stopped(t, w)
	state := filepath.Join(d.dataDir, "state")
	must(t, os.Chmod(state, 0o500))
	args := []string{"worker", "--definitions", d.definitions, "--kafka", d.kafka, "--redis", d.redisAddr, "--data-dir", d.dataDir, "--addr", "127.0.0.1:0"}
	code, log := runAs(t, "setpriv", append([]string{"--inh-caps=-dac_override,-dac_read_search", "--bounding-set=-dac_override,-dac_read_search", "highwater"}, args...)...)
	if strings.Contains(log, "setpriv:") {
		t.Skipf("setpriv cannot take rights away here: %s", log)
	}
	if code != exitFailed {
		t.Errorf("without rights it ended with %d", code)
	}
	says(t, log, "no rights: data directory "+state, "permission denied", "chown -R")
	must(t, os.Chmod(state, 0o700))
	d.end(t, d.worker())
}

// runAs runs highwater within another program to its end.
func runAs(t *testing.T, name string, args ...string) (code int, log string) {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// TestFiles_AFewAreEnough runs dev with as few file handles as are allowed, to the oracle's values; with fewer it refuses to start.
func TestFiles_AFewAreEnough(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs a shell")
	}
	d := newDay(t)
	code, log := runAs(t, sh, "-c", `ulimit -n 100; exec highwater "$0" "$@"`, "dev", "--exit-when-drained", "--addr", "127.0.0.1:0")
	if code != exitFailed {
		t.Errorf("with 100 files it ended with %d", code)
	}
	says(t, log, "may have only 100 files and connections open at a time, and needs at least 256", "ulimit -n", "LimitNOFILE=")
	d.load(4)
	code, log = runAs(t, sh, "-c", `ulimit -n 256; exec highwater "$0" "$@"`, "dev", "--definitions", d.definitions, "--kafka", d.kafka, "--redis", d.redisAddr, "--data-dir", d.dataDir, "--exit-when-drained", "--json", "--addr", "127.0.0.1:0")
	if code != exitDone || !strings.Contains(log, fmt.Sprintf(`"events":%d,`, len(d.rows))) {
		t.Fatalf("with 256 files it ended with %d:\n%s", code, log)
	}
	d.end(t, d.worker())
}

// TestVersions_OfTheDirectory starts on directories that other versions have written. A newer one is refused, with its number and the way out, and left as it is; an older one is carried over.
func TestVersions_OfTheDirectory(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	w, _ := d.begin()
	stopped(t, w)
	state := filepath.Join(d.dataDir, "state")
	write := func(key, value []byte) {
		t.Helper()
		db, err := pebble.Open(state, &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
		must(t, err)
		must(t, db.Set(key, value, pebble.Sync))
		must(t, db.Close())
	}
	write(keys.Meta("format"), []byte("7"))
	before := tree(t, state)
	d.refused(t, "was written by a newer Highwater (format 7; this one reads 1): run that version, or name a new directory")
	write(keys.Meta("format"), []byte("1"))
	if len(before) == 0 {
		t.Fatal("there is nothing in the directory")
	}

	markers := glob(t, state, "marker.format-version.*")
	if len(markers) != 1 {
		t.Fatalf("format markers: %v", markers)
	}
	newer := regexp.MustCompile(`\.\d+$`).ReplaceAllString(markers[0], ".999")
	must(t, os.Rename(markers[0], newer))
	files := tree(t, state)
	d.refused(t, "cannot be read by this version of Highwater", "run the version that wrote it, or name a new directory")
	if after := tree(t, state); !slices.Equal(after, files) {
		t.Errorf("the refused directory has changed: %v, before it %v", after, files)
	}
	must(t, os.Rename(newer, markers[0]))
	d.end(t, d.worker())
}

// tree lists a directory's files, but for the lock and who holds it.
func tree(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if e.Name() != "LOCK" && e.Name() != "OWNER" {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestVersions_OlderPebble carries a directory over that an older Pebble format was written in.
func TestVersions_OlderPebble(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	w, _ := d.begin()
	stopped(t, w)
	state := filepath.Join(d.dataDir, "state")
	old := filepath.Join(t.TempDir(), "old")
	must(t, copyStore(state, old, pebble.FormatMinSupported))
	must(t, os.RemoveAll(state))
	must(t, os.CopyFS(state, os.DirFS(old)))
	d.end(t, d.worker())
}

// copyStore writes a store's content again, in another format.
func copyStore(from, to string, format pebble.FormatMajorVersion) error {
	src, err := pebble.Open(from, &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := pebble.Open(to, &pebble.Options{FormatMajorVersion: format, Logger: quiet{}})
	if err != nil {
		return err
	}
	defer dst.Close()
	it, err := src.NewIter(nil)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if err := dst.Set(it.Key(), it.Value(), pebble.NoSync); err != nil {
			return err
		}
	}
	return dst.Flush()
}

// TestPoison_AtTheHead puts records that are made to hurt at the head of the partition, before good ones: the worker counts each as what it is, keeps what it should of it, and goes on.
func TestPoison_AtTheHead(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.WallClock, 50*time.Millisecond))
	s.startKafka()
	s.startRedis()
	now := time.Now().UnixMilli()
	const almost = 1<<20 - 200 // within max_record_bytes
	with := func(field string, value []byte) []byte {
		return fmt.Appendf(nil, `{"user_id":"u1","ts":%d,"%s":%s}`, now, field, value)
	}
	junk := make([]byte, 1<<19)
	rng := rand.NewChaCha8([32]byte{7})
	_, _ = rng.Read(junk)
	poison := []struct {
		value  []byte
		reason string // "" for one that is odd, and good
	}{
		{bytes.Repeat([]byte("["), almost), "malformed"},
		{bytes.Repeat([]byte(`{"a":`), almost/5), "malformed"},
		{with("deep", append(bytes.Repeat([]byte("["), almost/2), bytes.Repeat([]byte("]"), almost/2)...)), "malformed"},
		{with("price", bytes.Repeat([]byte("9"), almost)), "type"},
		{with("item", bytes.Repeat([]byte("9"), almost)), "type"},
		{with("price", append([]byte("0."), bytes.Repeat([]byte("0"), almost)...)), ""},
		{with("price", append([]byte("1e"), bytes.Repeat([]byte("9"), almost)...)), "type"},
		{with("note", append(append([]byte(`"`), bytes.Repeat([]byte(`\u0041`), almost/6)...), '"')), ""},
		{append([]byte("{"), bytes.Repeat([]byte(`"a":1,`), almost/6)...), "malformed"},
		{bytes.Repeat([]byte("\x00"), almost), "malformed"},
		{junk, "malformed"},
		{bytes.Repeat([]byte("x"), 20<<20), "too_large"}, // beyond what one fetch asks for, too
	}
	want, odd := map[string]int64{}, 0
	for _, p := range poison {
		s.send(p.value)
		if want[p.reason]++; p.reason == "" {
			odd++
		}
	}
	delete(want, "")
	s.sendClicks("u2", 5)
	w := s.worker()
	client := e2e.Client{Base: "http://" + e2e.Log(w.AwaitLog("worker started"), "worker started", "addr")}
	at := s.awaitCommitted(w)
	if fmt.Sprint(at.Counters.Reasons) != fmt.Sprint(want) || at.Counters.Events != int64(5+odd) {
		t.Errorf("%d events and %v, want %d and %v", at.Counters.Events, at.Counters.Reasons, 5+odd, want)
		for _, l := range s.deadLetters(len(poison) - odd) {
			for _, h := range l.Headers {
				if h.Key == "offset" || h.Key == "reason" || h.Key == "detail" {
					t.Logf("%s=%.200s", h.Key, h.Value)
				}
			}
		}
	}
	checkClicks(t, client, "u2", 5)
	for reason, n := range want {
		if got := metric(t, client, fmt.Sprintf(`highwater_dead_letters_total\{reason="%s"\}`, reason)); got != float64(n) {
			t.Errorf("highwater_dead_letters_total for %s is %v, want %d", reason, got, n)
		}
	}
	s.sendClicks("u2", 5)
	s.awaitCommitted(w)
	checkClicks(t, client, "u2", 10)
	stopped(t, w)
}

// TestMemory_Shares: without a limit everything gets what was asked for; with one, every share shrinks with it, and what may grow together fits into half of it.
func TestMemory_Shares(t *testing.T) {
	const mib = 1 << 20
	if b := budgetOf(noLimit, 128*mib, 128*mib); b.cache.most != 128*mib || b.prefetch.most != 128*mib || b.blockCache != 64*mib || b.memTable != 64*mib {
		t.Errorf("without a limit: %+v", b)
	}
	for _, limit := range []int64{64 * mib, 256 * mib, 1 << 30, 4 << 30} {
		b := budgetOf(limit, 128*mib, 128*mib)
		if sum := b.cache.most + b.prefetch.most + b.blockCache + 4*b.memTable; sum > limit*55/100 {
			t.Errorf("of %d MiB, %d MiB are given away: %+v", limit/mib, sum/mib, b)
		}
		if b.cache.least > b.cache.most || b.prefetch.least > b.prefetch.most || b.cache.most > 128*mib {
			t.Errorf("of %d MiB: %+v", limit/mib, b)
		}
	}
	if b := budgetOf(1<<30, 4*mib, 1*mib); b.cache.most != 4*mib || b.prefetch.most != 1*mib {
		t.Errorf("less was asked for than there is: %+v", b)
	}
}

// TestMemory_ShrinksAndGrows: as memory fills, cache and prefetch halve down to the least, each step logged; in between nothing moves; with room they come back to where they were.
func TestMemory_ShrinksAndGrows(t *testing.T) {
	const limit = 1 << 30
	var log lockedBuffer
	live, applied := int64(limit/2), [][2]int64{}
	c := newMemoryController(budgetOf(limit, 128<<20, 64<<20), func() int64 { return live }, func(cache, prefetch int64) { applied = append(applied, [2]int64{cache, prefetch}) },
		slog.New(slog.NewTextHandler(&log, nil)))
	looks := func(n int) {
		for range n {
			c.look()
		}
	}
	looks(5)
	if len(applied) != 0 {
		t.Fatalf("with room enough it changed %v", applied)
	}
	live = limit * 8 / 10
	looks(1)
	if want := [2]int64{64 << 20, 32 << 20}; len(applied) != 1 || applied[0] != want {
		t.Fatalf("at 80 %% it changed %v, want %v", applied, want)
	}
	live = limit * 65 / 100
	looks(5)
	if len(applied) != 1 {
		t.Fatalf("between the marks it changed %v", applied)
	}
	live = limit
	looks(30)
	cache, prefetch, shrinks := c.bounds()
	if cache != leastCache || prefetch != leastPrefetch || shrinks < 5 {
		t.Errorf("full for long, it stands at %d and %d after %d steps", cache, prefetch, shrinks)
	}
	if n := strings.Count(log.String(), "as small as can be"); n != 1 {
		t.Errorf("it said %d times that no more can be given up, want once:\n%s", n, &log)
	}
	live = limit / 10
	looks(2 * regrowN)
	if cache, prefetch, _ := c.bounds(); cache != 128<<20 || prefetch != 64<<20 {
		t.Errorf("with room again it stands at %d and %d", cache, prefetch)
	}
	says(t, log.String(), "memory is tight: cache and prefetch shrink", "memory has room again: cache and prefetch grow")
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
