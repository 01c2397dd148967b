package state

import (
	"sync/atomic"
	"unsafe"

	"highwater/batch"
)

// entry is one decoded entity, as it is lent.
type entry struct {
	batch.Entity
	indexed [batch.TimerClocks]int64 // the timers that stand in the index (or will, with the change that is open)
	stored  bool                     // whether the directory has it (or will)
	change  uint64                   // the last change that it was lent in
	put     bool                     // given to Put since it was lent

	slot  int // in cache.ring, -1 when not cached
	bytes int64
	used  bool // since the hand last passed
}

// entryBytes is what an entry takes besides its text (once in the entity, shared by the map's key) and its windows: itself, and its places in the map and in the ring.
const entryBytes = int64(unsafe.Sizeof(entry{})) + 48 + 8

// cache holds decoded entities up to a bound on their memory. It evicts by the clock algorithm: a hand goes round; what was used since it last passed gets another round, what was not goes. What is read once, as in a scan over cold entities, thus goes before what is read again.
type cache struct {
	limit atomic.Int64
	bytes int64
	ring  []*entry
	hand  int
	views []map[string]*entry // by view
}

func newCache(limit int64) *cache {
	c := &cache{}
	c.limit.Store(limit)
	return c
}

// clear forgets everything; entities of that many views may be added after.
func (c *cache) clear(views int) {
	clear(c.ring)
	c.bytes, c.ring, c.hand = 0, c.ring[:0], 0
	c.views = make([]map[string]*entry, views)
	for i := range c.views {
		c.views[i] = map[string]*entry{}
	}
}

func (c *cache) get(view int, text string) *entry { return c.views[view][text] }

func (c *cache) add(e *entry) {
	e.slot = len(c.ring)
	c.ring = append(c.ring, e)
	c.views[e.View][e.Text] = e
	c.bytes += e.bytes
}

// resize notes that e's windows take that much now.
func (c *cache) resize(e *entry, windowsBytes int) {
	bytes := entryBytes + int64(len(e.Text)) + int64(windowsBytes)
	if e.slot >= 0 {
		c.bytes += bytes - e.bytes
	}
	e.bytes = bytes
}

func (c *cache) remove(e *entry) {
	if e.slot < 0 {
		return
	}
	last := len(c.ring) - 1
	moved := c.ring[last]
	c.ring[e.slot], moved.slot = moved, e.slot
	c.ring[last] = nil
	c.ring = c.ring[:last]
	e.slot = -1
	delete(c.views[e.View], e.Text)
	c.bytes -= e.bytes
}

// shrink evicts until the bound is kept. What is lent may go too: texts ascend, so nobody asks for it again before it is committed.
func (c *cache) shrink() {
	limit := c.limit.Load()
	for c.bytes > limit && len(c.ring) > 0 {
		if c.hand >= len(c.ring) {
			c.hand = 0
		}
		if e := c.ring[c.hand]; e.used {
			e.used = false
			c.hand++
		} else {
			c.remove(e) // another takes its slot, and is next
		}
	}
}

// forget drops every entity that was lent in a change.
func (c *cache) forget(change uint64) {
	for i := 0; i < len(c.ring); {
		if e := c.ring[i]; e.change == change {
			c.remove(e)
		} else {
			i++
		}
	}
}
