package state

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"highwater/batch"
	"highwater/store/keys"
	"highwater/windows"
)

// change is the changes of one batch. What it reads is the state as committed; what it writes gathers in one Pebble batch.
type change struct {
	s     *Store
	bound *binding
	id    uint64
	batch *pebble.Batch
	err   error // why nothing more can be done
	done  bool

	from cursor   // over the entities of the view loaded last
	last []string // by view: the last text loaded, "" before the first

	lent []*entry // by the last Load
	next int      // in lent: which one Put most likely gets

	timers [batch.TimerClocks][]timerMove
	moved  []string         // the entities' texts, by timerMove.number
	delta  map[string]int64 // entities gained and lost, by view's name
	wrote  []bool           // by view: whether an entity was put

	key, value []byte // scratch
}

// timerMove is one write to the timer index, made at the commit, when all are known and can be sorted: in key order a commit takes a fifth less. It holds no pointer, which makes sorting cheap.
type timerMove struct {
	at     int64
	view   int32
	number int32 // in the order in which they were noted, which within a view is that of the texts
	remove bool
}

var (
	errDone = errors.New("the change is over")
	errOpen = errors.New("another change is open: commit or discard it first")
)

// Begin opens the changes of one batch; one change is open at a time.
func (s *Store) Begin() batch.Change {
	bound := s.bound.Load()
	if s.closed.Load() {
		return &change{err: errClosed, done: true}
	}
	if s.open != nil {
		return &change{err: errOpen, done: true}
	}
	s.changes++
	c := &change{
		s: s, bound: bound, id: s.changes, batch: s.db.NewBatch(),
		last: make([]string, len(bound.views)), wrote: make([]bool, len(bound.views)), delta: map[string]int64{},
	}
	s.open = c
	if err := c.dropViews(); err != nil {
		c.err = err
	}
	return c
}

// Load returns the entities of a view in the order of texts, which must ascend, also from call to call.
func (c *change) Load(viewIndex int, texts []string) ([]*batch.Entity, error) {
	if err := c.usable(viewIndex); err != nil {
		return nil, fmt.Errorf("load entities: %w", err)
	}
	c.settle()
	v, hits := c.bound.views[viewIndex], 0
	c.lent = slices.Grow(c.lent, len(texts))
	entities := make([]*batch.Entity, len(texts))
	for i, text := range texts {
		if text <= c.last[viewIndex] {
			return nil, fmt.Errorf("load entities: view %s: %q after %q: texts must ascend and not be empty", v.name, text, c.last[viewIndex])
		}
		c.last[viewIndex] = text
		e := c.s.cache.get(viewIndex, text)
		if e != nil {
			e.used = true
			hits++
		} else {
			var err error
			if e, err = c.read(v, text); err != nil {
				return nil, fmt.Errorf("load entities: view %s, entity %q: %w", v.name, text, c.s.disk.explain(err))
			}
			c.s.cache.add(e)
		}
		e.change, e.put = c.id, false
		c.lent = append(c.lent, e)
		entities[i] = &e.Entity
	}
	c.s.cache.shrink()
	c.s.stats.loaded(c.s.cache, hits, len(texts)-hits)
	return entities, nil
}

// usable reports why c cannot be asked about that view, if so.
func (c *change) usable(view int) error {
	if c.err != nil {
		return c.err
	}
	if c.done {
		return errDone
	}
	if view < 0 || view >= len(c.bound.views) {
		return fmt.Errorf("there is no view %d", view)
	}
	return nil
}

// settle ends the last Load. An entity that was not put has gone ahead of the state, or is not in it: it leaves the cache.
func (c *change) settle() {
	for i, e := range c.lent {
		if !e.put {
			c.s.cache.remove(e)
		}
		c.lent[i] = nil
	}
	c.lent, c.next = c.lent[:0], 0
}

