package serve

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"highwater/features"
	"highwater/windows"
)

// catalogue is a project's catalogue with its names indexed. Immutable.
type catalogue struct {
	eventClock bool
	loaded     time.Time
	entities   map[string]*entity
	views      map[string]*view
	services   map[string][]string // references, spelt view:feature
}

// entity is what one kind of entity is known by.
type entity struct {
	name     string
	joinKeys []JoinKey // in declared order
}

// JoinKey is one value that a caller must give of an entity.
type JoinKey = features.JoinKey

// view is one feature view, as its vectors are written now.
type view struct {
	name   string
	entity *entity
	ttl    int64 // µs; 0 for none
	schema features.Schema
	index  map[string]int // by feature name: its place in schema.Features
}

// compile indexes c, and refuses a catalogue that contradicts itself.
func compile(c *features.Catalogue, loaded time.Time) (*catalogue, error) {
	compiled := &catalogue{
		eventClock: c.Clock == features.EventClock,
		loaded:     loaded,
		entities:   make(map[string]*entity, len(c.Entities)),
		views:      make(map[string]*view, len(c.Views)),
		services:   make(map[string][]string, len(c.Services)),
	}
	for _, e := range c.Entities {
		joinKeys, err := compileJoinKeys(e)
		if err != nil {
			return nil, err
		}
		compiled.entities[e.Name] = &entity{name: e.Name, joinKeys: joinKeys}
	}
	for _, v := range c.Views {
		e := compiled.entities[v.Entity]
		if e == nil {
			return nil, fmt.Errorf("view %s: no entity %q", v.Name, v.Entity)
		}
		index := make(map[string]int, len(v.Schema.Features))
		for i, f := range v.Schema.Features {
			index[f.Name] = i
		}
		compiled.views[v.Name] = &view{name: v.Name, entity: e, ttl: v.TTL.Microseconds(), schema: v.Schema, index: index}
	}
	for _, s := range c.Services {
		compiled.services[s.Name] = s.Features
	}
	return compiled, nil
}

func compileJoinKeys(e features.CatalogueEntity) ([]JoinKey, error) {
	if len(e.JoinKeys) == 0 {
		return nil, fmt.Errorf("entity %s: no join key", e.Name)
	}
	joinKeys := make([]JoinKey, len(e.JoinKeys))
	for i, k := range e.JoinKeys {
		switch k.Type {
		case windows.String.String():
			joinKeys[i] = JoinKey{Name: k.Name, Kind: windows.String}
		case windows.Int64.String():
			joinKeys[i] = JoinKey{Name: k.Name, Kind: windows.Int64}
		default:
			return nil, fmt.Errorf("entity %s: join key %s is of type %q, want string or int64", e.Name, k.Name, k.Type)
		}
	}
	return joinKeys, nil
}

// catalogues caches the newest catalogue. Whoever finds it too old reads it again, while all others go on with what there is.
type catalogues struct {
	store   Store
	project string
	now     func() time.Time
	refresh time.Duration
	current atomic.Pointer[catalogue]
	turn    chan struct{} // holds one token while somebody reads; only they set current
}

func newCatalogues(o Options) *catalogues {
	return &catalogues{store: o.Store, project: o.Project, now: o.Now, refresh: o.Refresh, turn: make(chan struct{}, 1)}
}

// get returns the catalogue, at most about refresh old as long as the store answers, and the last known one while it does not.
func (c *catalogues) get(ctx context.Context) (*catalogue, error) {
	known := c.current.Load()
	if known == nil {
		return c.newerThan(ctx, nil, 0)
	}
	if c.now().Sub(known.loaded) < c.refresh {
		return known, nil
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	default:
		return known, nil // somebody else is reading it
	}
	read, err := c.read(ctx)
	if err == nil || c.current.Load() == nil {
		return read, err
	}
	later := *known
	later.loaded = c.now()
	c.current.Store(&later) // so that not every request waits for a store that does not answer
	return known, nil
}

// newerThan returns a catalogue read after seen was. Callers that saw the same one share one read; one that is younger than atLeast is not read again.
func (c *catalogues) newerThan(ctx context.Context, seen *catalogue, atLeast time.Duration) (*catalogue, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
	if now := c.current.Load(); now != nil && (now != seen || c.now().Sub(now.loaded) < atLeast) {
		return now, nil
	}
	return c.read(ctx)
}

// read asks the store; the caller holds the turn. A store that does not answer changes nothing, one that has no catalogue any more takes the known one away.
func (c *catalogues) read(ctx context.Context) (*catalogue, error) {
	raw, found, err := c.store.Catalogue(ctx)
	if err != nil {
		return nil, unavailable(fmt.Errorf("read the catalogue: %w", err))
	}
	if !found {
		c.current.Store(nil)
		return nil, &Error{Kind: Unavailable, Detail: fmt.Sprintf("the online store holds no catalogue of project %q: no worker has written to it yet, or the store was emptied", c.project)}
	}
	compiled, err := compile(&raw, c.now())
	if err != nil {
		return nil, &Error{Kind: Corrupt, Detail: fmt.Sprintf("the catalogue of project %q contradicts itself: %v", c.project, err), Err: err}
	}
	c.current.Store(compiled)
	return compiled, nil
}
