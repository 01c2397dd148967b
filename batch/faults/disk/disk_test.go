package disk_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"highwater/batch"
	"highwater/batch/faults/disk"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("FAULTS_DISK_CHILD"); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

func write(t *testing.T, d *disk.FS, name, text string) vfs.File {
	t.Helper()
	f, err := d.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFS_FailsTheNthSync(t *testing.T) {
	d := disk.New(vfs.NewMem(), disk.Options{})
	log, table := write(t, d, "1.log", "x"), write(t, d, "1.sst", "x")
	d.Inject(disk.Fault{Act: disk.FailSync, Nth: 2, Syncs: 2})
	for i, want := range []error{nil, syscall.EIO, syscall.EIO, nil} {
		if err := table.Sync(); err != nil {
			t.Errorf("the sync of another file: %v", err)
		}
		sync := log.Sync
		if i%2 == 1 {
			sync = log.SyncData
		}
		if err := sync(); !errors.Is(err, want) {
			t.Errorf("sync %d: %v, want %v", i+1, err, want)
		}
	}
	if got := d.Struck()[disk.FailSync]; got != 2 {
		t.Errorf("struck %d times", got)
	}
}

func TestFS_SlowsSyncs(t *testing.T) {
	d := disk.New(vfs.NewMem(), disk.Options{})
	const wait = 40 * time.Millisecond
	d.Inject(disk.Fault{Act: disk.SlowSync, For: wait, File: "*"})
	f := write(t, d, "1.sst", "x")
	start := time.Now()
	if err := f.Sync(); err != nil || time.Since(start) < wait {
		t.Errorf("a slow sync: %v after %v", err, time.Since(start))
	}
	if d.Struck()[disk.SlowSync] != 1 {
		t.Errorf("struck %v", d.Struck())
	}
}

func TestFS_IsFull(t *testing.T) {
	d := disk.New(nil, disk.Options{})
	dir := t.TempDir()
	f := write(t, d, filepath.Join(dir, "1.log"), "x")
	d.Inject(disk.Fault{Act: disk.Full, Nth: 1})
	if usage, err := d.GetDiskUsage(dir); err != nil || usage.AvailBytes == 0 {
		t.Errorf("before the sync: %+v, %v", usage, err)
	}
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	_, createErr := d.Create(filepath.Join(dir, "2.log"), vfs.WriteCategoryUnspecified)
	_, writeErr := f.Write([]byte("y"))
	usage, err := d.GetDiskUsage(dir)
	if !errors.Is(createErr, syscall.ENOSPC) || !errors.Is(writeErr, syscall.ENOSPC) || err != nil || usage.AvailBytes != 0 {
		t.Errorf("full: create %v, write %v, %+v, %v", createErr, writeErr, usage, err)
	}
	d.Clear()
	if _, err := f.Write([]byte("y")); err != nil {
		t.Errorf("with room: %v", err)
	}
}

// What this process has not synced it reads all the same; another one, were it to take over now, would not.
func TestFS_LosesUnsynced(t *testing.T) {
	under := vfs.NewMem()
	d := disk.New(under, disk.Options{LosesUnsynced: true})
	f := write(t, d, "1.log", "synced")
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	d.Inject(disk.Fault{Act: disk.FailSync})
	if _, err := f.Write([]byte(" lost")); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("a sync that fails: %v", err)
	}
	if _, err := f.SyncTo(99); err != nil {
		t.Error(err)
	}
	size := func(f interface{ Stat() (vfs.FileInfo, error) }) int64 {
		t.Helper()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	below, err := under.Open("1.log")
	if err != nil {
		t.Fatal(err)
	}
	if got := size(below); got != 6 {
		t.Errorf("the disk has %d bytes, want those that were synced", got)
	}
	if got := size(f); got != 11 {
		t.Errorf("the process sees %d bytes, want all", got)
	}
}

func TestFaults_Travel(t *testing.T) {
	var back disk.Fault
	f := disk.Fault{Act: disk.Full, Nth: 3, For: time.Second}
	text, err := json.Marshal(f)
	if err := errors.Join(err, json.Unmarshal(text, &back)); err != nil || back != f {
		t.Errorf("%s: %+v, %v", text, back, err)
	}
	if err := json.Unmarshal([]byte(`{"act":"flood"}`), &back); err == nil {
		t.Error("an act that is none was taken")
	}
}

// project has one view; its state is what the tests below write.
func project() *features.Project {
	spec := windows.Spec{Name: "clicks", Aggregate: "count", Arg: -1, Window: windows.Window{Kind: windows.Lifetime}}
	m, err := windows.Compile([]windows.Spec{spec}, 0)
	if err != nil {
		panic(err)
	}
	v := &features.View{Name: "users", Machine: m, Schema: features.Schema{ID: "0a1b2c3d"}, Features: []*features.Feature{{Name: spec.Name, Spec: spec}}}
	return &features.Project{Name: "ads", Views: []*features.View{v}, Text: "# users", Hash: "0123456789abcdef"}
}

func plan(sequence uint64) *batch.Plan {
	return &batch.Plan{Version: features.Version{Generation: 1, Sequence: sequence}, Clock: int64(sequence), Definitions: project().Hash}
}

// child appends plans for as long as it lives, and says of each that it was acknowledged.
func child(dir string) {
	s, err := state.Open(dir, project(), state.Options{FS: disk.New(nil, disk.Options{LosesUnsynced: true})})
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	for n := uint64(1); ; n++ {
		if _, err := s.Plans().Append(context.Background(), plan(n)); err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		fmt.Println("acknowledged", n)
	}
}

// TestState_KilledAsByAPowerCut kills a process with kill -9 while it appends plans to a disk that loses what was not synced: every plan that it had acknowledged is there.
func TestState_KilledAsByAPowerCut(t *testing.T) {
	dir := t.TempDir()
	var want uint64
	for round := 1; round <= 3; round++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "FAULTS_DISK_CHILD="+filepath.Join(dir, fmt.Sprint(round)))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		want = 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, err := fmt.Sscanf(lines.Text(), "acknowledged %d", &want); err != nil {
				t.Errorf("the child says %q", lines.Text())
			}
			if want == uint64(10*round) {
				_ = cmd.Process.Kill() // what it says until it is dead counts too
			}
		}
		_ = cmd.Wait()
		s, err := state.Open(filepath.Join(dir, fmt.Sprint(round)), project(), state.Options{})
		if err != nil {
			t.Fatal(err)
		}
		plans, err := s.Plans().After(context.Background(), features.Version{})
		if err != nil || uint64(len(plans)) < want {
			t.Errorf("round %d: %d plans came up, %d were acknowledged: %v", round, len(plans), want, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestState_OnABadDisk: a full disk is waited for, a slow one too, and a sync that fails ends the process.
func TestState_OnABadDisk(t *testing.T) {
	d := disk.New(nil, disk.Options{})
	last := make(chan string, 8)
	s, err := state.Open(t.TempDir(), project(), state.Options{FS: d, Fatal: func(message string) {
		last <- message
		select {}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	d.Inject(disk.Fault{Act: disk.Full})
	var full *batch.FullError
	if _, err := s.Plans().Append(ctx, plan(1)); !errors.As(err, &full) || full.Free != 0 {
		t.Errorf("a plan on a full disk: %v", err)
	}
	d.Clear()
	d.Inject(disk.Fault{Act: disk.SlowSync, For: 20 * time.Millisecond})
	start := time.Now()
	if _, err := s.Plans().Append(ctx, plan(1)); err != nil || time.Since(start) < 20*time.Millisecond {
		t.Errorf("a plan on a slow disk: %v after %v", err, time.Since(start))
	}
	d.Inject(disk.Fault{Act: disk.FailSync})
	acknowledged := make(chan error, 1)
	go func() {
		_, err := s.Plans().Append(ctx, plan(2))
		acknowledged <- err
	}()
	select {
	case err := <-acknowledged:
		t.Fatalf("a plan whose sync failed ended with %v, and not with the process", err)
	case message := <-last:
		if !strings.Contains(message, "input/output error") {
			t.Errorf("its last words: %s", message)
		}
	}
}
