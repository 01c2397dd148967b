package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ownerFile says who holds the lock. It is for people: the lock itself is Pebble's, held by the operating system, and gone with the process.
const ownerFile = "OWNER"

// lockFile is the file that Pebble locks.
const lockFile = "LOCK"

// Owner is the process that has a directory open, as it told of itself.
type Owner struct {
	Name    string    `json:"name"` // Options.Owner
	Process int       `json:"process"`
	Host    string    `json:"host"`
	Since   time.Time `json:"since"`
}

// InUseError refuses a directory that another process, or another part of this one, has open.
type InUseError struct {
	Dir   string
	Owner Owner // the zero Owner where it left no word
}

// Error names the owner and the way out.
func (e *InUseError) Error() string {
	who := "another process"
	if e.Owner.Process != 0 {
		who = fmt.Sprintf("%s (process %d on %s, since %s)", e.Owner.Name, e.Owner.Process, e.Owner.Host, e.Owner.Since.Format(time.RFC3339))
	}
	return fmt.Sprintf("data directory %s is in use by %s: a directory has one owner at a time; stop that process, or name another directory", e.Dir, who)
}

type directoryLock struct {
	fs   vfs.FS
	dir  string
	lock *pebble.Lock
}

func lockDirectory(fsys vfs.FS, dir string, o Options) (*directoryLock, error) {
	if _, err := fsys.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if o.ReadOnly {
			return nil, fmt.Errorf("data directory %s does not exist", dir)
		}
		if err := makeDirectory(fsys, dir); err != nil {
			return nil, fmt.Errorf("create data directory %s: %w", dir, err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("look at data directory: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, fsys)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return nil, fmt.Errorf("lock data directory: %w", err)
	case err != nil:
		return nil, &InUseError{Dir: dir, Owner: readOwner(fsys, dir)}
	}
	l := &directoryLock{fs: fsys, dir: dir, lock: lock}
	// An owner that could not leave word is an owner all the same.
	_ = l.writeOwner(o.Owner)
	return l, nil
}

// makeDirectory creates dir and syncs every parent that got a new entry, so that a power cut cannot take the directory away from under its files.
func makeDirectory(fsys vfs.FS, dir string) error {
	var parents []string
	for d := dir; ; {
		parent := fsys.PathDir(d)
		if parent == d {
			break
		}
		parents = append(parents, parent)
		if _, err := fsys.Stat(parent); err == nil {
			break
		}
		d = parent
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, parent := range slices.Backward(parents) {
		if err := syncDirectory(fsys, parent); err != nil {
			return err
		}
	}
	return nil
}

func syncDirectory(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (l *directoryLock) writeOwner(name string) error {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	if name == "" {
		name = filepath.Base(os.Args[0])
	}
	text, err := json.Marshal(Owner{Name: name, Process: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	f, err := l.fs.Create(l.fs.PathJoin(l.dir, ownerFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

func readOwner(fsys vfs.FS, dir string) (o Owner) {
	f, err := fsys.Open(fsys.PathJoin(dir, ownerFile))
	if err != nil {
		return Owner{}
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil || json.Unmarshal(text, &o) != nil {
		return Owner{}
	}
	return o
}

func (l *directoryLock) release() error {
	// What is left behind names a process that no longer runs; whoever opens next overwrites it.
	_ = l.fs.Remove(l.fs.PathJoin(l.dir, ownerFile))
	return l.lock.Close()
}

// checkContents refuses a directory that holds other things than a Pebble store, before Pebble writes among them.
func checkContents(fsys vfs.FS, dir string, readOnly bool) error {
	desc, err := pebble.Peek(dir, fsys)
	if err != nil {
		return fmt.Errorf("data directory %s cannot be read by this version of Highwater: %w; run the version that wrote it, or name a new directory", dir, err)
	}
	names, err := fsys.List(dir)
	if err != nil {
		return fmt.Errorf("list data directory: %w", err)
	}
	if desc.Exists {
		if readOnly || !cutShort(fsys, dir, desc, names) {
			return nil
		}
		return removeMarkers(fsys, dir, names)
	}
	foreign := slices.DeleteFunc(names, harmless)
	if len(foreign) == 0 {
		return nil
	}
	slices.Sort(foreign)
	return fmt.Errorf("data directory %s holds other things (%s): name an empty or a new directory", dir, strings.Join(foreign[:min(3, len(foreign))], ", "))
}

// firstManifest is what Pebble calls the manifest of a store that was never opened again.
const firstManifest = "MANIFEST-000001"

// cutShort reports whether the power was cut while Pebble made the store, so that the marker reached the disk and the manifest that it names did not. Nothing can have been written before both were synced: there is nothing to lose.
func cutShort(fsys vfs.FS, dir string, desc *pebble.DBDesc, names []string) bool {
	if desc.ManifestFilename != fsys.PathJoin(dir, firstManifest) || slices.Contains(names, firstManifest) {
		return false
	}
	return !slices.ContainsFunc(names, func(name string) bool {
		if !strings.HasSuffix(name, ".log") {
			return strings.HasSuffix(name, ".sst")
		}
		info, err := fsys.Stat(fsys.PathJoin(dir, name))
		return err != nil || info.Size() > 0
	})
}

func removeMarkers(fsys vfs.FS, dir string, names []string) error {
	for _, name := range names {
		if !strings.HasPrefix(name, "marker.manifest.") {
			continue
		}
		if err := fsys.Remove(fsys.PathJoin(dir, name)); err != nil {
			return fmt.Errorf("clear what a first opening of the data directory has left: %w", err)
		}
	}
	return nil
}

// harmless reports whether a file may stand in a directory that Highwater is to make its own: hidden files, a mount point's, and what a first opening that was cut short has left.
func harmless(name string) bool {
	if name == lockFile || name == ownerFile || name == "lost+found" {
		return true
	}
	for _, prefix := range []string{".", "marker.", "MANIFEST-", "OPTIONS-", "CURRENT"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, ".dbtmp") || strings.HasSuffix(name, ".log") && strings.Trim(name, "0123456789") == ".log"
}
