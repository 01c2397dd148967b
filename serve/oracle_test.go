package serve_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"highwater/features"
	"highwater/serve"
	"highwater/serve/servetest"
	"highwater/windows"
)

// world is a random project and its store, small enough for everything to meet everything.
type world struct {
	catalogue features.Catalogue
	vectors   []features.StoredVector
	mark      features.TaskMark
	now       int64
}

func drawWorld(t *rapid.T) world {
	instant := rapid.Int64Range(0, 20)
	w := world{now: instant.Draw(t, "now")}
	w.catalogue = features.Catalogue{
		Project: "p", Clock: rapid.SampledFrom([]features.Clock{features.WallClock, features.EventClock}).Draw(t, "clock"),
		Entities: []features.CatalogueEntity{
			{Name: "user", JoinKeys: []features.CatalogueJoinKey{{Name: "u", Type: "string"}}},
			{Name: "item", JoinKeys: []features.CatalogueJoinKey{{Name: "i", Type: "int64"}}},
			{Name: "both", JoinKeys: []features.CatalogueJoinKey{{Name: "i", Type: "int64"}, {Name: "u", Type: "string"}}},
		},
	}
	for n := range rapid.IntRange(1, 5).Draw(t, "views") {
		w.catalogue.Views = append(w.catalogue.Views, features.CatalogueView{
			Name: fmt.Sprintf("v%d", n), Entity: rapid.SampledFrom([]string{"user", "item", "both"}).Draw(t, "entity"),
			TTL:    time.Duration(rapid.Int64Range(0, 10).Draw(t, "ttl")) * time.Microsecond,
			Schema: drawSchema(t),
		})
	}
	w.mark = features.TaskMark{Found: rapid.Bool().Draw(t, "marked"), Task: rapid.IntRange(0, 1).Draw(t, "mark's task"), Version: drawVersion(t), Frontier: instant.Draw(t, "mark's frontier")}
	for _, v := range w.catalogue.Views {
		for _, u := range someUsers {
			for _, i := range someItems {
				if rapid.Bool().Draw(t, "stored") {
					w.vectors = append(w.vectors, drawVector(t, v, u, i))
				}
			}
		}
	}
	return w
}

var (
	someUsers = []string{"a", "b", "a\x00\x01"}
	someItems = []int64{1, -2}
)

func drawVersion(t *rapid.T) features.Version {
	return features.Version{Generation: rapid.Uint32Range(1, 3).Draw(t, "generation"), Sequence: rapid.Uint64Range(1, 3).Draw(t, "sequence")}
}

// drawSchema draws some of three features, in any order, of either of two kinds; equal shapes have equal ids.
func drawSchema(t *rapid.T) features.Schema {
	var s features.Schema
	for _, name := range rapid.Permutation([]string{"f", "g", "h"}).Draw(t, "order")[:rapid.IntRange(1, 3).Draw(t, "width")] {
		s.Features = append(s.Features, features.SchemaFeature{Name: name, Kind: rapid.SampledFrom([]string{"int64", "string"}).Draw(t, "kind")})
	}
	s.ID = fmt.Sprint(s.Features)
	return s
}

func drawVector(t *rapid.T, view features.CatalogueView, u string, i int64) features.StoredVector {
	v := features.StoredVector{
		View: view.Name, Version: drawVersion(t), Task: rapid.IntRange(0, 1).Draw(t, "task"), Schema: view.Schema,
		Frontier: rapid.Int64Range(0, 20).Draw(t, "frontier"), EventTime: rapid.Int64Range(0, 20).Draw(t, "event time"), Tombstone: rapid.IntRange(0, 5).Draw(t, "tombstone") == 0,
	}
	v.Entity = entityText(view.Entity, u, i)
	if rapid.Bool().Draw(t, "older schema") {
		v.Schema = drawSchema(t)
	}
	if v.Tombstone {
		return v
	}
	for _, f := range v.Schema.Features {
		switch {
		case rapid.IntRange(0, 3).Draw(t, "null") == 0:
			v.Values = append(v.Values, windows.Value{})
		case f.Kind == "int64":
			v.Values = append(v.Values, windows.IntOf(rapid.Int64().Draw(t, "value")))
		default:
			v.Values = append(v.Values, windows.StringOf(rapid.String().Draw(t, "value")))
		}
	}
	return v
}

