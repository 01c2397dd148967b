package state_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
)

// badDisk is a disk in memory that refuses what refuse says, with the room that free says.
type badDisk struct {
	vfs.FS
	mem    *vfs.MemFS
	free   atomic.Int64
	refuse atomic.Pointer[func(op errorfs.Op) error] // hears of every operation
}

func newBadDisk() *badDisk {
	d := &badDisk{mem: vfs.NewCrashableMem()}
	d.free.Store(1 << 40)
	d.FS = errorfs.Wrap(d.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if refuse := d.refuse.Load(); refuse != nil {
			return (*refuse)(op)
		}
		return nil
	}))
	return d
}

func (d *badDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(d.free.Load()), TotalBytes: 1 << 40}, nil
}

// refusing makes operations fail with an error of the operating system's where which says so.
func (d *badDisk) refusing(errno syscall.Errno, which func(op errorfs.Op) bool) {
	refuse := func(op errorfs.Op) error {
		if which(op) {
			return &fs.PathError{Op: "write", Path: op.Path, Err: errno}
		}
		return nil
	}
	d.refuse.Store(&refuse)
}

func (d *badDisk) mend() { d.refuse.Store(nil) }

func writes(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }

func toLog(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") }

// messages gathers what is logged.
type messages struct {
	mu   sync.Mutex
	text strings.Builder
	said chan struct{} // after each message, without blocking
}

func newMessages() *messages { return &messages{said: make(chan struct{}, 1)} }

func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text.Write(p)
	select {
	case m.said <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

// await waits until something is logged.
func (m *messages) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !strings.Contains(m.String(), text) {
		select {
		case <-m.said:
		case <-deadline:
			t.Fatalf("%q was not logged:\n%s", text, m)
		}
	}
}

// clean is what a store on a good disk holds after the same batches, by sequence.
func clean(t *testing.T, p *features.Project, batches int) [][]string {
	s := mustOpen(t, vfs.NewMem(), p)
	left := [][]string{dump(t, s)}
	for n := uint64(1); n <= uint64(batches); n++ {
		mustAppend(t, s, planOf(p, n))
		commit(t, s, p, n, names(200)...)
		left = append(left, dump(t, s))
	}
	return left
}

// TestDisk_NoRoomToSpare: while less than the reserve is free, plans and commits are refused and nothing is written; with room the same calls succeed.
func TestDisk_NoRoomToSpare(t *testing.T) {
	p := users(t)
	d := newBadDisk()
	s := mustOpen(t, d, p, func(o *state.Options) { o.ReserveBytes = 10 << 20 })
	mustAppend(t, s, planOf(p, 1))
	commit(t, s, p, 1, "u1")
	want := dump(t, s)

	d.free.Store(9 << 20)
	_, err := s.Plans().Append(context.Background(), planOf(p, 2))
	var full *batch.FullError
	if !errors.As(err, &full) || full.Free != 9<<20 || full.Need < 10<<20 || batch.IsPermanent(err) || batch.KindOf(err) != batch.KindDisk {
		t.Fatalf("a plan without room: %v", err)
	}
	for _, says := range []string{"the disk under data is full", "9.0 MiB are free", "10.0 MiB are wanted", "free some space or enlarge the volume"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("it does not say %q: %v", says, err)
		}
	}
	if got := sequences(t, s, 0); !slices.Equal(got, []uint64{1}) {
		t.Errorf("plans %v, want only the first", got)
	}
	c := s.Begin()
	if err := upsert(c, 0, []string{"u1", "u2"}, func(e *batch.Entity) { click(p, e, start, 2) }); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := c.Commit(context.Background(), at(2)); !errors.As(err, &full) {
			t.Fatalf("a commit without room: %v", err)
		}
	}
	if got := dump(t, s); !slices.Equal(got, want) || s.Waiting() == "" || s.Metrics().DiskWaits != 4 || s.Metrics().DiskFreeBytes != 9<<20 {
		t.Errorf("without room the state holds %q, waits for %q, and measures %+v", got, s.Waiting(), s.Metrics())
	}

	d.free.Store(1 << 30)
	if err := c.Commit(context.Background(), at(2)); err != nil {
		t.Fatal(err)
	}
	if pos, _ := s.Position(); pos.Version.Sequence != 2 || s.Waiting() != "" || len(entitiesOf(t, s, 0)) != 2 {
		t.Errorf("with room it is at %v, and waits for %q", pos.Version, s.Waiting())
	}
}

