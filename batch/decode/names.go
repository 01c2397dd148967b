package decode

import (
	"math/bits"
	"sync"
)

// hashName mixes a name's length with its first and last eight bytes. Names that differ only between have one hash: whoever uses it compares the names too.
func hashName(name string) uint64 {
	var first, last uint64
	switch n := len(name); {
	case n >= 8:
		first, last = load64(name, 0), load64(name, n-8)
	case n >= 4:
		first, last = load32(name, 0), load32(name, n-4)
	case n > 0:
		first = uint64(name[0]) | uint64(name[n/2])<<8 | uint64(name[n-1])<<16
	}
	// Two odd constants, and a full product folded on itself: every bit of the name reaches every bit of the hash.
	hi, lo := bits.Mul64(first^0x9E3779B97F4A7C15, last^uint64(len(name))^0xD1B54A32D192ED03)
	return hi ^ lo
}

func load32(s string, i int) uint64 {
	b := s[i : i+4]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24
}

// nameTable finds the target of a name: a hash table with open addressing, at most half full. It is immutable.
type nameTable struct {
	slots []nameSlot // a power of two
}

type nameSlot struct {
	hash   uint64
	target *target // nil in a free slot
}

func newNameTable(list []target) nameTable {
	size := 8
	for size < 4*len(list) {
		size *= 2
	}
	t := nameTable{slots: make([]nameSlot, size)}
	for i := range list {
		hash := hashName(list[i].name)
		at := hash % uint64(size)
		for t.slots[at].target != nil {
			at = (at + 1) % uint64(size)
		}
		t.slots[at] = nameSlot{hash: hash, target: &list[i]}
	}
	return t
}

// find returns what a name is for, or nil where nobody asks for it.
func (t *nameTable) find(name string, hash uint64) *target {
	mask := uint64(len(t.slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		slot := &t.slots[at]
		if slot.target == nil {
			return nil
		}
		if slot.hash == hash && slot.target.name == name {
			return slot.target
		}
	}
}

// nameSet holds the names seen in one object, so as to find the second of a kind exactly. Up to few names are kept in place, behind a filter of one bit a
// hash: a name whose bit is clear is new, and only one whose bit is set is compared with those before it. Beyond few a map takes over, whose hashing an
// adversary cannot foresee.
type nameSet struct {
	filter uint64
	count  int
	few    [32]string
	many   map[string]struct{}
}

// add notes a name and reports whether it is new. Names share the record's bytes: release forgets them.
func (s *nameSet) add(name string, hash uint64, pool *sync.Pool) bool {
	bit := uint64(1) << (hash >> 58)
	if s.filter&bit == 0 && s.count < len(s.few) {
		s.filter |= bit
		s.few[s.count] = name
		s.count++
		return true
	}
	return s.addSlowly(name, pool)
}

func (s *nameSet) addSlowly(name string, pool *sync.Pool) bool {
	if s.many == nil {
		for i := range s.count {
			if s.few[i] == name {
				return false
			}
		}
		if s.count < len(s.few) {
			s.few[s.count] = name
			s.count++
			return true
		}
		s.spill(pool)
	}
	before := len(s.many)
	s.many[name] = struct{}{}
	return len(s.many) > before
}

// spill moves the names to a map.
func (s *nameSet) spill(pool *sync.Pool) {
	if s.many, _ = pool.Get().(map[string]struct{}); s.many == nil {
		s.many = make(map[string]struct{}, 4*len(s.few))
	}
	for _, name := range s.few {
		s.many[name] = struct{}{}
	}
}

// release gives the map back, empty, unless one odd record has blown it up.
func (s *nameSet) release(pool *sync.Pool) {
	const most = 4096
	if s.many != nil && len(s.many) <= most {
		clear(s.many)
		pool.Put(s.many)
	}
}
