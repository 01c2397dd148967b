package serve

import (
	"context"
	"strings"
	"unicode/utf8"

	"highwater/features"
	"highwater/windows"
)

// Row is one entity's vector in one view, with everything that is known of it.
type Row struct {
	View      string
	JoinKeys  []JoinKey       // the entity's
	Keys      []windows.Value // their values
	Status    Status          // Present, NotFound or OutsideMaxAge
	Version   features.Version
	AsOf      int64 // µs; windows.NoTime where the status is NotFound
	EventTime int64 // µs; windows.NoTime where the status is NotFound
	Age       int64 // µs: as Table.Age
	Features  []Feature
	Values    []windows.Value // one a feature; all null unless the status is Present
}

// Lookup returns one entity's vector in one view. keyTexts are the values of the entity's join keys as text, in declared order. An entity without a vector is no error: its status is NotFound.
func (s *Server) Lookup(ctx context.Context, view string, keyTexts []string) (Row, error) {
	sel, err := s.View(ctx, view)
	if err != nil {
		return Row{}, err
	}
	keys, err := parseKeys(view, sel.JoinKeys, keyTexts)
	if err != nil {
		return Row{}, err
	}
	t, err := s.Read(ctx, sel, keys)
	if err != nil {
		return Row{}, err
	}
	return t.row(keys), nil
}

// row returns the one row of a table over one view.
func (t *Table) row(keys []windows.Value) Row {
	at := t.vector(0, 0)
	d := t.verdicts[at]
	r := Row{View: t.sel.views[0].name, JoinKeys: t.sel.JoinKeys, Keys: keys, Status: d.status, AsOf: d.asOf, EventTime: d.eventTime, Age: t.Age, Features: t.Features}
	if d.status != NotFound {
		r.Version = t.vectors[at].Version
	}
	r.Values = make([]windows.Value, len(t.Features))
	for i := range t.Features {
		r.Values[i] = t.Cell(0, i).Value
	}
	return r
}

// parseKeys reads a view's join keys from their texts.
func parseKeys(view string, joinKeys []JoinKey, texts []string) ([]windows.Value, error) {
	if len(texts) != len(joinKeys) {
		names := make([]string, len(joinKeys))
		for i, k := range joinKeys {
			names[i] = k.Name
		}
		return nil, invalid("feature view %s is looked up by %s: values wanted: %d, given: %d", view, strings.Join(names, "/"), len(joinKeys), len(texts))
	}
	keys := make([]windows.Value, len(texts))
	for i, text := range texts {
		if text == "" {
			return nil, invalid("join key %s is empty", joinKeys[i].Name)
		}
		if !utf8.ValidString(text) {
			return nil, invalid("join key %s is not valid UTF-8", joinKeys[i].Name)
		}
		v, err := joinKeys[i].Parse(text)
		if err != nil {
			return nil, invalid("join key %s is an int64, and %s is not one", joinKeys[i].Name, Quote(text))
		}
		keys[i] = v
	}
	return keys, nil
}
