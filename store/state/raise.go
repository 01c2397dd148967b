package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
)

// Raise begins a new generation; see [batch.State]. A reset that was asked for counts as done with it.
// It takes the same time whatever the state holds: what was published before is read as published at p.Version from now on (see raised), and is written so when its entity next changes.
func (s *Store) Raise(ctx context.Context, p batch.Position, empty bool) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("raise the generation to %d: %w", p.Version.Generation, err)
	}
	if s.open != nil {
		return fmt.Errorf("raise the generation to %d: %w", p.Version.Generation, errOpen)
	}
	if at := s.position.Load(); at != nil && p.Version.Generation <= at.Version.Generation {
		return fmt.Errorf("raise the generation to %d: the state is at %v already", p.Version.Generation, at.Version)
	}
	if err := s.raise(clonePosition(p), empty); err != nil {
		return fmt.Errorf("raise the generation to %d: %w", p.Version.Generation, err)
	}
	return nil
}

func (s *Store) raise(p batch.Position, empty bool) error {
	if err := s.writeRaised(p, empty); err != nil {
		return err
	}
	return s.bind(s.bound.Load().project)
}

// writeRaised makes the new generation durable, and lets it hold.
func (s *Store) writeRaised(p batch.Position, empty bool) error {
	id, err := newLogID()
	if err != nil {
		return err
	}
	value, err := encodePosition(p)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer s.release(b)
	err = errors.Join(
		b.Set(keys.Position(), value, nil),
		b.Set(keys.Meta(metaLog), []byte(id), nil),
		b.Delete(keys.Meta(metaReset), nil))
	if empty {
		err = errors.Join(err, forgetAll(b))
	}
	if err := errors.Join(err, s.applyRaise(b, &p, id)); err != nil {
		return err
	}
	s.position.Store(&p)
	s.oldest, s.reset = nil, nil
	if empty {
		s.shapes = map[string][]storedShape{}
		s.counts.Store(&map[string]int64{})
	}
	return nil
}

// applyRaise makes b durable, with the definitions that p names, and the plan log's new id.
func (s *Store) applyRaise(b *pebble.Batch, p *batch.Position, id string) error {
	s.plans.Lock()
	defer s.plans.Unlock()
	for _, hash := range []string{p.Definitions, p.Opening.Definitions} {
		if hash == "" {
			continue
		}
		if err := s.writeDefinitions(b, hash); err != nil {
			return err
		}
	}
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		return err
	}
	s.plans.id = id
	return nil
}

// forgetAll deletes every entity, timer and shape.
func forgetAll(b *pebble.Batch) error {
	stateLower, stateUpper := keys.StateSpace()
	timerLower, timerUpper := keys.TimerSpace()
	return errors.Join(
		b.DeleteRange(stateLower, stateUpper, nil),
		b.DeleteRange(timerLower, timerUpper, nil),
		b.DeleteRange(keys.Meta(metaShapes), keys.Meta(successor(metaShapes)), nil),
		b.Delete(keys.Meta(metaEntities), nil))
}

// raised brings what was published of an entity in a lower generation to the one that the state is in: with its opening everything counts as published again, at the opening's frontier and watermark.
func (s *Store) raised(v *view, p *batch.Published) {
	at := s.position.Load()
	if at == nil || p.Version == (features.Version{}) || p.Version.Generation >= at.Version.Generation {
		return
	}
	p.Version = features.Version{Generation: at.Version.Generation}
	p.Frontier, p.Watermark = at.Opening.Frontier, at.Opening.Watermark
	p.Schema = v.shapes[v.current()].Schema
	if p.Tombstone {
		p.Until = at.Opening.Until
	}
}

// decode reads an entity's value as of the generation that the state is in.
func (s *Store) decode(value []byte, v *view, e *batch.Entity) error {
	if err := decodeValue(value, v, e); err != nil {
		return err
	}
	s.raised(v, &e.Published)
	return nil
}

// storedReset is a reset that was asked for.
type storedReset struct {
	From batch.ResetFrom `json:"from"`
	At   int64           `json:"at,omitempty"` // µs
}

// AskForReset makes it durable that the next task which is started on this directory begins a new generation from there: it is told by PendingReset. It may be called beside everything else.
func (s *Store) AskForReset(ctx context.Context, r batch.Reset) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("ask for a reset: %w", err)
	}
	text, err := json.Marshal(storedReset{From: r.From, At: r.At})
	if err != nil {
		return fmt.Errorf("ask for a reset: %w", err)
	}
	if err := s.db.Set(keys.Meta(metaReset), text, pebble.Sync); err != nil {
		return fmt.Errorf("ask for a reset: %w", err)
	}
	return nil
}

// PendingReset returns the reset that was asked for when the directory was opened, nil for none. Raise does away with it.
func (s *Store) PendingReset() *batch.Reset { return s.reset }

func (s *Store) loadReset() error {
	text, found, err := s.get(keys.Meta(metaReset))
	if err != nil || !found {
		return err
	}
	var r storedReset
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("read the reset that was asked for: %w", err)
	}
	s.reset = &batch.Reset{From: r.From, At: r.At}
	return nil
}

// emptying reports whether the first thing that will be done is to forget everything, so that it need not be compatible with what is bound.
func (s *Store) emptying() bool { return s.reset != nil && s.reset.From != batch.FromHere }

// Entities returns how many entities of a view the state holds, as committed.
func (s *Store) Entities(view int) int64 {
	bound := s.bound.Load()
	if view < 0 || view >= len(bound.views) {
		return 0
	}
	return (*s.counts.Load())[bound.views[view].name]
}
