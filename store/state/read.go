package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"highwater/batch"
	"highwater/store/keys"
	"highwater/windows"
)

const minTime = math.MinInt64

// Due calls each for every entity with a timer of that clock due at or before until (µs), as committed, in the order of time, view's name and entity. text is each's to keep.
func (s *Store) Due(clock batch.TimerClock, until int64, each func(view int, text string) error) error {
	first := int64(windows.Never)
	err := s.eachTimer(clock, func(at int64, v *view, text []byte) (bool, error) {
		first = min(first, at)
		if at > until {
			return false, nil
		}
		if v == nil {
			return true, nil
		}
		return true, each(v.index, string(text))
	})
	if err == nil {
		s.floor[clock] = first
	}
	return err
}

// Next returns the earliest timer of a clock, windows.Never for none.
func (s *Store) Next(clock batch.TimerClock) (int64, error) {
	next := int64(windows.Never)
	err := s.eachTimer(clock, func(at int64, v *view, _ []byte) (bool, error) {
		if v == nil {
			return true, nil
		}
		next = at
		return false, nil
	})
	if err == nil {
		s.floor[clock] = next
	}
	return next, err
}

// eachTimer calls f for the timers of a clock, in order, until it returns false. v is nil for a view that the project does not know: the next commit drops it.
// It begins at the floor: the timers that fired leave tombstones, more with each batch, and without the floor each call would step over all of them again.
func (s *Store) eachTimer(clock batch.TimerClock, f func(at int64, v *view, text []byte) (more bool, err error)) error {
	if clock >= batch.TimerClocks {
		return fmt.Errorf("read timers: there is no clock %d", clock)
	}
	return s.eachTimerFrom(clock, s.floor[clock], f)
}

func (s *Store) eachTimerFrom(clock batch.TimerClock, from int64, f func(at int64, v *view, text []byte) (more bool, err error)) error {
	if s.closed.Load() {
		return fmt.Errorf("read timers: %w", errClosed)
	}
	bound := s.bound.Load()
	lower, upper := keys.TimersOf(clock, from)
	err := s.each(lower, upper, func(k, _ []byte) error {
		_, at, view, text, err := keys.ParseTimer(k)
		if err != nil {
			return err
		}
		more, err := f(at, bound.byName[string(view)], text)
		if err == nil && !more {
			err = errEnough
		}
		return err
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("read timers: %w", s.disk.explain(err))
	}
	return nil
}

// Scan calls each for every entity of a view whose text is beyond after, in the order of their texts, as committed when it began. The entity is lent until each returns. It may run beside everything else, and leaves the cache alone.
func (s *Store) Scan(ctx context.Context, viewIndex int, after string, each func(*batch.Entity) error) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("scan entities: %w", err)
	}
	bound := s.bound.Load()
	if viewIndex < 0 || viewIndex >= len(bound.views) {
		return fmt.Errorf("scan entities: there is no view %d", viewIndex)
	}
	v := bound.views[viewIndex]
	var fromEach error
	lower := v.lower
	if after != "" {
		lower = append(keys.AppendState(nil, v.name, after), 0)
	}
	err := s.each(lower, v.upper, func(k, value []byte) error {
		e := &batch.Entity{View: v.index, Text: string(k[len(v.lower):])}
		if err := s.decode(value, v, e); err != nil {
			return fmt.Errorf("entity %q: %w", e.Text, err)
		}
		if fromEach = each(e); fromEach != nil {
			return fromEach
		}
		return ctx.Err()
	})
	if fromEach != nil {
		return fromEach
	}
	if err != nil {
		return fmt.Errorf("scan entities: view %s: %w", v.name, s.disk.explain(err))
	}
	return nil
}

// Dump calls each for everything that a task's batches have left, as committed, in key order: the position, the entities, the timers; not the plans, nor what describes the directory. Two directories that executed the same plans give the same.
// Both arguments are lent until each returns. It may run beside everything else.
func (s *Store) Dump(each func(key, value []byte) error) error {
	if s.closed.Load() {
		return fmt.Errorf("dump state: %w", errClosed)
	}
	snapshot := s.db.NewSnapshot()
	defer snapshot.Close()
	position := keys.Position()
	stateLower, stateUpper := keys.StateSpace()
	timerLower, timerUpper := keys.TimerSpace()
	for _, bounds := range [][2][]byte{{position, append(position, 0)}, {stateLower, stateUpper}, {timerLower, timerUpper}} {
		if err := eachIn(snapshot, bounds[0], bounds[1], each); err != nil {
			return fmt.Errorf("dump state: %w", s.disk.explain(err))
		}
	}
	return nil
}

// cursor finds keys that ascend, through one iterator.
type cursor struct {
	view  *view
	it    *pebble.Iterator
	begun bool
	at    bool // the iterator stands on an entity; once begun and not, there are none beyond
}

// open sets the cursor before the entities of v, unless it is among them already.
func (c *cursor) open(db *pebble.DB, v *view) error {
	if c.view == v {
		return nil
	}
	if err := c.close(); err != nil {
		return err
	}
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: v.lower, UpperBound: v.upper})
	if err != nil {
		return err
	}
	*c = cursor{view: v, it: it}
	return nil
}

// find returns the value under k, which must lie beyond the key last asked for; the value is lent until the next call. It looks whether the next entity is the one before it seeks:
// where all are asked for a step costs a third of a seek, and where few are, more steps than one cost more than they save.
func (c *cursor) find(k []byte) (value []byte, found bool, err error) {
	if c.at && bytes.Compare(c.it.Key(), k) < 0 {
		c.at = c.it.Next()
	}
	if !c.begun || c.at && bytes.Compare(c.it.Key(), k) < 0 {
		c.begun, c.at = true, c.it.SeekGE(k)
	}
	if !c.at {
		return nil, false, c.it.Error()
	}
	if !bytes.Equal(c.it.Key(), k) {
		return nil, false, nil
	}
	value, err = c.it.ValueAndErr()
	return value, err == nil, err
}

func (c *cursor) close() error {
	if c.it == nil {
		return nil
	}
	it := c.it
	*c = cursor{}
	return it.Close()
}