// read reads one entity that is not in memory, or makes a new one.
func (c *change) read(v *view, text string) (*entry, error) {
	if err := c.from.open(c.s.db, v); err != nil {
		return nil, err
	}
	text = strings.Clone(text) // the caller's may be a part of a whole batch's bytes
	e := &entry{Entity: batch.Entity{View: v.index, Text: text}, slot: -1}
	c.key = keys.AppendState(c.key[:0], v.name, text)
	value, found, err := c.from.find(c.key)
	if err != nil {
		return nil, err
	}
	if found {
		err = c.s.decode(value, v, &e.Entity)
	} else {
		e.Timers = noTimers
		e.Windows = v.machine.New()
	}
	if err != nil {
		return nil, err
	}
	e.stored, e.indexed = found, e.Timers
	c.s.cache.resize(e, v.machine.MemoryBytes(e.Windows))
	return e, nil
}

// noTimers are the timers of a new entity.
var noTimers = [batch.TimerClocks]int64{windows.Never, windows.Never, windows.Never}

// Put records an entity's new state, and its timers where they moved.
func (c *change) Put(e *batch.Entity) error {
	ent, err := c.entryOf(e)
	if err != nil {
		return fmt.Errorf("put entity: %w", err)
	}
	v := c.bound.views[e.View]
	if err := c.writeShape(v); err != nil {
		return fmt.Errorf("put entity: view %s: write shape: %w", v.name, err)
	}
	c.key = keys.AppendState(c.key[:0], v.name, e.Text)
	c.value = appendValue(c.value[:0], v, e)
	if err := c.batch.Set(c.key, c.value, nil); err != nil {
		return fmt.Errorf("put entity: view %s, entity %q: %w", v.name, e.Text, err)
	}
	c.moveTimers(ent, e.Timers)
	if !ent.stored {
		ent.stored = true
		c.delta[v.name]++
	}
	ent.put = true
	c.s.cache.resize(ent, v.machine.MemoryBytes(e.Windows))
	c.s.cache.shrink()
	return nil
}

// Delete forgets an entity and its timers.
func (c *change) Delete(e *batch.Entity) error {
	ent, err := c.entryOf(e)
	if err != nil {
		return fmt.Errorf("delete entity: %w", err)
	}
	v := c.bound.views[e.View]
	if ent.stored {
		c.key = keys.AppendState(c.key[:0], v.name, e.Text)
		if err := c.batch.Delete(c.key, nil); err != nil {
			return fmt.Errorf("delete entity: view %s, entity %q: %w", v.name, e.Text, err)
		}
		ent.stored = false
		c.delta[v.name]--
	}
	c.moveTimers(ent, noTimers)
	ent.put = false
	c.s.cache.remove(ent)
	return nil
}

// entryOf finds the entry around a lent entity: as a rule the one after that of the last call.
func (c *change) entryOf(e *batch.Entity) (*entry, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.done {
		return nil, errDone
	}
	for n := range c.lent {
		i := (c.next + n) % len(c.lent)
		if &c.lent[i].Entity == e {
			c.next = i + 1
			return c.lent[i], nil
		}
	}
	return nil, fmt.Errorf("entity %q was not lent by the last Load", e.Text)
}

// moveTimers notes where e's timers are to stand from now on.
func (c *change) moveTimers(e *entry, to [batch.TimerClocks]int64) {
	for clock, at := range to {
		was := e.indexed[clock]
		if at == was {
			continue
		}
		if was != windows.Never {
			c.moveTimer(clock, was, e, true)
		}
		if at != windows.Never {
			c.moveTimer(clock, at, e, false)
		}
	}
	e.indexed = to
}

func (c *change) moveTimer(clock int, at int64, e *entry, remove bool) {
	c.timers[clock] = append(c.timers[clock], timerMove{at: at, view: int32(e.View), number: int32(len(c.moved)), remove: remove})
	c.moved = append(c.moved, e.Text)
}

// writeShape stores a view's current shape with the first entity that it writes.
func (c *change) writeShape(v *view) error {
	if c.wrote[v.index] {
		return nil
	}
	c.wrote[v.index] = true
	if v.current() < len(c.s.shapes[v.name]) {
		return nil
	}
	text, err := json.Marshal(v.shapes[v.current()].storedShape)
	if err != nil {
		return err
	}
	return c.batch.Set(shapeKey(v.name, v.current()), text, nil)
}

