package state

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"highwater/batch"
)

// disk stands between a store and the disk under its directory. It is the one place that knows how much room there is, whether the directory is still the one that was opened, and what each of the disk's errors asks of people.
//
// A full disk is met twice. First by [disk.room], before a plan and before a commit: while less than a reserve is free nothing is written, and the caller is told to come back. Should Pebble run out of room all the same (another
// program took it, or a compaction did), [guardFS] holds the write of a log or a manifest until there is room again, for Pebble ends the process where one fails.
//
// Pebble's own vfs.OnDiskFull would hold every write, the removal of files included, which may be what makes room; and it tries again only once.
type disk struct {
	fs      vfs.FS // as given: without the guard
	dir     string
	reserve int64 // bytes; 0: see enough
	slow    time.Duration
	log     *slog.Logger
	fatal   func(message string)

	lock    os.FileInfo // of the lock file, as locked; nil where the file system is not the machine's
	live    atomic.Bool // once open, and until it is closed: writes may be held
	refused chan error  // of one: a table that could not be written while the store was being opened
	closing chan struct{}
	close   sync.Once

	waiting  atomic.Pointer[string] // why writes are held; nil while they are not
	flushing atomic.Pointer[string] // why flushes fail, which holds writes up before long; nil while they do not
	waits    atomic.Int64           // how often writes were held, or refused for want of room
	errors   atomic.Int64           // of background work, which Pebble tries again
	slowOnes atomic.Int64           // operations that took too long
	quiet    quiet                  // of what is logged about a slow disk
	noisy    quiet                  // of what is logged about background errors
	held     quiet                  // of what is logged about writes that are held
}

// The reserve where none is named, and the part of a small disk that is enough for it; and the part that one log may have.
const (
	defaultReserve  = 256 << 20
	reserveFraction = 20

	memTableFraction = 100
	defaultSlowSync  = time.Second
)

func newDisk(o Options, dir string) *disk {
	d := &disk{fs: o.FS, dir: dir, reserve: o.ReserveBytes, slow: o.SlowSync, log: o.Log, fatal: o.Fatal, refused: make(chan error, 1), closing: make(chan struct{})}
	if d.fatal == nil {
		d.fatal = func(message string) {
			o.Log.Error(message)
			os.Exit(1)
		}
	}
	return d
}

// locked notes which directory this is: the file that is locked now must be the one that a later look finds.
func (d *disk) locked() {
	if vfs.Root(d.fs) != vfs.Default {
		return
	}
	if info, err := os.Stat(d.fs.PathJoin(d.dir, lockFile)); err == nil {
		d.lock = info
	}
}

// room returns a [*batch.FullError] while writing n bytes would leave less than the reserve, and a [*DiskError] where the directory is not the one that was opened any more: to write on would be to write into the void.
func (d *disk) room(n int64) error {
	if d.gone() {
		return batch.Permanent(&DiskError{Dir: d.dir, Err: errGone, What: "the data directory was deleted, moved or replaced while it was in use",
			Fix: "bring it back as it was and start again; or start on a backup, or on an empty directory, which begins a new generation"})
	}
	free, need, known := d.enough(n)
	if known && free < need {
		d.waits.Add(1)
		d.setWaiting(fmt.Sprintf("the disk under %s has %s free, and %s are wanted: %s", d.dir, size(free), size(need), fixFull))
		return &batch.FullError{Dir: d.dir, Free: free, Need: need}
	}
	d.setWaiting("")
	return nil
}

// gone reports whether the directory is another one than was locked, or none.
func (d *disk) gone() bool {
	path := d.fs.PathJoin(d.dir, lockFile)
	if d.lock == nil {
		_, err := d.fs.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	}
	info, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, d.lock)
}

// enough returns how many bytes are free, and how many are wanted before n bytes are written: the reserve, and twice n, for what goes to the log goes to a table after it.
func (d *disk) enough(n int64) (free, need int64, known bool) {
	usage, err := d.fs.GetDiskUsage(d.dir)
	if err != nil || usage.TotalBytes == 0 {
		return 0, 0, false
	}
	reserve := d.reserve
	if reserve == 0 {
		reserve = min(defaultReserve, int64(usage.TotalBytes/reserveFraction))
	}
	return int64(usage.AvailBytes), reserve + 2*n, true
}

