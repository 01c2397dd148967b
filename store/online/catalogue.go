package online

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
)

// shelf remembers what the catalogue's hash must hold, so that a Redis that has lost it gets it back, and that no vector is written before its schema.
type shelf struct {
	mu     sync.Mutex        // guards fields
	fields map[string]string // field → JSON; only what Redis has confirmed once
}

func newShelf() shelf { return shelf{fields: map[string]string{}} }

func (s *shelf) has(field string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.fields[field]
	return ok
}

func (s *shelf) add(fields map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.fields, fields)
}

func (s *shelf) all() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.fields)
}

// WriteCatalogue stores the catalogue and the schemas of its views, beside those of all shapes ever written. Call it before the first batch, and when the definitions have changed.
func (s *Store) WriteCatalogue(ctx context.Context, c features.Catalogue) error {
	text, err := json.Marshal(c)
	if err != nil {
		return batch.Permanent(fmt.Errorf("write the catalogue of project %s: %w", s.o.Project, err))
	}
	fields := map[string]string{keys.CatalogueField: string(text)}
	for _, v := range c.Views {
		if err := addSchema(fields, v.Name, v.Schema); err != nil {
			return err
		}
	}
	return s.shelve(ctx, fields)
}

// recordSchemas stores the schemas of the vectors' views, where that has not been done yet: a plan that was pending when the definitions changed still writes the older shape.
func (s *Store) recordSchemas(ctx context.Context, vectors []features.Vector) error {
	fields := map[string]string{}
	var views []*features.View // met so far: few
	for i := range vectors {
		v := vectors[i].View
		if slices.Contains(views, v) {
			continue
		}
		views = append(views, v)
		if s.shelf.has(keys.SchemaField(v.Name, v.Schema.ID)) {
			continue
		}
		if err := addSchema(fields, v.Name, v.Schema); err != nil {
			return err
		}
	}
	return s.shelve(ctx, fields)
}

// restoreCatalogue writes again all that was written before.
func (s *Store) restoreCatalogue(ctx context.Context) error { return s.shelve(ctx, s.shelf.all()) }

// shelve stores fields of the catalogue's hash, and remembers them.
func (s *Store) shelve(ctx context.Context, fields map[string]string) error {
	if len(fields) == 0 {
		return nil
	}
	client, err := s.link.connect(ctx)
	if err != nil {
		return s.link.fail("write the catalogue", err)
	}
	if err := client.HSet(ctx, keys.Catalogue(s.o.Project), fields).Err(); err != nil {
		return s.link.fail("write the catalogue", err)
	}
	s.shelf.add(fields)
	return nil
}

func addSchema(fields map[string]string, view string, schema features.Schema) error {
	text, err := json.Marshal(schema)
	if err != nil {
		return batch.Permanent(fmt.Errorf("write the schema of view %s: %w", view, err))
	}
	fields[keys.SchemaField(view, schema.ID)] = string(text)
	return nil
}
