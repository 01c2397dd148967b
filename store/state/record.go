package state

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
)

// Record is what a directory tells of its past: a stretch of its plans, and all that it takes to execute them in another directory but the state before them.
type Record struct {
	Project     string
	Log         string            // the plan log's id
	Position    batch.Position    // as committed; the zero Position in a directory without a commit
	Oldest      features.Version  // of the plans kept; zero for none
	Plans       []*batch.Plan     // in order
	Definitions map[string]string // texts by hash: of those that the plans, the position and its opening name
}

// Record returns up to limit of the plans beyond after, up to and with last. It may run beside everything else.
func (s *Store) Record(ctx context.Context, after, last features.Version, limit int) (Record, error) {
	r := Record{Project: s.Project().Name, Log: s.Plans().ID(), Definitions: map[string]string{}}
	r.Position, _ = s.Position()
	oldest, err := s.firstPlan()
	if err != nil {
		return r, err
	}
	if oldest != nil {
		r.Oldest = oldest.Version
	}
	err = s.eachPlan(ctx, after, func(p *batch.Plan) (bool, error) {
		if last.Less(p.Version) || len(r.Plans) >= limit {
			return false, nil
		}
		r.Plans = append(r.Plans, p)
		return true, nil
	})
	hashes := []string{r.Position.Definitions, r.Position.Opening.Definitions}
	for _, p := range r.Plans {
		hashes = append(hashes, p.Definitions)
	}
	for _, hash := range hashes {
		if _, known := r.Definitions[hash]; known || hash == "" {
			continue
		}
		text, found, textErr := s.Definitions(hash)
		if found {
			r.Definitions[hash] = text
		}
		err = errors.Join(err, textErr)
	}
	return r, err
}

// Adopt makes a record's plans, its definitions and its log's id those of s, in one synced write, so that s can execute them again. Plans that s has of the same versions are replaced; the others stay.
func (s *Store) Adopt(ctx context.Context, r Record) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("adopt plans: %w", err)
	}
	s.plans.Lock()
	defer s.plans.Unlock()
	b := s.db.NewBatch()
	defer b.Close()
	err := b.Set(keys.Meta(metaLog), []byte(r.Log), nil)
	for hash, text := range r.Definitions {
		err = errors.Join(err, b.Set(keys.Meta(metaDefinitions+hash), []byte(text), nil))
	}
	for _, p := range r.Plans {
		err = errors.Join(err, b.Set(keys.AppendPlan(nil, p.Version), appendPlan(nil, p), nil))
	}
	if err == nil {
		err = s.apply(ctx, b)
	}
	if err != nil {
		return fmt.Errorf("adopt plans: %w", err)
	}
	s.plans.id = r.Log
	return nil
}

// OpenKept opens the state in dir for the definitions that it was last moved under, whose text is kept with it. Unlike [Open] it creates nothing: a directory without a state is an error.
func OpenKept(dir string, o Options) (*Store, error) { return open(dir, nil, o) }

// keptDefinitions returns the definitions that the state was last moved under, of a state that never was those of its first plan.
func (s *Store) keptDefinitions() (*features.Project, error) {
	hash := ""
	if at := s.position.Load(); at != nil {
		hash = at.Definitions
		if hash == "" {
			hash = at.Opening.Definitions
		}
	}
	if hash == "" {
		first, err := s.firstPlan()
		if err != nil {
			return nil, err
		}
		if first == nil {
			return nil, fmt.Errorf("data directory %s holds no plan and no state yet", s.dir)
		}
		hash = first.Definitions
	}
	text, found, err := s.Definitions(hash)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("data directory %s: definitions %s are not kept with the state", s.dir, hash)
	}
	return features.Parse("definitions "+hash, []byte(text))
}

// Clone makes dst a copy of the state in src, which nobody may have open, and which stays as it is. dst must not exist or be empty. What never changes is linked where the file system can, so that a large state takes no time.
func Clone(dst, src string) error {
	fsys := vfs.Default
	lock, err := lockDirectory(fsys, src, Options{ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(cloneFiles(fsys, dst, src), lock.release())
}

func cloneFiles(fsys vfs.FS, dst, src string) error {
	if there, err := fsys.List(dst); err == nil && len(there) > 0 {
		return fmt.Errorf("clone state: %s is not empty", dst)
	}
	names, err := fsys.List(src)
	if err == nil {
		err = fsys.MkdirAll(dst, 0o755)
	}
	if err != nil {
		return fmt.Errorf("clone state: %w", err)
	}
	for _, name := range names {
		from, to := fsys.PathJoin(src, name), fsys.PathJoin(dst, name)
		info, err := fsys.Stat(from)
		switch {
		case err != nil:
		case name == lockFile || name == ownerFile || info.IsDir():
			continue
		case strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob"):
			err = vfs.LinkOrCopy(fsys, from, to)
		default:
			err = vfs.Copy(fsys, from, to)
		}
		if err != nil {
			return fmt.Errorf("clone state: %w", err)
		}
	}
	return nil
}
