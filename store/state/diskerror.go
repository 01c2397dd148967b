package state

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"highwater/windows"
)

// DiskError is what the disk under a directory refused: what happened, where, and the way out.
type DiskError struct {
	Dir  string
	Err  error
	What string
	Fix  string
}

// Error says all of it.
func (e *DiskError) Error() string {
	return fmt.Sprintf("%s: data directory %s: %v; %s", e.What, e.Dir, e.Err, e.Fix)
}

// Unwrap returns what the operating system, or Pebble, said.
func (e *DiskError) Unwrap() error { return e.Err }

var errGone = errors.New("its lock file is not there any more")

const fixFull = "free some space or enlarge the volume; Highwater goes on by itself where it still runs, and else start it again on the same directory"

// helps says of each error of a disk what it means to people, and what to do. The first that matches counts.
var helps = []struct {
	is        error
	what, fix string
}{
	{syscall.ENOSPC, "the disk is full", fixFull},
	{syscall.EDQUOT, "the disk quota is used up", fixFull},
	{syscall.EROFS, "the disk is read-only", "an operating system does that to a disk with errors: look at dmesg, mend the disk, mount it writable, and start again on the same directory"},
	{syscall.EIO, "the disk has an input/output error", "look at dmesg and smartctl, move the directory to a sound disk, and start again on it"},
	{syscall.EMFILE, "no file handles are left", "allow this process more of them (ulimit -n, LimitNOFILE=): at least 1024"},
	{syscall.ENFILE, "no file handles are left on this machine", "allow the machine more of them (sysctl fs.file-max)"},
	{fs.ErrPermission, "no rights", "give the user that Highwater runs as the directory and all that is in it (chown -R)"},
	{fs.ErrNotExist, "a file of the state is gone", "was the directory deleted, moved or cleaned up? bring it back as it was, or start on a backup, or on an empty directory, which begins a new generation"},
}

// explain makes an error of the disk one that says what to do. An error that is not of the disk's kind stays what it is.
func (d *disk) explain(err error) error {
	if _, done := errors.AsType[*DiskError](err); err == nil || done {
		return err
	}
	if pebble.IsCorruptionError(err) || errors.Is(err, windows.ErrCorrupt) {
		return &DiskError{Dir: d.dir, Err: err, What: "the state is corrupt", Fix: "nothing was misread, and nothing was written since: look at the disk (dmesg, smartctl), then restore the directory from a backup, or start over in an empty one, which begins a new generation"}
	}
	for _, h := range helps {
		if !errors.Is(err, h.is) {
			continue
		}
		what := h.what
		if usage, uerr := d.fs.GetDiskUsage(d.dir); uerr == nil && usage.TotalBytes > 0 && passes(err) {
			what += fmt.Sprintf(" (%s free of %s)", size(int64(usage.AvailBytes)), size(int64(usage.TotalBytes)))
		}
		return &DiskError{Dir: d.dir, Err: err, What: what, Fix: h.fix}
	}
	return err
}

// lastWords are what is said before the process ends because a write that must not be lost was refused.
func (d *disk) lastWords(format string, args ...any) string {
	for _, a := range args {
		if err, ok := a.(error); ok {
			if e, ok := errors.AsType[*DiskError](d.explain(err)); ok {
				return "the disk refused to make the state durable, so Highwater stops here. What was committed before is safe, and what was not is done again. " + e.Error()
			}
		}
	}
	return "the disk refused to make the state durable, so Highwater stops here. What was committed before is safe, and what was not is done again: " +
		"mend the disk under " + d.dir + " and start again on the same directory. Pebble says: " + fmt.Sprintf(format, args...)
}

// size writes bytes for people.
func size(n int64) string {
	f, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") + " " + units[i]
}
