package online

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"

	"github.com/redis/go-redis/v9"
	"github.com/tinylib/msgp/msgp"
)

const (
	sweepPage   = 1_000 // keys that one SCAN looks at
	sweepPasses = 5     // over all keys, where slots or primaries move meanwhile
	headLen     = 80    // bytes of a value that hold its header and, of the payload, everything before the features
)

// Sweep turns every orphan of this task into a tombstone: a vector whose generation is lower than before's, which readers take for absent already. The tombstone's version is the last one below before's generation, so
// it holds off whatever is still under way from older generations, readers go on taking it for absent, and anything that the task publishes in its generation replaces it: Sweep may run beside the task, and beside a republish.
//
// clock is the clock reading of the owner's newest plan and frontier the task's frontier, both in µs. An orphan's tombstone keeps its schema and its newest event's time. Tombstones of lower generations are left to expire.
// pace, where not nil, hears after each page of keys how many there were; it is called by one goroutine at a time, may wait, to throttle, and its error ends the sweep.
//
// It returns how many orphans were swept, also beside an error. Called again after an error it begins anew, and finds less to do. Where keys move between primaries meanwhile it looks again, up to five times;
// where that was not enough it says so in the log, leaves the task key without the note that all is swept, and the next sweep takes what is left.
func (s *Store) Sweep(ctx context.Context, before features.Version, clock, frontier int64, pace func(keys int) error) (swept int64, err error) {
	if before.Generation == 0 {
		return 0, nil // there is no lower one
	}
	act := fmt.Sprintf("sweep vectors of generations before %d", before.Generation)
	last := features.Version{Generation: before.Generation - 1, Sequence: maxSequence}
	w := &sweeper{store: s, last: last, clock: clock, frontier: frontier, pace: pace, views: map[shapeKey]*features.View{}}
	if w.client, err = s.link.connect(ctx); err != nil {
		return 0, s.link.fail(act, err)
	}
	for pass := 1; ; pass++ {
		settled, err := w.pass(ctx)
		if err != nil {
			return w.swept, s.link.fail(act, err)
		}
		if !settled && pass < sweepPasses {
			continue
		}
		w.report(ctx, settled)
		if !settled {
			return w.swept, nil
		}
		return w.swept, s.recordSweep(ctx, before)
	}
}

// recordSweep says in the task key that nothing is left of generations before that version's.
func (s *Store) recordSweep(ctx context.Context, before features.Version) error {
	s.mu.Lock()
	log := s.log
	s.mu.Unlock()
	if log == "" { // nobody has claimed the task, so there is no record to say it in
		return nil
	}
	_, _, err := s.move(ctx, "record a sweep in", taskMove{op: "swept", claim: before, log: log, owner: s.owner()})
	return err
}

// sweeper is one Sweep under way.
type sweeper struct {
	store    *Store
	client   redis.UniversalClient
	last     features.Version // the orphans' tombstones': above all of theirs
	clock    int64
	frontier int64
	pace     func(keys int) error

	mu      sync.Mutex // guards what follows, and calls of pace
	views   map[shapeKey]*features.View
	swept   int64
	foreign int64  // keys that look like vectors' and hold something else
	example string // one of them
}

// pass looks at every key of every primary once. settled is false where a key may have moved past it.
func (w *sweeper) pass(ctx context.Context) (settled bool, err error) {
	before, err := w.places(ctx)
	if err != nil {
		return false, err
	}
	w.mu.Lock()
	w.foreign = 0
	w.mu.Unlock()
	if err := w.store.link.eachPrimary(ctx, w.scan); err != nil {
		return false, err
	}
	after, err := w.places(ctx)
	return slices.Equal(before, after) && !slices.ContainsFunc(after, moving), err
}

// places says which server is the primary of what: its run's id and, in a cluster, its slots. Equal ones before and after a pass mean that no key has moved between the servers that it looked at.
func (w *sweeper) places(ctx context.Context) ([]string, error) {
	var mu sync.Mutex // guards places
	var places []string
	err := w.store.link.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "server").Result()
		if err != nil && !cannotTell(err) {
			return err
		}
		place, _ := infoField(info, "run_id")
		if isCluster(w.client) {
			nodes, err := c.ClusterNodes(ctx).Result()
			if err != nil {
				return err
			}
			place += " " + ownSlots(nodes)
		}
		mu.Lock()
		defer mu.Unlock()
		places = append(places, place)
		return nil
	})
	slices.Sort(places)
	return places, err
}

// ownSlots returns the slots in a node's own line of CLUSTER NODES, those on the move as [slot->-node] or [slot-<-node].
func ownSlots(nodes string) string {
	const before = 8 // fields: id, address, flags, primary, ping, pong, epoch, link
	for line := range strings.Lines(nodes) {
		if fields := strings.Fields(line); len(fields) > before && strings.Contains(fields[2], "myself") {
			return strings.Join(fields[before:], " ")
		}
	}
	return ""
}

func moving(place string) bool { return strings.Contains(place, "[") }

