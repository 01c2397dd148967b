package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"highwater/batch"
	"highwater/features"
)

// Options are how a directory is opened. The zero value is ready to use.
type Options struct {
	FS              vfs.FS        // nil: the disk; batch/faults/disk makes one that is slow, full, or refuses a sync
	CacheBytes      int64         // bound on the memory of decoded entities, see SetCacheBytes; 0: 128 MiB
	BlockCacheBytes int64         // Pebble's cache of blocks; 0: 64 MiB
	MemTableBytes   int64         // one of Pebble's tables in memory, of which there may be four while the disk is slow; 0: 64 MiB; less on a small disk
	MaxOpenFiles    int           // files that Pebble keeps open at most, roughly; 0: 1000
	ReserveBytes    int64         // room on the disk that no plan or commit may take: while there is less, they are refused with a *batch.FullError; 0: 256 MiB, or a twentieth of the disk where that is less
	SlowSync        time.Duration // a sync that takes as long counts as slow; 0: 1 s
	Log             *slog.Logger  // what Pebble reports; nil: nothing
	ReadOnly        bool          // reads only: nothing is created, Append and Commit are errors. The directory is locked all the same
	PlanRetention   time.Duration // how long plans are kept, by the plans' clock, once committed: never less than tombstones live; 0: 8 days, for tombstones of 7
	NewMeaning      bool          // takes definitions that mean something else than before though their state has the same shape: for a command that begins a new generation
	ForReset        bool          // takes any definitions of the project, whether or not they can carry on the state: for AskForReset, Position and Entities, and nothing else
	Owner           string        // what a process that finds the directory in use is told of this one, e.g. "worker at 10.0.0.3:8080"; "": the program's name

	// Fatal is called when the disk refused a write that must not be lost. Nothing after that is durable, so it must not return; nil: log and exit with 1.
	Fatal func(message string)
}

const (
	defaultCacheBytes      = 128 << 20
	defaultBlockCacheBytes = 64 << 20
	defaultMemTableBytes   = 64 << 20
	leastMemTableBytes     = 256 << 10
	defaultPlanRetention   = 8 * 24 * time.Hour

	// The newest that this Pebble reads without experiments. It only ever goes up, and an older program then refuses the directory.
	pebbleFormat = pebble.FormatValueSeparation
)

// Store is the state of a task. One goroutine uses it at a time, but for the plan log, Scan, Dump, Position and Metrics, which may run beside. It is made by [Open] and lives until Close.
type Store struct {
	dir      string
	db       *pebble.DB
	lock     *directoryLock
	disk     *disk
	log      *slog.Logger
	readOnly bool
	keep     int64 // µs: Options.PlanRetention

	bound  atomic.Pointer[binding]
	shapes map[string][]storedShape // what is stored, by view name, by number
	counts atomic.Pointer[map[string]int64]

	position atomic.Pointer[batch.Position] // as committed; nil in an empty directory
	floor    [batch.TimerClocks]int64       // no timer of that clock is earlier: what Due and Next need not look through again
	oldest   *batch.Plan                    // the first plan kept, where known
	reset    *batch.Reset                   // asked for before the directory was opened; nil for none

	cache   *cache
	changes uint64  // how many were begun
	open    *change // the one that is neither committed nor discarded

	plans struct {
		sync.Mutex                   // serialises Append, and guards what follows
		id         string            // of the log
		texts      map[string]string // definitions of the projects bound so far, by hash
	}

	stats  stats
	stuck  atomic.Bool // a write is under way that nobody waits for any more
	closed atomic.Bool
}

// Open opens the state in dir, which it creates where it is missing, for the views of p. It refuses, with the reason and the way out, a directory that is in use ([*InUseError]), that something else or a newer version wrote,
// that belongs to another project, or whose state p cannot carry on ([*IncompatibleError]).
func Open(dir string, p *features.Project, o Options) (*Store, error) { return open(dir, p, o) }

// open is Open; without p it is OpenKept.
func open(dir string, p *features.Project, o Options) (*Store, error) {
	o, dir, err := withDefaults(o, dir)
	if err != nil {
		return nil, err
	}
	if _, err := o.FS.Stat(dir); p == nil && err != nil {
		return nil, fmt.Errorf("data directory %s does not exist", dir)
	}
	d := newDisk(o, dir)
	lock, err := lockDirectory(o.FS, dir, o)
	if err != nil {
		return nil, d.explain(err)
	}
	d.locked()
	s := &Store{dir: dir, lock: lock, disk: d, log: o.Log, readOnly: o.ReadOnly, keep: o.PlanRetention.Microseconds(), cache: newCache(o.CacheBytes)}
	s.plans.texts = map[string]string{}
	if err := s.load(p, o); err != nil {
		err = d.explain(err)
		if s.stuck.Load() {
			return nil, err
		}
		return nil, errors.Join(err, s.Close())
	}
	d.live.Store(true)
	return s, nil
}

