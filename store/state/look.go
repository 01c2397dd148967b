package state

import (
	"context"
	"fmt"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// What people look at while a task runs. All of it may be called beside everything else but Close, and leaves the cache alone.

// View returns a view of the project in force, and its index; nil where there is none of that name.
func (s *Store) View(name string) (*features.View, int) {
	bound := s.bound.Load()
	v := bound.byName[name]
	if v == nil {
		return nil, -1
	}
	return bound.project.Views[v.index], v.index
}

// Project returns the project in force. It must not be changed.
func (s *Store) Project() *features.Project { return s.bound.Load().project }

// Entity returns one entity as committed. The caller owns what it gets.
func (s *Store) Entity(view int, text string) (e *batch.Entity, found bool, err error) {
	if err := s.usable(context.Background()); err != nil {
		return nil, false, fmt.Errorf("read entity: %w", err)
	}
	bound := s.bound.Load()
	if view < 0 || view >= len(bound.views) {
		return nil, false, fmt.Errorf("read entity: there is no view %d", view)
	}
	v := bound.views[view]
	value, found, err := s.get(append(v.lower[:len(v.lower):len(v.lower)], text...))
	if err != nil || !found {
		return nil, false, err
	}
	e = &batch.Entity{View: view, Text: text}
	if err := s.decode(value, v, e); err != nil {
		return nil, false, fmt.Errorf("read entity: view %s, entity %q: %w", v.name, text, err)
	}
	return e, true, nil
}

// FirstTimer returns the earliest timer of a clock as committed (µs), windows.Never for none. It is Next for people: it does not touch what Next remembers, so it looks through all that has fired.
func (s *Store) FirstTimer(clock batch.TimerClock) (int64, error) {
	first := int64(windows.Never)
	err := s.eachTimerFrom(clock, minTime, func(at int64, v *view, _ []byte) (bool, error) {
		if v != nil {
			first = at
		}
		return v == nil, nil
	})
	return first, err
}