// scan looks at every key of one primary.
func (w *sweeper) scan(ctx context.Context, c *redis.Client) error {
	for cursor := uint64(0); ; {
		page, next, err := c.Scan(ctx, cursor, keys.VectorPattern(w.store.o.Project), sweepPage).Result()
		if err != nil {
			return err
		}
		if err := w.sweep(ctx, page); err != nil {
			return err
		}
		if err := w.rest(len(page)); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// sweep turns the orphans among these keys into tombstones.
func (w *sweeper) sweep(ctx context.Context, page []string) error {
	slices.Sort(page)
	page = slices.DeleteFunc(slices.Compact(page), func(key string) bool {
		project, _, _, ok := keys.ParseVector(key)
		return !ok || project != w.store.o.Project
	})
	heads, err := w.heads(ctx, page)
	if err != nil {
		return err
	}
	var orphans []features.Vector
	for i, key := range page {
		if v, ok := w.orphan(key, heads[i]); ok {
			orphans = append(orphans, v)
		}
	}
	if len(orphans) == 0 {
		return nil
	}
	p := w.store.publication(w.client, &batch.Output{Version: w.last, Clock: w.clock, Vectors: orphans})
	if err := p.run(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	w.swept += int64(p.outcome.Written) // the others were written again since they were read: they are no orphans
	w.mu.Unlock()
	if p.outcome.Refused > 0 {
		return fmt.Errorf("%d tombstones were refused, because the newest plan's clock reading is older than tombstones live; sweep again after the next batch", p.outcome.Refused)
	}
	return nil
}

// heads returns the beginnings of the keys' values: "" where there is none, or none that is a string.
func (w *sweeper) heads(ctx context.Context, page []string) ([]string, error) {
	if len(page) == 0 {
		return nil, nil
	}
	pipe := w.client.Pipeline()
	gets := make([]*redis.StringCmd, len(page))
	for i, key := range page {
		gets[i] = pipe.GetRange(ctx, key, 0, headLen-1)
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, err
	}
	heads := make([]string, len(page))
	for i, get := range gets {
		head, err := get.Result()
		switch {
		case saysPrefix(err, "WRONGTYPE"):
			w.leave(page[i])
		case err != nil:
			return nil, err
		}
		heads[i] = head
	}
	return heads, nil
}

// orphan returns the tombstone for a stored value that is this task's, live, and of a lower generation; ok is false for any other.
func (w *sweeper) orphan(key, head string) (v features.Vector, ok bool) {
	if head == "" {
		return v, false
	}
	h, err := readHead([]byte(head))
	switch {
	case err != nil:
		w.leave(key)
		return v, false
	case h.task != w.store.o.Task || h.tombstone || h.version.Generation > w.last.Generation:
		return v, false
	}
	_, view, entity, _ := keys.ParseVector(key)
	return features.Vector{View: w.view(view, h.schema), Entity: entity, Version: w.last, Frontier: w.frontier, EventTime: h.eventTime, Tombstone: true}, true
}

// view returns a view as far as a tombstone needs one.
func (w *sweeper) view(name, schema string) *features.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := shapeKey{name, schema}
	if w.views[k] == nil {
		w.views[k] = &features.View{Name: name, Schema: features.Schema{ID: schema}}
	}
	return w.views[k]
}

// leave remembers a key that holds something that is no vector. Whoever publishes to it will be told, and so will the log.
func (w *sweeper) leave(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.foreign++
	w.example = key
}

// rest tells of keys that have been looked at, and lets the caller throttle.
func (w *sweeper) rest(keys int) error {
	if w.pace == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pace(keys)
}

// report logs what a sweep has left.
func (w *sweeper) report(ctx context.Context, settled bool) {
	log := w.store.o.Log
	if !settled {
		log.WarnContext(ctx, "keys moved between primaries during the sweep; vectors of older generations may be left, which readers take for absent; the next sweep takes them", slog.String("redis", w.store.link.address()))
	}
	if w.foreign > 0 {
		log.WarnContext(ctx, "keys that look like vectors' hold something else; the sweep has left them as they are", slog.String("redis", w.store.link.address()), slog.Int64("keys", w.foreign), slog.String("one_is", w.example))
	}
}

// head is what the beginning of a stored value tells. Nothing here is checked by the value's hash, which needs all of it.
type head struct {
	version   features.Version
	task      int
	schema    string
	tombstone bool
	eventTime int64
}

// readHead reads the first headLen bytes of a stored value.
func readHead(b []byte) (h head, err error) {
	if len(b) <= payloadStart {
		return h, fmt.Errorf("%d bytes are fewer than a vector has", len(b))
	}
	if h.version, err = parseVersion(b[:taskStart]); err != nil {
		return h, err
	}
	task, err := parseDigits(b[taskStart:hashStart])
	if err != nil {
		return h, err
	}
	h.task = int(task)
	n, rest, err := msgp.ReadArrayHeaderBytes(b[payloadStart:])
	if err != nil || n < fixedFields {
		return h, errors.New("its payload is no vector's")
	}
	if h.schema, rest, err = msgp.ReadStringBytes(rest); err != nil {
		return h, err
	}
	kind, rest, err := msgp.ReadInt64Bytes(rest)
	if err != nil {
		return h, err
	}
	h.tombstone = kind == kindTombstone
	if rest, err = msgp.Skip(rest); err != nil { // the frontier
		return h, err
	}
	h.eventTime, _, err = msgp.ReadInt64Bytes(rest)
	return h, err
}