// memTable returns how large a table in memory may be, where n was asked for: Pebble sets room for each one's log aside on the disk beforehand, and for those of a few more, so that on a small disk they would be all there is.
func (d *disk) memTable(n int64) int64 {
	if usage, err := d.fs.GetDiskUsage(d.dir); err == nil && usage.TotalBytes > 0 {
		n = min(n, int64(usage.TotalBytes/memTableFraction))
	}
	return max(n, leastMemTableBytes)
}

// enoughToOpen refuses to open a directory where there is no room for what opening writes: the log once more, as a table, and a few small files.
func (d *disk) enoughToOpen(names []string) error {
	const small = 1 << 20
	var logs int64
	for _, name := range names {
		if info, err := d.fs.Stat(d.fs.PathJoin(d.dir, name)); err == nil && kindOf(name) == kindLog {
			logs += info.Size()
		}
	}
	usage, err := d.fs.GetDiskUsage(d.dir)
	if err != nil || usage.TotalBytes == 0 || int64(usage.AvailBytes) >= logs+small {
		return nil
	}
	return &DiskError{Dir: d.dir, Err: syscall.ENOSPC, What: fmt.Sprintf("the disk is full: %s free of %s, and %s are wanted to open the state", size(int64(usage.AvailBytes)), size(int64(usage.TotalBytes)), size(logs+small)), Fix: fixFull}
}

func (d *disk) setWaiting(why string) {
	if why == "" {
		d.waiting.Store(nil)
		return
	}
	d.waiting.Store(&why)
}

// stop lets go of the writes that are held: they fail.
func (d *disk) stop() {
	d.live.Store(false)
	d.close.Do(func() { close(d.closing) })
}

// persist tries a write that must not fail until there is room for it. Any other error it returns at once: nothing that failed otherwise is done again. The log hears of it now and then: the disk may stay full for days.
func (d *disk) persist(do func() error) error {
	told := false
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := do()
		if err == nil || !passes(err) || !d.live.Load() {
			if err == nil && wait > 50*time.Millisecond {
				d.setWaiting("")
			}
			if err == nil && told {
				d.log.Info("the state's disk takes writes again", "dir", d.dir)
			}
			return err
		}
		e := d.explain(err)
		d.waits.Add(1)
		d.setWaiting(e.Error())
		if n, ok := d.held.say(); ok {
			told = true
			d.log.Warn("the state's disk does not take a write; nothing is lost, trying again", "err", e, "retry_in", wait, "more_since", n)
		}
		d.pause(wait)
	}
}

// pause waits, but not beyond the store's end.
func (d *disk) pause(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.closing:
	}
}

// passes reports whether an error of the disk goes away by itself, or by what people do, while the process waits.
func passes(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// synced notes how long a sync of the log took.
func (d *disk) synced(took time.Duration) {
	if took < d.slow {
		return
	}
	d.slowOnes.Add(1)
	if n, ok := d.quiet.say(); ok {
		d.log.Warn("the state's disk is slow: plans and commits wait for it, and everything before them waits in turn", "sync_took", took, "dir", d.dir, "more_since", n)
	}
}

// hanging notes an operation that has not ended yet.
func (d *disk) hanging(info pebble.DiskSlowInfo) {
	if d.waiting.Load() != nil {
		return // it is we who hold it
	}
	d.slowOnes.Add(1)
	if n, ok := d.quiet.say(); ok {
		d.log.Warn("the state's disk is slow", "operation", info.String(), "dir", d.dir, "more_since", n)
	}
}

// background notes an error that Pebble gets over by trying again.
func (d *disk) background(err error) {
	d.errors.Add(1)
	if !d.live.Load() {
		select {
		case d.refused <- err: // whoever opens the store says so
		default:
		}
		return
	}
	if n, ok := d.noisy.say(); ok {
		d.log.Error("the state's disk: background work failed, and is tried again; nothing is lost", "err", d.explain(err), "more_since", n)
	}
}

// flushed hears of every flush.
func (d *disk) flushed(info pebble.FlushInfo) {
	if info.Err == nil {
		d.flushing.Store(nil)
		return
	}
	why := d.explain(info.Err).Error()
	d.flushing.Store(&why)
}

// quiet lets one message pass every ten seconds, and counts the others.
type quiet struct {
	mu     sync.Mutex // guards what follows
	last   time.Time
	missed int
}

func (q *quiet) say() (missed int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := time.Now(); q.last.IsZero() || now.Sub(q.last) >= 10*time.Second {
		missed, q.last, q.missed = q.missed, now, 0
		return missed, true
	}
	q.missed++
	return 0, false
}