// TestDisk_FullUnderPebble lets Pebble itself run out of room, in the middle of writes, at moments all over the place: every write waits, none is lost and none is written twice.
func TestDisk_FullUnderPebble(t *testing.T) {
	const batches = 60
	p := users(t)
	want := clean(t, p, batches)
	d := newBadDisk()
	var op atomic.Int64
	d.refusing(syscall.ENOSPC, func(o errorfs.Op) bool { // every tenth write of what must not be lost fails: the making of a log, too
		must := toLog(o) || strings.Contains(o.Path, "MANIFEST")
		isWrite := o.Kind == errorfs.OpFileWrite || o.Kind == errorfs.OpCreate || o.Kind == errorfs.OpReuseForWrite
		return must && isWrite && op.Add(1)%10 == 0
	})
	said, began := newMessages(), time.Now()
	o := state.Options{FS: halves{d}, MemTableBytes: 1 << 20, Log: slog.New(slog.NewTextHandler(said, nil)), Fatal: func(m string) { panic(m) }}
	d.mend()
	s, err := state.Open("data", p, o)
	if err != nil {
		t.Fatal(err)
	}
	op.Store(0)
	d.refusing(syscall.ENOSPC, func(o errorfs.Op) bool {
		must := toLog(o) || strings.Contains(o.Path, "MANIFEST")
		isWrite := o.Kind == errorfs.OpFileWrite || o.Kind == errorfs.OpCreate || o.Kind == errorfs.OpReuseForWrite
		return must && isWrite && op.Add(1)%10 == 0
	})
	for n := uint64(1); n <= batches; n++ {
		mustAppend(t, s, planOf(p, n))
		commit(t, s, p, n, names(200)...)
	}
	if got := dump(t, s); !slices.Equal(got, want[batches]) || s.Metrics().DiskWaits == 0 || s.Waiting() != "" {
		t.Errorf("after %d waits it holds %d keys, want %d; it still waits for %q", s.Metrics().DiskWaits, len(got), len(want[batches]), s.Waiting())
	}
	for _, says := range []string{"the state's disk does not take a write; nothing is lost, trying again", "the disk is full", "free some space or enlarge the volume", "takes writes again"} {
		if !strings.Contains(said.String(), says) {
			t.Errorf("%q was not logged:\n%s", says, said)
		}
	}
	if lines, most := strings.Count(said.String(), "does not take a write"), 1+int(time.Since(began)/(10*time.Second)); lines > most || s.Metrics().DiskWaits < 2 {
		t.Errorf("%d lines tell of %d waits, want at most %d: one every ten seconds", lines, s.Metrics().DiskWaits, most)
	}
	d.mend()
	mustClose(t, s)
	after := mustOpen(t, d.mem.CrashClone(vfs.CrashCloneCfg{}), p)
	if got := dump(t, after); !slices.Equal(got, want[batches]) {
		t.Errorf("after a power cut it holds %d keys, want %d", len(got), len(want[batches]))
	}
}

// halves is a disk on which a write that fails for want of room has been half done.
type halves struct{ *badDisk }

type halfFile struct {
	vfs.File
	d    *badDisk
	path string
}

func (h halves) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.badDisk.Create(name, c)
	return h.wrap(f, name), err
}

func (h halves) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.badDisk.ReuseForWrite(oldname, newname, c)
	return h.wrap(f, newname), err
}

func (h halves) wrap(f vfs.File, name string) vfs.File {
	if f == nil {
		return nil
	}
	return &halfFile{File: f, d: h.badDisk, path: name}
}

func (f *halfFile) Write(p []byte) (int, error) {
	refuse := f.d.refuse.Load()
	if refuse == nil {
		return f.File.Write(p)
	}
	if err := (*refuse)(errorfs.Op{Kind: errorfs.OpFileWrite, Path: f.path}); err == nil {
		return f.File.Write(p)
	} else {
		f.d.refuse.Store(nil)
		n, werr := f.File.Write(p[:len(p)/2])
		f.d.refuse.Store(refuse)
		return n, errors.Join(err, werr)
	}
}

