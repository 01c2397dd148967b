package state

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
)

// planLog is the plan log kept in a task's own directory.
type planLog struct{ s *Store }

// Plans returns the plan log. It may be used beside everything else of s.
func (s *Store) Plans() batch.Plans { return planLog{s} }

// ID names the log.
func (l planLog) ID() string {
	l.s.plans.Lock()
	defer l.s.plans.Unlock()
	return l.s.plans.id
}

// Append makes p durable, with its definitions where no plan named them before, and returns the plan that won its version (I2). It refuses with a [*batch.FullError], having written nothing, while the disk has no room to spare.
func (l planLog) Append(ctx context.Context, p *batch.Plan) (*batch.Plan, error) {
	s := l.s
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("append plan %v: %w", p.Version, err)
	}
	s.plans.Lock()
	defer s.plans.Unlock()
	won, err := s.plan(p.Version)
	if won != nil || err != nil {
		return won, err
	}
	if at := s.position.Load(); at != nil && !at.Version.Less(p.Version) {
		return nil, fmt.Errorf("append plan %v: the state is at %v already", p.Version, at.Version)
	}
	b := s.db.NewBatch()
	defer s.release(b)
	if err := s.writeDefinitions(b, p.Definitions); err != nil {
		return nil, fmt.Errorf("append plan %v: %w", p.Version, err)
	}
	if err := s.disk.room(int64(b.Len())); err != nil {
		return nil, fmt.Errorf("append plan %v: %w", p.Version, err)
	}
	err = b.Set(keys.AppendPlan(nil, p.Version), appendPlan(nil, p), nil)
	if err == nil {
		err = s.apply(ctx, b)
	}
	if err != nil {
		return nil, fmt.Errorf("append plan %v: %w", p.Version, err)
	}
	return p, nil
}

// After returns the plans of versions beyond v, in order.
func (l planLog) After(ctx context.Context, v features.Version) ([]*batch.Plan, error) {
	return l.s.PlansBetween(ctx, v, features.Version{Generation: math.MaxUint32, Sequence: math.MaxUint64})
}

// PlansBetween returns the plans kept of versions beyond after, up to and with last, in order. It may run beside everything else.
func (s *Store) PlansBetween(ctx context.Context, after, last features.Version) ([]*batch.Plan, error) {
	var plans []*batch.Plan
	err := s.eachPlan(ctx, after, func(p *batch.Plan) (bool, error) {
		if last.Less(p.Version) {
			return false, nil
		}
		plans = append(plans, p)
		return true, nil
	})
	return plans, err
}

// Definitions returns the text of the definitions of that hash, if a plan has ever named them or a project of that hash is bound.
func (s *Store) Definitions(hash string) (text string, found bool, err error) {
	if err := s.usable(context.Background()); err != nil {
		return "", false, err
	}
	value, found, err := s.get(keys.Meta(metaDefinitions + hash))
	if err != nil {
		return "", false, fmt.Errorf("read definitions %s: %w", hash, err)
	}
	if found {
		return string(value), true, nil
	}
	s.plans.Lock()
	defer s.plans.Unlock()
	text, found = s.plans.texts[hash]
	return text, found, nil
}

// CopyPlans copies the plan log, its id and its definitions into dst, which must hold neither plans nor a position: so that the recorded plans can be executed in an empty directory.
func (s *Store) CopyPlans(dst *Store) error {
	if _, found := dst.Position(); found {
		return errors.New("copy plans: the other directory has a position already")
	}
	if first, err := dst.firstPlan(); err != nil {
		return fmt.Errorf("copy plans: %w", err)
	} else if first != nil {
		return fmt.Errorf("copy plans: the other directory has plans already, from %v on", first.Version)
	}
	dst.plans.Lock()
	defer dst.plans.Unlock()
	id := s.Plans().ID()
	b := dst.db.NewBatch()
	defer b.Close()
	set := func(k, v []byte) error { return b.Set(k, v, nil) }
	lower, upper := keys.PlanSpace()
	err := errors.Join(
		s.each(keys.Meta(metaDefinitions), keys.Meta(successor(metaDefinitions)), set),
		s.each(lower, upper, set),
		set(keys.Meta(metaLog), []byte(id)))
	if err != nil {
		return fmt.Errorf("copy plans: %w", err)
	}
	if err := dst.db.Apply(b, pebble.Sync); err != nil {
		return fmt.Errorf("copy plans: %w", err)
	}
	dst.plans.id = id
	return nil
}