func entityText(entity, u string, i int64) string {
	switch entity {
	case "user":
		return servetest.Entity(u)
	case "item":
		return servetest.Entity(i)
	default:
		return servetest.Entity(i, u)
	}
}

// cell answers one value the slow way, straight from the rules: no sharing, no index, one vector after the other.
func (w *world) cell(reference, u string, i int64) serve.Cell {
	none := serve.Cell{Status: serve.NotFound, AsOf: windows.NoTime, EventTime: windows.NoTime}
	viewName, name, _ := strings.Cut(reference, ":")
	var view features.CatalogueView
	for _, v := range w.catalogue.Views {
		if v.Name == viewName {
			view = v
		}
	}
	var kind string
	for _, f := range view.Schema.Features {
		if f.Name == name {
			kind = f.Kind
		}
	}
	answer := none
	for _, v := range w.vectors {
		if v.View != viewName || v.Entity != entityText(view.Entity, u, i) {
			continue
		}
		answer = w.judged(v, view, name, kind, none) // the last one stored wins
	}
	return answer
}

func (w *world) judged(v features.StoredVector, view features.CatalogueView, name, kind string, none serve.Cell) serve.Cell {
	c := serve.Cell{AsOf: v.Frontier, EventTime: v.EventTime}
	if w.mark.Found && w.mark.Task == v.Task {
		if v.Version.Generation < w.mark.Version.Generation {
			return none
		}
		if v.Version.Generation == w.mark.Version.Generation && w.mark.Frontier > v.Frontier {
			c.AsOf = w.mark.Frontier
		}
	}
	now := time.UnixMicro(w.now)
	if w.catalogue.Clock == features.EventClock {
		now = time.UnixMicro(c.AsOf)
	}
	if v.Tombstone || view.TTL != 0 && !time.UnixMicro(v.EventTime).Add(view.TTL).After(now) {
		c.Status = serve.OutsideMaxAge
		return c
	}
	for at, f := range v.Schema.Features {
		if f.Name == name && f.Kind == kind {
			c.Value, c.Status = v.Values[at], serve.Present
			if c.Value.IsNull() {
				c.Status = serve.NullValue
			}
			return c
		}
	}
	return none
}

// TestRead_EqualsTheSlowWay asks random questions of random stores.
func TestRead_EqualsTheSlowWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		store := &servetest.Store{}
		store.SetCatalogue(&w.catalogue)
		store.SetMark(w.mark)
		var references []string
		for _, v := range w.catalogue.Views {
			for _, f := range v.Schema.Features {
				references = append(references, v.Name+":"+f.Name)
			}
		}
		for _, v := range w.vectors {
			store.Put(v)
		}
		references = rapid.Permutation(references).Draw(t, "asked")[:rapid.IntRange(1, len(references)).Draw(t, "columns")]
		s := serve.New(serve.Options{Store: store, Project: "p", Now: func() time.Time { return time.UnixMicro(w.now) }})
		sel, err := s.Features(t.Context(), references)
		if err != nil {
			t.Fatal(err)
		}
		type key struct {
			u string
			i int64
		}
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) key {
			return key{rapid.SampledFrom(someUsers).Draw(t, "u"), rapid.SampledFrom(someItems).Draw(t, "i")}
		}), 0, 6).Draw(t, "rows")
		var keys []windows.Value
		for _, k := range rows {
			for _, j := range sel.JoinKeys {
				if j.Name == "u" {
					keys = append(keys, windows.StringOf(k.u))
				} else {
					keys = append(keys, windows.IntOf(k.i))
				}
			}
		}
		table, err := s.Read(t.Context(), sel, keys)
		if err != nil {
			t.Fatal(err)
		}
		if table.Rows != len(rows) || len(table.Features) != len(references) {
			t.Fatalf("%d rows of %d, want %d of %d", table.Rows, len(table.Features), len(rows), len(references))
		}
		for row, k := range rows {
			for column, reference := range references {
				if got, want := table.Cell(row, column), w.cell(reference, k.u, k.i); got != want {
					t.Fatalf("%s of (%q, %d): %+v, want %+v", reference, k.u, k.i, got, want)
				}
			}
		}
	})
}