// TestDisk_AFailedSyncIsTheEnd fails one sync, the n-th, and lets every later one pass, as a kernel does that has dropped the pages: nothing is done again, the process ends, and what comes up after a power cut is every commit and
// every plan that was acknowledged, and of the others all or nothing.
func TestDisk_AFailedSyncIsTheEnd(t *testing.T) {
	const batches = 12
	p := users(t)
	want := clean(t, p, batches)
	ended := 0
	for n := int64(1); n <= 40; n++ {
		d := newBadDisk()
		var syncs, after atomic.Int64
		life := newMortal()
		s, err := state.Open("data", p, state.Options{FS: d, MemTableBytes: 1 << 20, Fatal: life.fatal})
		if err != nil {
			t.Fatal(err)
		}
		failed := atomic.Pointer[string]{}
		d.refusing(syscall.EIO, func(op errorfs.Op) bool {
			if op.Kind != errorfs.OpFileSync && op.Kind != errorfs.OpFileSyncData {
				return false
			}
			if at := failed.Load(); at != nil && *at == op.Path {
				after.Add(1)
			}
			if syncs.Add(1) == n {
				failed.Store(&op.Path)
				return true
			}
			return false
		})
		var planned, committed atomic.Uint64
		finished, err := life.attempt(func() error {
			for b := uint64(1); b <= batches; b++ {
				if _, err := s.Plans().Append(context.Background(), planOf(p, b)); err != nil {
					return err
				}
				planned.Store(b)
				c := s.Begin()
				pos := at(b)
				err := upsert(c, 0, names(200), func(e *batch.Entity) {
					click(p, e, pos.Frontier, int64(b))
					e.Published = batch.Published{Version: pos.Version, Frontier: pos.Frontier, Watermark: pos.Watermark, Schema: p.Views[0].Schema.ID}
					e.Timers[batch.ByFrontier] = pos.Frontier + minute
				})
				if err := errors.Join(err, c.Commit(context.Background(), pos)); err != nil {
					return err
				}
				committed.Store(b)
			}
			return nil
		})
		if failed.Load() == nil {
			break // there are not so many syncs
		}
		switch path := *failed.Load(); {
		case !finished:
			ended++
			for _, says := range []string{"Highwater stops here", "What was committed before is safe", "input/output error", "data directory data", "start again"} {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("sync %d: the last words do not say %q: %v", n, says, err)
				}
			}
			if after.Load() > 0 {
				t.Errorf("sync %d, of %s, was tried again after it had failed", n, path)
			}
		case !strings.HasSuffix(path, ".sst"):
			t.Errorf("sync %d, of %s, failed, and the process was not told to end: %v", n, path, err)
		}
		up := mustOpen(t, d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(n%3) * 50, RNG: seeded(uint64(n))}), p)
		pos, _ := up.Position()
		if pos.Version.Sequence < committed.Load() || !slices.Equal(dump(t, up), want[pos.Version.Sequence]) {
			t.Errorf("sync %d, of %s: batch %d was acknowledged, it comes up at %d, whole: %v", n, *failed.Load(), committed.Load(), pos.Version.Sequence, slices.Equal(dump(t, up), want[pos.Version.Sequence]))
		}
		if plans := sequences(t, up, 0); uint64(len(plans)) < planned.Load() || len(plans) > 0 && plans[len(plans)-1] != uint64(len(plans)) {
			t.Errorf("sync %d: plan %d was acknowledged, it comes up with %v", n, planned.Load(), plans)
		}
		mustClose(t, up)
	}
	if ended < 10 {
		t.Errorf("only %d failed syncs ended the process: does the test still reach them?", ended)
	}
}

