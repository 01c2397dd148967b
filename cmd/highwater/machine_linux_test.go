package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"highwater/batch/kafka"
	"highwater/features"
	"highwater/testutil/e2e"
	"highwater/testutil/redistest"
	"highwater/windows"
)

// smallDisk mounts a file system of 48 MiB for the data directory of d. The test is skipped where that takes rights that this process does not have.
func (d *day) smallDisk(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	must(t, os.MkdirAll(d.dataDir, 0o755))
	if err := syscall.Mount("tmpfs", d.dataDir, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(d.dataDir, syscall.MNT_DETACH) })
}

// fill takes room away from the disk until only so much is left, and returns how to give it back.
func (d *day) fill(t *testing.T, left int64) (empty func()) {
	t.Helper()
	var fs syscall.Statfs_t
	must(t, syscall.Statfs(d.dataDir, &fs))
	path := filepath.Join(d.dataDir, "somebody-elses.bin")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	if n := int64(fs.Bavail)*fs.Bsize - left; n > 0 {
		must(t, syscall.Fallocate(int(f.Fd()), 0, 0, n))
	}
	return func() { must(t, os.Remove(path)) }
}

// TestDisk_Full fills a real disk under a running worker. It stalls before anything is lost, says so in its log, its metrics and its status, stays alive, and goes on by itself with room. Told to stop while it stalls, it does; started
// again on the full disk, it refuses with the way out.
func TestDisk_Full(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	d.smallDisk(t)
	w, own := d.begin("--disk-reserve", "4MiB")
	if metric(t, own, "highwater_disk_waiting") != 0 || metric(t, own, "highwater_disk_reserve_bytes") != 4<<20 {
		t.Error("with room, the metrics are not those of a disk with room")
	}
	empty := d.fill(t, 1<<20)
	d.load(3)
	log := w.AwaitLog("what=state kind=disk")
	says(t, log, "the disk under "+filepath.Join(d.dataDir, "state")+" is full", "and 4.0 MiB are wanted", "free some space or enlarge the volume, and the task goes on by itself")
	eventually(t, "the metrics to show the wait", func() error {
		if a, b := metric(t, own, "highwater_disk_waiting"), metric(t, own, `highwater_sink_errors_total\{[^}]*sink="state"[^}]*\}`); a != 1 || b == 0 {
			return fmt.Errorf("waiting %v, errors %v", a, b)
		}
		return nil
	})
	if status, text := own.Get(t, "/healthz"); status != 200 {
		t.Errorf("while it waits, /healthz answers %d: %s", status, text)
	}
	if status, text := own.Get(t, "/readyz"); status != 503 || !strings.Contains(string(text), `"disk"`) || !strings.Contains(string(text), "is full") {
		t.Errorf("while it waits, /readyz answers %d: %s", status, text)
	}
	empty()
	d.awaitCommitted(w)
	if n := metric(t, own, "highwater_disk_waiting"); n != 0 {
		t.Errorf("with room again, highwater_disk_waiting is %v", n)
	}

	empty = d.fill(t, 0)
	d.load(4)
	eventually(t, "it to wait again", func() error {
		if metric(t, own, "highwater_disk_waiting") != 1 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	stopped(t, w)
	for range 2 {
		d.refused(t, "the disk is full: 0 B free of 48 MiB", "data directory "+filepath.Join(d.dataDir, "state"), "start it again on the same directory")
	}
	empty()
	d.end(t, d.worker())
}

// TestDisk_FullAndKilled kills a worker with -9 while it waits for room.
func TestDisk_FullAndKilled(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	d.smallDisk(t)
	w, _ := d.begin("--disk-reserve", "4MiB")
	empty := d.fill(t, 1<<20)
	d.load(3)
	w.AwaitLog("what=state kind=disk")
	w.Kill()
	w.Wait()
	empty()
	d.end(t, d.worker())
}

// TestDisk_ReadOnly starts the worker on a disk that is mounted read-only, as a kernel does after errors.
func TestDisk_ReadOnly(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	d.smallDisk(t)
	w, _ := d.begin()
	stopped(t, w)
	must(t, syscall.Mount("", d.dataDir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	d.refused(t, "the disk is read-only", filepath.Join(d.dataDir, "state"), "dmesg", "mount it writable")
	must(t, syscall.Mount("", d.dataDir, "", syscall.MS_REMOUNT, ""))
	d.end(t, d.worker())
}

// TestDisk_PulledOut takes a real disk away in mid-run: an ext4 on a loop device is shut down, after which every write and every sync fails, and what was not synced is gone. The worker stops with exit code 1 and the way out. On the
// disk as it comes back it goes on, to the oracle's values.
func TestDisk_PulledOut(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting a disk needs root")
	}
	d := newDay(t)
	image := filepath.Join(t.TempDir(), "disk.img")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 128<<20))
	must(t, os.MkdirAll(d.dataDir, 0o755))
	mount := func() error {
		out, err := exec.Command("mount", "-o", "loop", image, d.dataDir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("make a file system: %v: %s", err, out)
	}
	if err := mount(); err != nil {
		t.Skipf("mount a loop device: %v", err)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", d.dataDir).Run() })
	w, _ := d.begin()
	must(t, shutDown(d.dataDir))
	d.load(3)
	if code := w.Wait(); code != exitFailed {
		t.Errorf("without its disk the worker ended with %d, want %d", code, exitFailed)
	}
	says(t, w.Stderr(), "What was committed before is safe", filepath.Join(d.dataDir, "state"), "input/output error", "dmesg")
	must(t, exec.Command("umount", d.dataDir).Run())
	must(t, mount())
	d.end(t, d.worker())
}

// crowdYAML is a project of many users, each of whose states is large.
const crowdYAML = `
project: crowd
clock: event
batch: {interval: 100ms, max_records: 10000}
entities:
  user: {join_key: user_id, type: string}
sources:
  clicks:
    kafka: {topic: clicks}
    timestamp: {field: ts, unit: ms}
    key: user_id
    fields: {user_id: string, note: string, price: double}
feature_views:
  users:
    source: clicks
    entity: user
    features:
      clicks: {aggregate: count}
      spent: {aggregate: sum, of: price}
      note: {aggregate: last, of: note}
      clicks_1h: {aggregate: count, window: 1h}
`

// TestMemory_SmallLimit runs dev, with a Kafka and a Redis outside of it, over many users with much state each, once without a limit and once with one of a third of what that takes. Under the limit it shrinks its cache, says so, ends
// with the oracle's values all the same, and its memory stays near the limit.
func TestMemory_SmallLimit(t *testing.T) {
	t.Parallel()
	const users, limit = 40_000, 64 << 20
	s := newShop(t, crowdYAML)
	s.startKafka()
	p, err := features.Load(s.definitions)
	must(t, err)
	world := e2e.NewWorld(p, 1)
	var rows []kafka.Row
	for i := range users * 3 / 2 {
		user, ts := fmt.Sprintf("u%06d", i%users), int64(1_700_000_000_000+i)
		note := strings.Repeat(fmt.Sprintf("%08x", i), 80)
		rows = append(rows, kafka.Row{Key: []byte(user), Time: ts * 1000, Value: fmt.Appendf(nil, `{"user_id":%q,"note":%q,"price":%d,"ts":%d}`, user, note, i%100, ts)})
		world.Tell(e2e.Event{Key: user, Time: ts * 1000, Fields: []windows.Value{windows.StringOf(user), windows.StringOf(note), windows.DoubleOf(float64(i % 100))}})
	}
	_, err = kafka.Load(t.Context(), kafka.LoadOptions{Brokers: []string{s.kafka}, Topic: "clicks"}, rowsOf(rows), nil)
	must(t, err)
	peak := map[string]int64{}
	for _, setting := range []string{"off", fmt.Sprint(limit)} {
		redis := redistest.Embedded(t, nil)
		d := e2e.StartWith(t, []string{"GOMEMLIMIT=" + setting}, "dev", "--definitions", s.definitions, "--kafka", s.kafka, "--redis", redis.Addr(), "--data-dir", t.TempDir(), "--addr", "127.0.0.1:0", "--exit-when-drained", "--cache-size", "512MiB")
		peak[setting] = s.highest(d)
		if code := d.Wait(); code != exitDone {
			t.Fatalf("GOMEMLIMIT=%s: it ended with %d:\n%s", setting, code, d.Stderr())
		}
		shrunk := strings.Contains(d.Stderr(), "memory is tight: cache and prefetch shrink")
		if shrunk != (setting != "off") {
			t.Errorf("GOMEMLIMIT=%s: it shrank: %v; its log:\n%s", setting, shrunk, d.Stderr())
		}
		serve := e2e.Start(t, "serve", "--project", "crowd", "--redis", redis.Addr(), "--addr", "127.0.0.1:0")
		client := e2e.Client{Base: "http://" + e2e.Log(serve.AwaitLog("msg=serving"), "msg=serving", "addr")}
		if n := world.Check(t, client, false); n != 4*users {
			t.Errorf("GOMEMLIMIT=%s: %d values were compared", setting, n)
		}
		stopped(t, serve)
		redis.Close()
	}
	free, limited := peak["off"], peak[fmt.Sprint(limit)]
	t.Logf("peak of resident memory: %d MiB without a limit, %d MiB with one of %d MiB", free>>20, limited>>20, limit>>20)
	if limited > free/2 || limited > 5*limit/2 && !raceDetector() { // some 40 MiB of it are the program itself, of which the limit knows nothing
		t.Errorf("with a limit of %d MiB it took %d MiB, without one %d", limit>>20, limited>>20, free>>20)
	}
}

// raceDetector reports whether this binary was built with it, which takes several times the memory.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// highest waits for a process's end, and returns the most bytes that it ever had resident.
func (s *shop) highest(p *e2e.Process) (most int64) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
		if _, after, ok := strings.Cut(string(text), "VmHWM:"); ok {
			var kib int64
			if _, err := fmt.Sscan(after, &kib); err == nil {
				most = max(most, kib<<10)
			}
		}
		select {
		case <-p.Ended():
			return most
		case <-look.C:
		}
	}
}

// shutDown makes a mounted ext4 behave as a disk that was pulled out: EXT4_IOC_SHUTDOWN, without writing its journal first.
func shutDown(dir string) error {
	const shutdown, withoutLog = 0x8004587d, 2
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	var flag [4]byte
	binary.NativeEndian.PutUint32(flag[:], withoutLog)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flag[0]))); errno != 0 {
		return errno
	}
	return nil
}
