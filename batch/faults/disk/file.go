package disk

import (
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Unwrap returns the file system below.
func (d *FS) Unwrap() vfs.FS { return d.FS }

// Create makes a file.
func (d *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.room(name); err != nil {
		return nil, err
	}
	f, err := d.FS.Create(name, category)
	return d.wrap(f, name, err)
}

// ReuseForWrite makes a file of an old one.
func (d *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.room(newname); err != nil {
		return nil, err
	}
	f, err := d.FS.ReuseForWrite(oldname, newname, category)
	return d.wrap(f, newname, err)
}

// OpenReadWrite opens a file for both.
func (d *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, category, opts...)
	return d.wrap(f, name, err)
}

// OpenDir opens a directory, whose sync makes the files in it findable.
func (d *FS) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	return d.wrap(f, name, err)
}

// MkdirAll makes directories.
func (d *FS) MkdirAll(dir string, perm os.FileMode) error {
	if err := d.room(dir); err != nil {
		return err
	}
	return d.FS.MkdirAll(dir, perm)
}

// GetDiskUsage says how much room there is: none while it is full.
func (d *FS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	usage, err := d.FS.GetDiskUsage(path)
	if err == nil && d.full() {
		usage.UsedBytes, usage.AvailBytes = usage.UsedBytes+usage.AvailBytes, 0
	}
	return usage, err
}

func (d *FS) wrap(f vfs.File, path string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d, path: path}, nil
}

// file is one that is written, or a directory.
type file struct {
	vfs.File
	disk *FS
	path string

	mu   sync.Mutex // guards held: a log is written by one goroutine and may be looked at by another
	held []byte     // written, and not synced: it is lost with the process
}

// Write appends to the file.
func (f *file) Write(p []byte) (int, error) {
	if err := f.disk.room(f.path); err != nil {
		return 0, err
	}
	if !f.disk.unsynced {
		return f.File.Write(p)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = append(f.held, p...)
	return len(p), nil
}

// Sync makes what was written durable.
func (f *file) Sync() error { return f.sync(f.File.Sync) }

// SyncData makes what was written durable.
func (f *file) SyncData() error { return f.sync(f.File.SyncData) }

// sync hands down what is held, and syncs it. Where the sync fails, what is held stays so.
func (f *file) sync(do func() error) error {
	if err := f.disk.syncing(f.path); err != nil {
		return err
	}
	if err := f.handDown(); err != nil {
		return err
	}
	return do()
}

// SyncTo asks for a part to be synced some time, and promises nothing: what is held stays so.
func (f *file) SyncTo(length int64) (bool, error) {
	if f.disk.unsynced {
		return false, nil
	}
	return f.File.SyncTo(length)
}

// handDown writes what is held.
func (f *file) handDown() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.held) == 0 {
		return nil // directories are not written
	}
	n, err := f.File.Write(f.held)
	f.held = append(f.held[:0], f.held[n:]...)
	return err
}

// Stat describes the file with all that was written to it.
func (f *file) Stat() (vfs.FileInfo, error) {
	if err := f.handDown(); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

// ReadAt reads what was written, synced or not.
func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.handDown(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, offset)
}

// Close ends the writing. What was not synced the operating system has from here on.
func (f *file) Close() error {
	err := f.handDown()
	if cerr := f.File.Close(); err == nil {
		err = cerr
	}
	return err
}