// TestDisk_RefusalsSayWhatToDo fails every write from some moment on, in each of the ways that operating systems have.
func TestDisk_RefusalsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		says  []string
	}{
		{syscall.EROFS, []string{"the disk is read-only", "dmesg", "mount it writable"}},
		{syscall.EIO, []string{"input/output error", "smartctl"}},
		{syscall.EACCES, []string{"no rights", "chown"}},
	} {
		p := users(t)
		d := newBadDisk()
		life := newMortal()
		s, err := state.Open("data", p, state.Options{FS: d, Fatal: life.fatal})
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s, p, 1, "u1")
		want := dump(t, s)
		d.refusing(c.errno, writes)
		finished, err := life.attempt(func() error {
			_, err := s.Plans().Append(context.Background(), planOf(p, 2))
			return err
		})
		if finished {
			t.Errorf("%v: the process was not told to end: %v", c.errno, err)
			continue
		}
		for _, says := range append(c.says, "data directory data", "What was committed before is safe") {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%v: the last words do not say %q: %v", c.errno, says, err)
			}
		}
		d.mend()
		up := mustOpen(t, d.mem.CrashClone(vfs.CrashCloneCfg{}), p)
		if got := dump(t, up); !slices.Equal(got, want) || len(sequences(t, up, 0)) != 0 {
			t.Errorf("%v: it comes up with %q and plans %v", c.errno, got, sequences(t, up, 0))
		}
	}
}

// TestDisk_OpeningRefused opens on a disk that is full, read-only, not ours: an error that says what to do, and the directory is as it was.
func TestDisk_OpeningRefused(t *testing.T) {
	for name, c := range map[string]struct {
		bad  func(d *badDisk)
		says []string
	}{
		"full":      {func(d *badDisk) { d.free.Store(4096) }, []string{"the disk is full", "4 KiB free of 1 TiB", "data directory data", "free some space or enlarge the volume"}},
		"read-only": {func(d *badDisk) { d.refusing(syscall.EROFS, writes) }, []string{"the disk is read-only", "data directory data", "mount it writable"}},
		"no rights": {func(d *badDisk) { d.refusing(syscall.EACCES, writes) }, []string{"no rights", "data directory data", "chown"}},
		"full while opening": {func(d *badDisk) {
			d.refusing(syscall.ENOSPC, func(op errorfs.Op) bool { return writes(op) && strings.HasSuffix(op.Path, ".sst") })
		}, []string{"the disk is full", "data directory data", "free some space"}},
		"handles": {func(d *badDisk) {
			d.refusing(syscall.EMFILE, func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && toLog(op) })
		}, []string{"no file handles are left", "ulimit -n"}},
	} {
		p := users(t)
		d := newBadDisk()
		s := mustOpen(t, d, p)
		commit(t, s, p, 1, "u1", "u2")
		want := dump(t, s)
		mustClose(t, s)
		c.bad(d)
		for range 3 { // a supervisor tries again and again, but with a table that cannot be written, which this process, unlike others, has still in hand
			life := newMortal()
			_, err := life.attempt(func() error {
				_, err := state.Open("data", p, state.Options{FS: d, Fatal: life.fatal})
				return err
			})
			if err == nil {
				t.Errorf("%s: it was opened", name)
				break
			}
			if _, used := errors.AsType[*state.InUseError](err); used && name == "full while opening" {
				break
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%s: it does not say %q: %v", name, says, err)
				}
			}
		}
		d.free.Store(1 << 40)
		d.mend()
		if got := dump(t, mustOpen(t, d.mem.CrashClone(vfs.CrashCloneCfg{}), p)); !slices.Equal(got, want) {
			t.Errorf("%s: after it was mended it holds %q, want %q", name, got, want)
		}
	}
}