func withDefaults(o Options, dir string) (Options, string, error) {
	if dir == "" {
		return o, "", errors.New("open state: no directory named")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if vfs.Root(o.FS) == vfs.Default {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return o, "", fmt.Errorf("open state: %w", err)
		}
		dir = abs
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.BlockCacheBytes == 0 {
		o.BlockCacheBytes = defaultBlockCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.SlowSync == 0 {
		o.SlowSync = defaultSlowSync
	}
	if o.PlanRetention == 0 {
		o.PlanRetention = defaultPlanRetention
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("act", "state")
	return o, dir, nil
}

// load opens the locked directory and reads what it says of itself.
func (s *Store) load(p *features.Project, o Options) error {
	if err := checkContents(o.FS, s.dir, o.ReadOnly); err != nil {
		return err
	}
	if desc, err := pebble.Peek(s.dir, o.FS); p == nil && (err != nil || !desc.Exists) {
		return fmt.Errorf("data directory %s holds no state yet", s.dir)
	}
	if !o.ReadOnly {
		if names, err := o.FS.List(s.dir); err == nil {
			if err := s.disk.enoughToOpen(names); err != nil {
				return fmt.Errorf("open state in %s: %w", s.dir, err)
			}
		}
	}
	if err := s.openPebble(o); err != nil {
		return fmt.Errorf("open state in %s: %w", s.dir, err)
	}
	name := ""
	if p != nil {
		name = p.Name
	}
	if err := s.loadMeta(name); err != nil {
		return err
	}
	if err := s.loadPosition(); err != nil {
		return err
	}
	if p == nil {
		kept, err := s.keptDefinitions()
		if err != nil {
			return err
		}
		return s.bind(kept)
	}
	if s.emptying() || o.ForReset {
		s.shapes = map[string][]storedShape{}
		return s.bind(p)
	}
	if err := s.checkDefinitions(p, o.NewMeaning); err != nil {
		return err
	}
	return s.bind(p)
}

// openPebble opens the store itself. Opening moves what the log holds to tables, and Pebble would try that for ever on a disk that refuses: here the first refusal counts, and Pebble is left to itself; should it succeed after all, it is closed.
func (s *Store) openPebble(o Options) error {
	type opened struct {
		db  *pebble.DB
		err error
	}
	done := make(chan opened, 1)
	options := pebbleOptions(o, s.disk, s.lock.lock)
	options.EventListener = s.stats.listen(options.EventListener)
	go func() {
		db, err := pebble.Open(s.dir, options)
		done <- opened{db, err}
	}()
	select {
	case got := <-done:
		s.db = got.db
		return got.err
	case err := <-s.disk.refused:
		s.stuck.Store(true)
		go func() {
			if got := <-done; got.db != nil {
				_ = errors.Join(got.db.Close(), s.lock.release())
			}
		}()
		return err
	}
}

// pebbleOptions are Pebble's settings for sorted batches of up to some 100,000 small values, committed every few seconds. There are no bloom filters: reads go through an iterator, which they cannot help.
func pebbleOptions(o Options, d *disk, lock *pebble.Lock) *pebble.Options {
	logger := pebbleLogger{log: o.Log, disk: d}
	po := &pebble.Options{
		FS:                          guardFS{FS: o.FS, d: d},
		Lock:                        lock,
		ReadOnly:                    o.ReadOnly,
		FormatMajorVersion:          pebbleFormat,
		Logger:                      logger,
		EventListener:               logger.events(),
		CacheSize:                   o.BlockCacheBytes,
		MaxOpenFiles:                o.MaxOpenFiles,
		MemTableSize:                uint64(d.memTable(o.MemTableBytes)), // grows to it: a small state stays small
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               256 << 20,
		BytesPerSync:                1 << 20, // spreads the writing, so that the sync at the end has less to do
		WALBytesPerSync:             1 << 20,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
	}
	po.TargetFileSizes[0] = 8 << 20
	for i := range po.Levels {
		po.Levels[i].BlockSize = 16 << 10
		po.Levels[i].IndexBlockSize = 256 << 10 // one level of index a file: with two, a seek costs twice as much
	}
	return po
}

// Close releases the directory. A change still open is discarded.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if s.stuck.Load() {
		return fmt.Errorf("close state in %s: %w", s.dir, errStuck)
	}
	if s.open != nil {
		s.open.Discard()
	}
	s.disk.stop()
	var err error
	if s.db != nil {
		if err = s.db.Close(); err != nil {
			err = fmt.Errorf("close state in %s: %w", s.dir, err)
		}
	}
	return errors.Join(err, s.lock.release())
}

// stopPatience is how long a write that is under way is still waited for when its caller has been told to stop.
const stopPatience = 2 * time.Second

// apply writes b and syncs it. When ctx ends, a disk that does not answer (it is full, or it hangs) is left alone after a moment: whether b became durable is then not known, and the store is of no use any more.
func (s *Store) apply(ctx context.Context, b *pebble.Batch) error {
	done := make(chan error, 1)
	go func() { done <- s.disk.explain(s.db.Apply(b, pebble.Sync)) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(stopPatience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		s.stuck.Store(true)
		return errors.Join(ctx.Err(), errStuck)
	}
}

// release ends the use of b, unless Pebble still reads it.
func (s *Store) release(b *pebble.Batch) {
	if !s.stuck.Load() {
		_ = b.Close()
	}
}

var (
	errClosed = errors.New("the state is closed")
	errStuck  = errors.New("the disk has not answered a write yet: what was committed before is safe, and the next start finds out whether this was")
)

// usable reports why nothing can be done with s, if so.
func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	if s.stuck.Load() {
		return errStuck
	}
	return ctx.Err()
}