// dropViews deletes all that the directory has of views that the project no longer knows.
func (c *change) dropViews() error {
	for _, name := range c.bound.dropped {
		lower, upper := keys.StateOf(name)
		from, to := shapeKey(name, 0), keys.Meta(metaShapes+name+"\x01")
		if err := errors.Join(c.batch.DeleteRange(lower, upper, nil), c.batch.DeleteRange(from, to, nil)); err != nil {
			return fmt.Errorf("drop view %s: %w", name, err)
		}
	}
	if len(c.bound.dropped) == 0 {
		return nil
	}
	lower, upper := keys.TimerSpace()
	return c.s.each(lower, upper, func(k, _ []byte) error {
		_, _, name, _, err := keys.ParseTimer(k)
		if err == nil && c.bound.byName[string(name)] == nil {
			err = c.batch.Delete(k, nil)
		}
		return err
	})
}

// Commit makes everything durable in one synced write, together with the position (I5). A [*batch.FullError] says that the disk has no room to spare: nothing has happened, and Commit may be called again.
// After any other error the change is over, and the state is as it was.
func (c *change) Commit(ctx context.Context, p batch.Position) error {
	err := c.err
	if err == nil && c.done {
		err = errDone
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := c.s.disk.room(int64(c.batch.Len())); err != nil {
		if _, full := errors.AsType[*batch.FullError](err); !full {
			c.Discard()
		}
		return fmt.Errorf("commit %v: %w", p.Version, err)
	}
	if err := c.commit(ctx, clonePosition(p)); err != nil {
		c.Discard()
		return fmt.Errorf("commit %v: %w", p.Version, err)
	}
	return nil
}

func (c *change) commit(ctx context.Context, p batch.Position) error {
	s := c.s
	c.settle()
	value, err := encodePosition(p)
	if err != nil {
		return err
	}
	floor, err := c.writeTimers()
	if err != nil {
		return err
	}
	counts, err := s.writeCounts(c.batch, c.delta, c.bound.dropped)
	if err != nil {
		return err
	}
	oldest, err := s.trimPlans(ctx, c.batch, p)
	if err != nil {
		return err
	}
	if err := errors.Join(c.batch.Set(keys.Position(), value, nil), ctx.Err()); err != nil {
		return err
	}
	if err := s.apply(ctx, c.batch); err != nil {
		return err
	}
	s.position.Store(&p)
	s.counts.Store(&counts)
	s.floor, s.oldest = floor, oldest
	c.applyShapes()
	c.end()
	return nil
}

// writeTimers puts the moves of the timer index into the batch, in key order, and returns the floors after it.
func (c *change) writeTimers() (floor [batch.TimerClocks]int64, err error) {
	floor = c.s.floor
	for clock, moves := range c.timers {
		slices.SortFunc(moves, func(a, b timerMove) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.view, b.view), cmp.Compare(a.number, b.number))
		})
		for _, m := range moves {
			c.key = keys.AppendTimer(c.key[:0], batch.TimerClock(clock), m.at, c.bound.views[m.view].name, c.moved[m.number])
			if m.remove {
				err = c.batch.Delete(c.key, nil)
			} else {
				floor[clock] = min(floor[clock], m.at)
				err = c.batch.Set(c.key, nil, nil)
			}
			if err != nil {
				return floor, fmt.Errorf("write timers: %w", err)
			}
		}
	}
	return floor, nil
}

// applyShapes brings what the store knows of the stored shapes in step with the commit.
func (c *change) applyShapes() {
	for i, v := range c.bound.views {
		if n := len(c.s.shapes[v.name]); c.wrote[i] && n == v.current() {
			c.s.shapes[v.name] = append(c.s.shapes[v.name], v.shapes[n].storedShape)
		}
	}
	if len(c.bound.dropped) == 0 {
		return
	}
	for _, name := range c.bound.dropped {
		delete(c.s.shapes, name)
	}
	clean := *c.bound
	clean.dropped = nil
	c.s.bound.Store(&clean)
}

// Discard forgets the change, and every entity that was lent in it, so that the next one reads what is committed. It does nothing after Commit.
func (c *change) Discard() {
	if c.done {
		return
	}
	c.settle()
	c.s.cache.forget(c.id)
	c.end()
}

// end releases what the change holds. An iterator's errors were met when it read; closing has none to add that matters.
func (c *change) end() {
	c.done = true
	c.s.open = nil
	c.s.stats.loaded(c.s.cache, 0, 0)
	_ = c.from.close()
	c.s.release(c.batch)
}
