package state

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS is the disk as Pebble sees it. What Pebble does where a write fails depends on the file, and so does what is done here:
//
//   - the log, the manifest and its marker: Pebble ends the process, or panics. A write, or the making of a file, waits while there is no room; any other refusal ends the process here, with a message. A sync that fails is never
//     tried again: nobody knows what became of the pages, and the next sync might report them written.
//   - a table: Pebble throws away what it has written of it, and begins again at once, for ever. Here the failure only takes its time, so that a full disk is no busy loop.
type guardFS struct {
	vfs.FS
	d *disk
}

// Unwrap returns the disk itself.
func (g guardFS) Unwrap() vfs.FS { return g.FS }

type fileKind int

const (
	kindOther fileKind = iota
	kindLog            // Pebble's write-ahead log
	kindManifest
	kindTable
)

func kindOf(path string) fileKind {
	switch name := filepath.Base(path); {
	case strings.HasSuffix(name, ".log"):
		return kindLog
	case strings.HasPrefix(name, "MANIFEST-"), strings.HasPrefix(name, "marker."):
		return kindManifest
	case strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".blob"):
		return kindTable
	}
	return kindOther
}

// tablePause is how long a failed write of a table takes.
const tablePause = time.Second

// end ends the process where err is one, unless the store is being opened or closed: then whoever does so hears of it.
func (d *disk) end(err error) error {
	if err != nil && d.live.Load() {
		d.fatal(d.lastWords("%v", err))
	}
	return err
}

// Create makes a file.
func (g guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.make(name, func() (vfs.File, error) { return g.FS.Create(name, category) })
}

// ReuseForWrite makes a file of an old one.
func (g guardFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.make(newname, func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, category) })
}

func (g guardFS) make(name string, do func() (vfs.File, error)) (f vfs.File, err error) {
	switch kindOf(name) {
	case kindLog, kindManifest:
		err = g.d.end(g.d.persist(func() error {
			f, err = do()
			return err
		}))
	case kindTable:
		if f, err = do(); err != nil {
			g.d.pause(tablePause)
		}
	default:
		f, err = do()
	}
	if err != nil {
		return nil, err
	}
	return &guardFile{File: f, d: g.d, kind: kindOf(name)}, nil
}

// OpenDir opens a directory, to sync it after a file was made in it.
func (g guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardDir{File: f, d: g.d}, nil
}

// guardDir is a directory. Its syncs make new logs and manifests findable.
type guardDir struct {
	vfs.File
	d *disk
}

// Sync makes the directory's entries durable.
func (f *guardDir) Sync() error { return f.d.end(f.File.Sync()) }

// guardFile is a file being written.
type guardFile struct {
	vfs.File
	d    *disk
	kind fileKind
}

// Write waits for room where the file must not lose anything. What was written before the room ran out is not written again.
func (f *guardFile) Write(p []byte) (n int, err error) {
	switch f.kind {
	case kindLog, kindManifest:
		err = f.d.end(f.d.persist(func() error {
			m, err := f.File.Write(p[n:])
			n += m
			return err
		}))
	default:
		n, err = f.File.Write(p)
		if err != nil && f.kind == kindTable {
			f.d.pause(tablePause)
		}
	}
	return n, err
}

// Sync makes what was written durable.
func (f *guardFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData makes what was written durable.
func (f *guardFile) SyncData() error { return f.sync(f.File.SyncData) }

// Close ends the writing.
func (f *guardFile) Close() error { return f.must(f.File.Close()) }

// sync is done once, whatever comes of it, and timed for the log.
func (f *guardFile) sync(do func() error) error {
	start := time.Now()
	err := do()
	if f.kind == kindLog {
		f.d.synced(time.Since(start))
	}
	return f.must(err)
}

func (f *guardFile) must(err error) error {
	if f.kind == kindLog || f.kind == kindManifest {
		return f.d.end(err)
	}
	return err
}
