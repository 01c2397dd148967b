// Package disk stands between a task's state and its disk, and makes it slow, full, or refuse a sync; and it can make kill -9 as bad as a power cut.
//
// [New] wraps the file system that is given as the state's Options.FS. It is for drills and tests.
package disk

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Act is what a [Fault] does.
type Act string

// The acts.
const (
	SlowSync Act = "sync.slow" // a sync takes longer
	FailSync Act = "sync.fail" // a sync fails with an input/output error, and makes nothing durable
	Full     Act = "full"      // no byte is free: writes and new files are refused, until it is over
)

// Acts are all acts.
func Acts() []Act { return []Act{SlowSync, FailSync, Full} }

// UnmarshalText refuses what is not an act.
func (a *Act) UnmarshalText(text []byte) error {
	if *a = Act(text); !slices.Contains(Acts(), *a) {
		return fmt.Errorf("no act %q: want one of %v", text, Acts())
	}
	return nil
}

// Fault is one thing that goes wrong, from a sync on. Its JSON form is how it is handed to a child process.
type Fault struct {
	Act   Act           `json:"act"`
	Nth   int           `json:"nth,omitempty"`    // it begins at this one of the syncs that follow [FS.Inject], from 1; 0 is at once
	Syncs int           `json:"syncs,omitempty"`  // to how many syncs it is done; 0 is one. Full is bounded by For alone
	For   time.Duration `json:"for_ns,omitempty"` // SlowSync: how much longer each sync takes. Full: how long it goes on, 0 for until [FS.Clear]
	File  string        `json:"file,omitempty"`   // which syncs are meant and counted: those of files whose names end so. "" is .log: plans and commits. "*" is every file and directory
}

// FS is a file system with faults. Make it with [New]. Safe for concurrent use.
type FS struct {
	vfs.FS
	unsynced bool // what was not synced stays in this process

	mu     sync.Mutex // guards what follows
	faults []*armed
	struck map[Act]int
}

// armed is a fault that waits for its sync, or goes on.
type armed struct {
	Fault
	begun      time.Time // zero while it waits
	seen, done int       // syncs
}

// Options say what kind of disk it is, apart from faults.
type Options struct {
	// LosesUnsynced keeps what was written in this process until it is synced, so that a kill -9 loses it, as a power cut would: else the operating system still has it, and a sync that was left out never shows.
	// Names of files are not lost: a file that was made and not synced is there, and empty.
	LosesUnsynced bool
}

// New wraps a file system; nil is the machine's own.
func New(inner vfs.FS, o Options) *FS {
	if inner == nil {
		inner = vfs.Default
	}
	return &FS{FS: inner, unsynced: o.LosesUnsynced, struck: map[Act]int{}}
}

// Inject arms a fault.
func (d *FS) Inject(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &armed{Fault: f}
	if f.Nth == 0 {
		d.begin(a)
	}
	d.faults = append(d.faults, a)
}

// Clear takes back all faults.
func (d *FS) Clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = nil
}

// Struck returns how often each act was carried out: syncs that were slowed and refused, and stretches without room.
func (d *FS) Struck() map[Act]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.struck)
}

// begin starts a fault. d.mu is held.
func (d *FS) begin(a *armed) {
	if a.begun = time.Now(); a.Act == Full {
		d.struck[Full]++
	}
}

// syncing counts a sync, waits as long as it is slowed down, and returns why it fails, if it does.
func (d *FS) syncing(path string) error {
	wait, err := d.judge(path)
	time.Sleep(wait)
	return err
}

// judge says what happens to a sync. Several faults may strike the same one.
func (d *FS) judge(path string) (wait time.Duration, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = slices.DeleteFunc(d.faults, func(a *armed) bool {
		if !a.means(path) {
			return false
		}
		if a.begun.IsZero() {
			if a.seen++; a.seen < a.Nth {
				return false
			}
			d.begin(a)
		}
		switch a.Act {
		case SlowSync:
			wait += a.For
		case FailSync:
			err = &fs.PathError{Op: "sync", Path: path, Err: syscall.EIO}
		default:
			return false
		}
		d.struck[a.Act]++
		a.done++
		return a.done >= max(1, a.Syncs)
	})
	return wait, err
}

// means reports whether a fault is about this file's syncs.
func (a *armed) means(path string) bool {
	switch a.File {
	case "":
		return strings.HasSuffix(path, ".log")
	case "*":
		return true
	}
	return strings.HasSuffix(filepath.Base(path), a.File)
}

// full reports whether there is no room.
func (d *FS) full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, full := time.Now(), false
	d.faults = slices.DeleteFunc(d.faults, func(a *armed) bool {
		if a.Act != Full || a.begun.IsZero() {
			return false
		}
		over := a.For > 0 && now.Sub(a.begun) >= a.For
		full = full || !over
		return over
	})
	return full
}

// room refuses a write where there is none.
func (d *FS) room(path string) error {
	if d.full() {
		return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
	}
	return nil
}
