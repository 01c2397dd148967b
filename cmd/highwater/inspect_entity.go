package main

import (
	"fmt"
	"io"
	"strings"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

// entityOf reads one entity's state: VIEW/KEY, several keys parted by /.
func entityOf(store *state.Store, path string) (*inspectedEntity, error) {
	name, keys, _ := strings.Cut(path, "/")
	view, index := store.View(name)
	if view == nil {
		return nil, fmt.Errorf("there is no view %q in the state", name)
	}
	text, err := entityText(view.Entity, keys)
	if err != nil {
		return nil, err
	}
	e, found, err := store.Entity(index, text)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("view %s holds no entity %q", name, keys)
	}
	out := &inspectedEntity{View: name, Entity: keys, Tombstone: e.Published.Tombstone, EventTime: timeText(e.Windows.EventTime()), Features: view.Machine.Parts(e.Windows), Published: "none"}
	if e.Published.Version.Sequence > 0 {
		out.Published = fmt.Sprintf("generation %d, sequence %d", e.Published.Version.Generation, e.Published.Version.Sequence)
	}
	for clock, at := range e.Timers {
		if at != windows.Never {
			out.Timers = append(out.Timers, fmt.Sprintf("%s %s", [batch.TimerClocks]string{"frontier", "watermark", "reading"}[clock], timeText(at)))
		}
	}
	return out, nil
}

// entityText is the canonical text of an entity's keys as typed.
func entityText(e *features.Entity, keys string) (string, error) {
	parts := []string{keys}
	if len(e.JoinKeys) > 1 {
		parts = strings.Split(keys, "/")
	}
	if len(parts) != len(e.JoinKeys) {
		return "", fmt.Errorf("entity %s has %d join keys, %q names %d", e.Name, len(e.JoinKeys), keys, len(parts))
	}
	values := make([]windows.Value, len(parts))
	for i, k := range e.JoinKeys {
		var err error
		if values[i], err = k.Parse(parts[i]); err != nil {
			return "", err
		}
	}
	text, ok := features.AppendEntity(nil, values...)
	if !ok {
		return "", fmt.Errorf("entity %s: a join key is empty", e.Name)
	}
	return string(text), nil
}

// print shows which tiles made each value.
func (e *inspectedEntity) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s/%s\tpublished %s\tnewest event %s\n", e.View, e.Entity, e.Published, e.EventTime)
	if e.Tombstone {
		fmt.Fprintf(w, "\texpired: a tombstone stands in the store\n")
	}
	for _, t := range e.Timers {
		fmt.Fprintf(w, "\ttimer by %s\n", t)
	}
	fmt.Fprintf(w, "\nFEATURE\tFROM\tTO\tHOLDS\n")
	for _, p := range e.Features {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Feature, timeText(p.From), timeText(p.To), p.Holds)
	}
}
