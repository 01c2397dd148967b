// Package servetest is an online store in memory, for tests of what reads through serve.Store. Only tests import it.
package servetest

import (
	"context"
	"sync"

	"highwater/features"
	"highwater/windows"
)

// Store is a serve.Store whose contents a test sets. The zero value is an empty store; it is safe for concurrent use.
type Store struct {
	mu         sync.Mutex // guards all fields below
	catalogue  *features.Catalogue
	vectors    map[features.VectorKey]features.StoredVector
	mark       features.TaskMark
	beats      []features.Heartbeat
	err        error
	catalogues int
	fetched    [][]features.VectorKey
}

// SetCatalogue leaves a catalogue in the store, nil for none.
func (s *Store) SetCatalogue(c *features.Catalogue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catalogue = c
}

// Put stores v, as found, under its view and entity.
func (s *Store) Put(v features.StoredVector) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vectors == nil {
		s.vectors = make(map[features.VectorKey]features.StoredVector)
	}
	v.Found, v.SchemaID = true, v.Schema.ID
	s.vectors[features.VectorKey{View: v.View, Entity: v.Entity}] = v
}

// SetMark sets the task's mark.
func (s *Store) SetMark(m features.TaskMark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark = m
}

// Beat adds a heartbeat.
func (s *Store) Beat(b features.Heartbeat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats = append(s.beats, b)
}

// Fail makes every method return err from now on, nil for none.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Catalogues returns how often the catalogue was read.
func (s *Store) Catalogues() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catalogues
}

// Fetched returns the keys of every fetch so far.
func (s *Store) Fetched() [][]features.VectorKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]features.VectorKey(nil), s.fetched...)
}

// Catalogue implements serve.Store.
func (s *Store) Catalogue(ctx context.Context) (features.Catalogue, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catalogues++
	if err := s.fault(ctx); err != nil || s.catalogue == nil {
		return features.Catalogue{}, false, err
	}
	return *s.catalogue, true, nil
}

// Fetch implements serve.Store.
func (s *Store) Fetch(ctx context.Context, keys []features.VectorKey) (features.Fetched, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fetched) < 1000 {
		s.fetched = append(s.fetched, keys)
	}
	if err := s.fault(ctx); err != nil {
		return features.Fetched{}, err
	}
	f := features.Fetched{Mark: s.mark, Vectors: make([]features.StoredVector, len(keys))}
	for i, k := range keys {
		v, ok := s.vectors[k]
		if !ok {
			v = features.StoredVector{View: k.View, Entity: k.Entity}
		}
		f.Vectors[i] = v
	}
	return f, nil
}

// Heartbeats implements serve.Store.
func (s *Store) Heartbeats(ctx context.Context) ([]features.Heartbeat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beats, s.fault(ctx)
}

func (s *Store) fault(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	return ctx.Err()
}

// Schema returns a schema of features given as name and kind, in turn: Schema("s1", "clicks", "int64").
func Schema(id string, nameKind ...string) features.Schema {
	s := features.Schema{ID: id}
	for i := 0; i+1 < len(nameKind); i += 2 {
		s.Features = append(s.Features, features.SchemaFeature{Name: nameKind[i], Kind: nameKind[i+1]})
	}
	return s
}

// Entity returns the canonical text of an entity of string and int64 join keys, given as string, int or int64.
func Entity(keys ...any) string {
	var values []windows.Value
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			values = append(values, windows.StringOf(k))
		case int:
			values = append(values, windows.IntOf(int64(k)))
		case int64:
			values = append(values, windows.IntOf(k))
		}
	}
	text, _ := features.AppendEntity(nil, values...)
	return string(text)
}