// TestDisk_DirectoryGone deletes the directory under a store: the next plan and the next commit are refused, for good, and not written into a file that nobody can find.
func TestDisk_DirectoryGone(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"deleted": os.RemoveAll,
		"emptied": func(dir string) error {
			names, err := os.ReadDir(dir)
			for _, n := range names {
				err = errors.Join(err, os.RemoveAll(filepath.Join(dir, n.Name())))
			}
			return err
		},
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o600))
		},
	} {
		p := users(t)
		dir := filepath.Join(t.TempDir(), "state")
		s, err := state.Open(dir, p, state.Options{})
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s, p, 1, "u1")
		c := s.Begin()
		if err := errors.Join(upsert(c, 0, []string{"u1"}, func(e *batch.Entity) { click(p, e, start, 1) }), remove(dir)); err != nil {
			t.Fatal(err)
		}
		_, planErr := s.Plans().Append(context.Background(), planOf(p, 2))
		for what, err := range map[string]error{"plan": planErr, "commit": c.Commit(context.Background(), at(2))} {
			if err == nil || !batch.IsPermanent(err) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "deleted, moved or replaced") || !strings.Contains(err.Error(), "bring it back") {
				t.Errorf("%s: a %s: %v", name, what, err)
			}
		}
		_ = s.Close()
	}
}

// TestDisk_Slow: a sync that takes its time holds up what waits for it, and nothing else; it is counted, measured and logged.
func TestDisk_Slow(t *testing.T) {
	p := users(t)
	d := newBadDisk()
	said := newMessages()
	s := mustOpen(t, d, p, func(o *state.Options) { o.SlowSync, o.Log = time.Nanosecond, slog.New(slog.NewTextHandler(said, nil)) })
	commit(t, s, p, 1, "u1")
	release, held := make(chan struct{}), make(chan struct{}, 16)
	slow := func(op errorfs.Op) error {
		if toLog(op) && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			held <- struct{}{}
			<-release
		}
		return nil
	}
	d.refuse.Store(&slow)
	done := make(chan error, 1)
	go func() {
		_, err := s.Plans().Append(context.Background(), planOf(p, 2))
		done <- err
	}()
	<-held
	if got := entitiesOf(t, s, 0); len(got) != 1 { // reading goes on
		t.Errorf("while a sync hangs, %d entities are read", len(got))
	}
	select {
	case err := <-done:
		t.Fatalf("the plan was acknowledged before it was synced: %v", err)
	default:
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if m := s.Metrics(); m.DiskSlow == 0 {
		t.Errorf("no slow sync was counted: %+v", m)
	}
	said.await(t, "the state's disk is slow: plans and commits wait for it")
}

// TestDisk_Hangs: a disk that does not answer does not keep the process from stopping; nothing is acknowledged.
func TestDisk_Hangs(t *testing.T) {
	t.Parallel()
	p := users(t)
	d := newBadDisk()
	s, err := state.Open("data", p, state.Options{FS: d})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, p, 1, "u1")
	release, held := make(chan struct{}), make(chan struct{}, 16)
	t.Cleanup(func() { close(release) })
	hang := func(op errorfs.Op) error {
		if toLog(op) && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			held <- struct{}{}
			<-release
		}
		return nil
	}
	d.refuse.Store(&hang)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-held
		cancel()
	}()
	if _, err := s.Plans().Append(ctx, planOf(p, 2)); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "has not answered") {
		t.Errorf("a plan on a disk that hangs: %v", err)
	}
	if _, err := s.Plans().Append(context.Background(), planOf(p, 3)); err == nil {
		t.Error("another plan was taken after it")
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "what was committed before is safe") {
		t.Errorf("close: %v", err)
	}
	up := mustOpen(t, d.mem.CrashClone(vfs.CrashCloneCfg{}), p)
	if pos, _ := up.Position(); pos.Version.Sequence != 1 {
		t.Errorf("it comes up at %v", pos.Version)
	}
}

