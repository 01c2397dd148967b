package main

import (
	"context"
	"strings"
	"testing"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
)

// TestHeaderTopics: headers are fetched where the definitions read them, and where those of a plan do that is still to be executed: it would decode to something else without them.
func TestHeaderTopics(t *testing.T) {
	const text = `project: shop
entities: {user: {join_key: user_id, type: string}}
sources:
  clicks: {kafka: {topic: clicks}, fields: {user_id: string, tenant: {type: string, from: header}}}
  views: {kafka: {topic: views}, fields: {user_id: {type: string, from: key}}}
feature_views:
  users: {source: clicks, entity: user, features: {clicks: {aggregate: count}}}
`
	parse := func(text string) *features.Project {
		p, err := features.Parse("test.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	with, without := parse(text), parse(strings.Replace(text, ", tenant: {type: string, from: header}", "", 1))
	dir, ctx := t.TempDir(), context.Background()
	store, err := state.Open(dir, with, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(store *state.Store, p *features.Project, want bool) {
		t.Helper()
		needed, err := (&engine{store: store}).headerTopics(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if needed("clicks") != want || needed("views") {
			t.Errorf("headers of clicks: %v, want %v; of views: %v", needed("clicks"), want, needed("views"))
		}
	}
	check(store, with, true)
	check(store, without, false)
	plan := &batch.Plan{Version: features.Version{Generation: 1, Sequence: 1}, Definitions: with.Hash}
	if _, err := store.Plans().Append(ctx, plan); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store, err = state.Open(dir, without, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	check(store, without, true)
}
