package kafka

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Acts of troubles that belong to a topic, whose name follows.
const (
	actRead = "read topic "
	actFind = "find topic "
)

// troubles is what keeps a source from going on, by act: what time, or somebody, may mend. Its methods may be called on nil, and then do nothing. Safe for concurrent use.
type troubles struct {
	mu   sync.Mutex // guards what follows
	acts map[string]error
}

// met remembers what an act met.
func (t *troubles) met(act string, err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.acts == nil {
		t.acts = map[string]error{}
	}
	t.acts[act] = err
}

// over forgets it.
func (t *troubles) over(act string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.acts, act)
}

// all returns everything that was met and is not over, nil for nothing.
func (t *troubles) all() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, act := range slices.Sorted(maps.Keys(t.acts)) {
		errs = append(errs, fmt.Errorf("%s: %w", act, t.acts[act]))
	}
	return joined(errs)
}