// TestDisk_TablesFailInTheBackground: flushes that find no room are tried again. What they were to write is in the log meanwhile, and once no more fits into memory, commits wait; with room all goes on.
func TestDisk_TablesFailInTheBackground(t *testing.T) {
	const batches = 40
	p := users(t)
	want := clean(t, p, batches)
	d := newBadDisk()
	said := newMessages()
	s := mustOpen(t, d, p, func(o *state.Options) { o.MemTableBytes, o.Log = 256<<10, slog.New(slog.NewTextHandler(said, nil)) })
	d.refusing(syscall.ENOSPC, func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".sst") && writes(op) })
	var committed atomic.Uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := uint64(1); n <= batches; n++ {
			mustAppend(t, s, planOf(p, n))
			commit(t, s, p, n, names(200)...)
			committed.Store(n)
		}
	}()
	said.await(t, "writes to the state wait for compactions")
	said.await(t, "the state's disk: background work failed, and is tried again; nothing is lost")
	if why := s.Waiting(); !strings.Contains(why, "the disk is full") || s.Metrics().DiskErrors == 0 {
		t.Errorf("without room for tables it waits for %q, and has counted %d errors", why, s.Metrics().DiskErrors)
	}
	acknowledged := committed.Load()
	up := mustOpen(t, d.mem.CrashClone(vfs.CrashCloneCfg{}), p)
	if pos, _ := up.Position(); pos.Version.Sequence < acknowledged || !slices.Equal(dump(t, up), want[pos.Version.Sequence]) {
		t.Errorf("after a power cut it is at %v, %d were acknowledged", pos.Version, acknowledged)
	}
	d.mend()
	<-done
	if got := dump(t, s); !slices.Equal(got, want[batches]) || s.Waiting() != "" {
		t.Errorf("with room again it holds %d keys, want %d, and waits for %q", len(got), len(want[batches]), s.Waiting())
	}
}

// TestCorrupt_IsRefused flips one byte in each table and log of a directory, here and there: the directory is refused, with the way out, or what is read is what was written. Nothing is ever misread. Of a log, Pebble cannot tell every
// flip from a power cut: then what comes up is a commit from before, whole, as if the directory had been restored from a backup, which the task notices by its key.
func TestCorrupt_IsRefused(t *testing.T) {
	const places = 12
	p := users(t)
	mem := vfs.NewMem()
	s := mustOpen(t, mem, p)
	commit(t, s, p, 1, names(2000)...)
	mustClose(t, s)
	s = mustOpen(t, mem, p) // moves the log's content to a table
	left := [][]string{nil, dump(t, s)}
	for n := uint64(2); n <= 6; n++ {
		commit(t, s, p, n, names(500)...)
		left = append(left, dump(t, s))
	}
	mustClose(t, s)
	files, err := mem.List("data")
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]int{}
	for _, name := range files {
		kind := filepath.Ext(name)
		content := readFile(t, mem, name)
		if kind != ".sst" && kind != ".log" || len(content) == 0 {
			continue
		}
		for i := range places {
			at := i * len(content) / places
			bad := slices.Clone(content)
			bad[at] ^= 0x55
			copied := vfs.NewMem()
			if _, err := vfs.Clone(mem, copied, "data", "data"); err != nil {
				t.Fatal(err)
			}
			writeFile(t, copied, name, bad)
			got, err := readAll(p, copied)
			switch {
			case err != nil:
				refused[kind]++
				if !strings.Contains(err.Error(), "the state is corrupt") || !strings.Contains(err.Error(), "restore the directory from a backup") {
					t.Errorf("byte %d of %s: the refusal does not help: %v", at, name, err)
				}
			case slices.Equal(got, left[6]):
			case kind != ".log" || !slices.ContainsFunc(left, func(l []string) bool { return slices.Equal(got, l) }):
				t.Errorf("byte %d of %d of %s: misread", at, len(content), name)
			}
		}
	}
	if refused[".log"] == 0 || refused[".sst"] < places/2 {
		t.Errorf("of %d corruptions of each file, these were refused: %v", places, refused)
	}
}

func readAll(p *features.Project, fs vfs.FS) (lines []string, err error) {
	life := newMortal()
	_, err = life.attempt(func() error {
		s, err := state.Open("data", p, state.Options{FS: fs, Fatal: life.fatal})
		if err != nil {
			return err
		}
		defer s.Close()
		err = s.Dump(func(k, v []byte) error {
			lines = append(lines, fmt.Sprintf("%q = %q", k, v))
			return nil
		})
		return errors.Join(err, s.Scan(context.Background(), 0, "", func(*batch.Entity) error { return nil }))
	})
	return lines, err
}

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open("data/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, info.Size())
	if _, err := f.ReadAt(content, 0); err != nil && len(content) > 0 {
		t.Fatal(err)
	}
	return content
}

func writeFile(t *testing.T, fs vfs.FS, name string, content []byte) {
	t.Helper()
	f, err := fs.Create("data/"+name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
