package state

import (
	"errors"
	"fmt"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
	"highwater/windows"
)

// View returns a view of the project that the store is bound to, and its index; nil where there is none of that name. It may be called beside everything else.
func (s *Store) View(name string) (*features.View, int) {
	for i, v := range s.bound.Load().project.Views {
		if v.Name == name {
			return v, i
		}
	}
	return nil, -1
}

// Entity returns one entity as committed, past the cache. It may be called beside everything else.
func (s *Store) Entity(view int, text string) (e *batch.Entity, found bool, err error) {
	bound := s.bound.Load()
	if view < 0 || view >= len(bound.views) {
		return nil, false, fmt.Errorf("read an entity: there is no view %d", view)
	}
	v := bound.views[view]
	value, found, err := s.get(append(v.lower[:len(v.lower):len(v.lower)], text...))
	if err != nil || !found {
		return nil, false, err
	}
	e = &batch.Entity{View: view, Text: text}
	if err := decodeValue(value, v, e); err != nil {
		return nil, false, fmt.Errorf("view %s, entity %q: %w", v.name, text, err)
	}
	return e, true, nil
}

// FirstTimer returns the earliest timer of a clock as committed, windows.Never for none. Unlike Next it may be called beside everything else, and looks through all that has fired.
func (s *Store) FirstTimer(clock batch.TimerClock) (int64, error) {
	first := int64(windows.Never)
	lower, upper := keys.TimersOf(clock, minTime)
	err := s.each(lower, upper, func(k, _ []byte) error {
		_, at, _, _, err := keys.ParseTimer(k)
		first = at
		if err == nil {
			err = errEnough
		}
		return err
	})
	if errors.Is(err, errEnough) { // the walk may have put its own words around it
		err = nil
	}
	return first, err
}