// writeDefinitions puts the text of definitions that no plan has named before into b. The caller holds s.plans.
func (s *Store) writeDefinitions(b *pebble.Batch, hash string) error {
	k := keys.Meta(metaDefinitions + hash)
	if _, stored, err := s.get(k); stored || err != nil {
		return err
	}
	text, known := s.plans.texts[hash]
	if !known {
		return fmt.Errorf("its definitions %s are neither stored nor bound", hash)
	}
	return b.Set(k, []byte(text), nil)
}

// plan returns the plan of that version, nil where there is none.
func (s *Store) plan(v features.Version) (*batch.Plan, error) {
	value, found, err := s.get(keys.AppendPlan(nil, v))
	if err != nil {
		return nil, fmt.Errorf("read plan %v: %w", v, err)
	}
	if !found {
		return nil, nil
	}
	return decodePlan(v, value)
}

// eachPlan calls f for the plans beyond after, in order, until it returns false.
func (s *Store) eachPlan(ctx context.Context, after features.Version, f func(*batch.Plan) (more bool, err error)) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("read plans: %w", err)
	}
	_, upper := keys.PlanSpace()
	err := s.each(append(keys.AppendPlan(nil, after), 0), upper, func(k, value []byte) error {
		v, err := keys.ParsePlan(k)
		if err != nil {
			return err
		}
		p, err := decodePlan(v, value)
		if err != nil {
			return err
		}
		more, err := f(p)
		if err == nil && !more {
			err = errEnough
		}
		return err
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("read plans: %w", err)
	}
	return nil
}

// errEnough ends a walk early.
var errEnough = errors.New("enough")

func (s *Store) firstPlan() (first *batch.Plan, err error) {
	err = s.eachPlan(context.Background(), features.Version{}, func(p *batch.Plan) (bool, error) {
		first = p
		return false, nil
	})
	return first, err
}

func (s *Store) lastPlan() (last *batch.Plan, err error) {
	lower, upper := keys.PlanSpace()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("read plans: %w", err)
	}
	if it.Last() {
		var v features.Version
		if v, err = keys.ParsePlan(it.Key()); err == nil {
			last, err = decodePlan(v, it.Value())
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return nil, fmt.Errorf("read plans: %w", err)
	}
	return last, nil
}

// trimPlans puts into b the deletion of plans that are committed with p and older than the retention, and returns the first one that stays. It looks at the log once the oldest plan has outlived the retention by a sixteenth of it,
// so that it costs nothing otherwise.
func (s *Store) trimPlans(ctx context.Context, b *pebble.Batch, p batch.Position) (oldest *batch.Plan, err error) {
	if s.oldest == nil {
		if s.oldest, err = s.firstPlan(); s.oldest == nil || err != nil {
			return nil, err
		}
	}
	if p.Clock-s.oldest.Clock <= s.keep+s.keep/16 {
		return s.oldest, nil
	}
	stays := s.oldest
	err = s.eachPlan(ctx, features.Version{}, func(plan *batch.Plan) (bool, error) {
		stays = plan
		return p.Clock-plan.Clock > s.keep && plan.Version.Less(p.Version), nil
	})
	if err != nil || stays.Version == s.oldest.Version {
		return s.oldest, err
	}
	return stays, b.DeleteRange(keys.AppendPlan(nil, s.oldest.Version), keys.AppendPlan(nil, stays.Version), nil)
}
