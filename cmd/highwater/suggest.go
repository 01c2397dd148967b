package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// suggest prints a few requests that work: of each view the entity with the newest event.
func (d *dev) suggest(ctx context.Context, e *engine, address string) error {
	newest := make([]string, len(d.project.Views))
	err := e.task.Do(ctx, func(ctx context.Context) error {
		for i := range d.project.Views {
			var err error
			if newest[i], err = newestEntity(ctx, e.store, i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\nTry, while this runs (Ctrl-C stops it):\n\n")
	entities := map[*features.Entity][]windows.Value{}
	for i, v := range d.project.Views {
		text := newest[i]
		if text == "" {
			continue
		}
		values, err := v.Entity.EntityValues(text)
		if err != nil {
			continue
		}
		entities[v.Entity] = values
		var path strings.Builder
		for _, value := range values {
			path.WriteString("/" + url.PathEscape(keyText(value)))
		}
		fmt.Fprintf(d.out, "  curl -s http://%s/v1/features/%s%s\n", address, v.Name, path.String())
	}
	for _, s := range d.project.Services {
		if body, ok := serviceBody(s, entities); ok {
			fmt.Fprintf(d.out, "  curl -s http://%s/v1/features -d '%s'\n", address, strings.ReplaceAll(body, "'", `'\''`))
		}
	}
	_, err = fmt.Fprintf(d.out, "  curl -s http://%s/v1/status\n  curl -s http://%s/metrics | grep highwater_stage\n", address, address)
	return err
}

// newestEntity returns the entity of a view with the newest event, "" where there is none; it looks at the first few thousand.
func newestEntity(ctx context.Context, store batch.State, view int) (text string, err error) {
	errEnough := errors.New("seen enough")
	newest, seen := int64(windows.NoTime), 0
	err = store.Scan(ctx, view, "", func(e *batch.Entity) error {
		if t := e.Windows.EventTime(); t > newest {
			newest, text = t, e.Text
		}
		if seen++; seen == 5000 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return text, err
}

// serviceBody is a request for a service, where an entity is known for each of its views.
func serviceBody(s *features.Service, entities map[*features.Entity][]windows.Value) (string, bool) {
	row := map[string]any{}
	for _, ref := range s.Features {
		values, ok := entities[ref.View.Entity]
		if !ok {
			return "", false
		}
		for i, key := range ref.View.Entity.JoinKeys {
			row[key.Name] = values[i].Str()
			if key.Kind == windows.Int64 {
				row[key.Name] = values[i].Int()
			}
		}
	}
	body, err := json.Marshal(map[string]any{"feature_service": s.Name, "entities": []any{row}})
	return string(body), err == nil
}

func keyText(v windows.Value) string {
	if v.Kind() == windows.Int64 {
		return fmt.Sprint(v.Int())
	}
	return v.Str()
}
