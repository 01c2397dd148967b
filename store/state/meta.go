package state

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"highwater/store/keys"
)

// formatVersion is of everything that docs/format/state.md says. A change that an older program would misread raises it.
const formatVersion = 1

// The names under keys.Meta.
const (
	metaFormat      = "format"       // formatVersion, in decimal
	metaProject     = "project"      // the project's name
	metaLog         = "log"          // the plan log's id
	metaEntities    = "entities"     // JSON: how many entities each view has
	metaShapes      = "shape/"       // + view, 00, number (4 bytes): JSON, see storedShape
	metaDefinitions = "definitions/" // + hash: a definitions file's text
	metaReset       = "reset"        // JSON: a reset that was asked for, see storedReset; absent for none
)

// storedShape is what gave a view's bytes their meaning for a while.
type storedShape struct {
	Windows string `json:"windows"` // windows.Machine.Shape
	Schema  string `json:"schema"`  // features.Schema.ID
}

// loadMeta reads what the directory says of itself, which must be that project's; "" for whose it may be. An empty one becomes the project's.
func (s *Store) loadMeta(project string) error {
	format, found, err := s.get(keys.Meta(metaFormat))
	if err != nil {
		return fmt.Errorf("read format version: %w", err)
	}
	if !found && project == "" {
		return fmt.Errorf("data directory %s holds no state yet", s.dir)
	}
	if !found {
		return s.create(project)
	}
	if n, err := strconv.Atoi(string(format)); err != nil || n < 1 {
		return fmt.Errorf("data directory %s: %q is not a format version of Highwater's: name another directory", s.dir, format)
	} else if n > formatVersion {
		return fmt.Errorf("data directory %s was written by a newer Highwater (format %d; this one reads %d): run that version, or name a new directory", s.dir, n, formatVersion)
	}
	name, _, err := s.get(keys.Meta(metaProject))
	if err != nil {
		return fmt.Errorf("read project name: %w", err)
	}
	if project != "" && string(name) != project {
		return fmt.Errorf("data directory %s holds the state of project %q, and the definitions are of project %q: name another directory, or the definitions that belong to it", s.dir, name, project)
	}
	id, _, err := s.get(keys.Meta(metaLog))
	if err != nil {
		return fmt.Errorf("read plan log's id: %w", err)
	}
	s.plans.id = string(id)
	return errors.Join(s.loadCounts(), s.loadShapes(), s.loadReset())
}

// create makes an empty store Highwater's own.
func (s *Store) create(project string) error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	taken := it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	if taken {
		return fmt.Errorf("data directory %s holds a Pebble store that Highwater did not write: name an empty or a new directory", s.dir)
	}
	if s.readOnly {
		return fmt.Errorf("data directory %s holds no state yet", s.dir)
	}
	id, err := newLogID()
	if err != nil {
		return err
	}
	s.plans.id = id
	b := s.db.NewBatch()
	defer s.release(b)
	err = errors.Join(
		b.Set(keys.Meta(metaFormat), strconv.AppendInt(nil, formatVersion, 10), nil),
		b.Set(keys.Meta(metaProject), []byte(project), nil),
		b.Set(keys.Meta(metaLog), []byte(s.plans.id), nil),
		s.db.Apply(b, pebble.Sync))
	if err != nil {
		return fmt.Errorf("create state in %s: %w", s.dir, err)
	}
	s.shapes = map[string][]storedShape{}
	s.counts.Store(&map[string]int64{})
	return nil
}

// newLogID makes a plan log's id.
func newLogID() (string, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make plan log's id: %w", err)
	}
	return hex.EncodeToString(random[:]), nil
}

func (s *Store) loadCounts() error {
	text, found, err := s.get(keys.Meta(metaEntities))
	if err != nil {
		return fmt.Errorf("read entity counts: %w", err)
	}
	counts := map[string]int64{}
	if found {
		if err := json.Unmarshal(text, &counts); err != nil {
			return fmt.Errorf("read entity counts: %w", err)
		}
	}
	s.counts.Store(&counts)
	return nil
}

func (s *Store) loadShapes() error {
	s.shapes = map[string][]storedShape{}
	return s.each(keys.Meta(metaShapes), keys.Meta(successor(metaShapes)), func(k, v []byte) error {
		view, number, ok := strings.Cut(string(k[len(keys.Meta(metaShapes)):]), "\x00")
		if !ok || len(number) != 4 || int(binary.BigEndian.Uint32([]byte(number))) != len(s.shapes[view]) {
			return fmt.Errorf("read shapes: key %q is out of place", k)
		}
		var shape storedShape
		if err := json.Unmarshal(v, &shape); err != nil {
			return fmt.Errorf("read shape of view %s: %w", view, err)
		}
		s.shapes[view] = append(s.shapes[view], shape)
		return nil
	})
}

func shapeKey(view string, number int) []byte {
	return binary.BigEndian.AppendUint32(keys.Meta(metaShapes+view+"\x00"), uint32(number))
}

// writeCounts puts the counts after a change of delta by view into b, and returns them.
func (s *Store) writeCounts(b *pebble.Batch, delta map[string]int64, dropped []string) (map[string]int64, error) {
	counts := maps.Clone(*s.counts.Load())
	for view, d := range delta {
		counts[view] += d
	}
	for _, view := range dropped {
		delete(counts, view)
	}
	text, err := json.Marshal(counts)
	if err != nil {
		return nil, err
	}
	return counts, b.Set(keys.Meta(metaEntities), text, nil)
}

// get returns a copy of the value under k.
func (s *Store) get(k []byte) (value []byte, found bool, err error) {
	v, closer, err := s.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = append([]byte{}, v...)
	return value, true, closer.Close()
}

// each calls f for every key in [lower, upper), in order; both of its arguments are lent.
func (s *Store) each(lower, upper []byte, f func(k, v []byte) error) error {
	return eachIn(s.db, lower, upper, f)
}

func eachIn(r pebble.Reader, lower, upper []byte, f func(k, v []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key(), v)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// successor returns the least name after all that begin with name, which must not end with ff.
func successor(name string) string {
	return name[:len(name)-1] + string(name[len(name)-1]+1)
}
