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
	FS              vfs.FS        // nil: the disk
	CacheBytes      int64         // bound on the memory of decoded entities; 0: 128 MiB
	BlockCacheBytes int64         // Pebble's cache of blocks; 0: 64 MiB
	Log             *slog.Logger  // what Pebble reports; nil: nothing
	ReadOnly        bool          // reads only: nothing is created, Append and Commit are errors. The directory is locked all the same
	PlanRetention   time.Duration // how long plans are kept, by the plans' clock, once committed: never less than tombstones live; 0: 8 days, for tombstones of 7
	NewMeaning      bool          // takes definitions that mean something else than before though their state has the same shape: for a command that begins a new generation
	Owner           string        // what a process that finds the directory in use is told of this one, e.g. "worker at 10.0.0.3:8080"; "": the program's name

	// Fatal is called when the disk refused a write that must not be lost. Nothing after that is durable, so it must not return; nil: log and exit with 1.
	Fatal func(message string)
}

const (
	defaultCacheBytes      = 128 << 20
	defaultBlockCacheBytes = 64 << 20
	defaultPlanRetention   = 8 * 24 * time.Hour

	// The newest that this Pebble reads without experiments. It only ever goes up, and an older program then refuses the directory.
	pebbleFormat = pebble.FormatValueSeparation
)

// Store is the state of a task. One goroutine uses it at a time, but for the plan log, Scan, Dump, Position and Metrics, which may run beside. It is made by [Open] and lives until Close.
type Store struct {
	dir      string
	db       *pebble.DB
	lock     *directoryLock
	log      *slog.Logger
	readOnly bool
	keep     int64 // µs: Options.PlanRetention

	bound  atomic.Pointer[binding]
	shapes map[string][]storedShape // what is stored, by view name, by number
	counts atomic.Pointer[map[string]int64]

	position atomic.Pointer[batch.Position] // as committed; nil in an empty directory
	floor    [batch.TimerClocks]int64       // no timer of that clock is earlier: what Due and Next need not look through again
	oldest   *batch.Plan                    // the first plan kept, where known

	cache   *cache
	changes uint64  // how many were begun
	open    *change // the one that is neither committed nor discarded

	plans struct {
		sync.Mutex                   // serialises Append, and guards what follows
		id         string            // of the log
		texts      map[string]string // definitions of the projects bound so far, by hash
	}

	stats  stats
	closed atomic.Bool
}

// Open opens the state in dir, which it creates where it is missing, for the views of p. It refuses, with the reason and the way out, a directory that is in use ([*InUseError]), that something else or a newer version wrote,
// that belongs to another project, or whose state p cannot carry on ([*IncompatibleError]).
func Open(dir string, p *features.Project, o Options) (*Store, error) {
	o, dir, err := withDefaults(o, dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockDirectory(o.FS, dir, o)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, lock: lock, log: o.Log, readOnly: o.ReadOnly, keep: o.PlanRetention.Microseconds(), cache: newCache(o.CacheBytes)}
	s.plans.texts = map[string]string{}
	if err := s.load(p, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func withDefaults(o Options, dir string) (Options, string, error) {
	if dir == "" {
		return o, "", errors.New("open state: no directory named")
	}
	if o.FS == nil {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return o, "", fmt.Errorf("open state: %w", err)
		}
		o.FS, dir = vfs.Default, abs
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.BlockCacheBytes == 0 {
		o.BlockCacheBytes = defaultBlockCacheBytes
	}
	if o.PlanRetention == 0 {
		o.PlanRetention = defaultPlanRetention
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, dir, nil
}

// load opens the locked directory and reads what it says of itself.
func (s *Store) load(p *features.Project, o Options) error {
	if err := checkContents(o.FS, s.dir, o.ReadOnly); err != nil {
		return err
	}
	db, err := pebble.Open(s.dir, pebbleOptions(o, s.lock.lock))
	if err != nil {
		return fmt.Errorf("open state in %s: %w", s.dir, err)
	}
	s.db = db
	if err := s.loadMeta(p.Name); err != nil {
		return err
	}
	if err := s.loadPosition(); err != nil {
		return err
	}
	if err := s.checkDefinitions(p, o.NewMeaning); err != nil {
		return err
	}
	return s.bind(p)
}

// pebbleOptions are Pebble's settings for sorted batches of up to some 100,000 small values, committed every few seconds. There are no bloom filters: reads go through an iterator, which they cannot help.
func pebbleOptions(o Options, lock *pebble.Lock) *pebble.Options {
	logger := newPebbleLogger(o.Log, o.Fatal)
	po := &pebble.Options{
		FS:                          o.FS,
		Lock:                        lock,
		ReadOnly:                    o.ReadOnly,
		FormatMajorVersion:          pebbleFormat,
		Logger:                      logger,
		EventListener:               logger.events(),
		CacheSize:                   o.BlockCacheBytes,
		MemTableSize:                64 << 20, // grows to it: a small state stays small
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
	if s.open != nil {
		s.open.Discard()
	}
	var err error
	if s.db != nil {
		if err = s.db.Close(); err != nil {
			err = fmt.Errorf("close state in %s: %w", s.dir, err)
		}
	}
	return errors.Join(err, s.lock.release())
}

var errClosed = errors.New("the state is closed")

// usable reports why nothing can be done with s, if so.
func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	return ctx.Err()
}
