package online

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"highwater/features"
	"highwater/store/keys"

	"github.com/redis/go-redis/v9"
)

// markAge is how long a task key may be used again in a cluster, where reading it takes a round trip of its own. An old one only understates.
const markAge = time.Second

// fetchKeys is how many keys one MGET asks for.
const fetchKeys = 1_000

// Reader is the reading half: it finds vectors, the task key and heartbeats, always at primaries, and writes nothing. [NewReader] makes it; it is safe for concurrent use; Close it once.
type Reader struct {
	link    *link
	o       Options
	markAge time.Duration

	mu     sync.Mutex // guards what follows
	shapes map[shapeKey]*shape
	mark   features.TaskMark
	markAt time.Time // when mark was asked for; zero before the first
}

type shapeKey struct{ view, id string }

// NewReader returns a reader. It does not reach for Redis yet. An error is a contradiction in the options.
func NewReader(o Options) (*Reader, error) {
	l, err := newLink(o, readerTimeout)
	if err != nil {
		return nil, err
	}
	return &Reader{link: l, o: l.o, markAge: markAge, shapes: map[shapeKey]*shape{}}, nil
}

// Close ends all connections; calls under way fail. Later calls of Close do nothing.
func (r *Reader) Close() error { return r.link.close() }

// Catalogue returns the project's catalogue; found is false where nothing has been written yet.
func (r *Reader) Catalogue(ctx context.Context) (c features.Catalogue, found bool, err error) {
	const act = "read the catalogue"
	client, err := r.link.connect(ctx)
	if err != nil {
		return c, false, r.link.fail(act, err)
	}
	text, err := client.HGet(ctx, keys.Catalogue(r.o.Project), keys.CatalogueField).Bytes()
	if isNil(err) {
		return c, false, nil
	}
	if err != nil {
		return c, false, r.link.fail(act, err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return features.Catalogue{}, false, fmt.Errorf("%s: key %q: %w", act, keys.Catalogue(r.o.Project), err)
	}
	return c, true, nil
}

// Fetch reads the task key and, after it, the vectors under those keys, in one round trip; in a cluster in one for the task key (or none, where it was read within the last second) and one
// to each node. Where a key has no vector, Found is false. A value that cannot be read is an error that names its key.
func (r *Reader) Fetch(ctx context.Context, wanted []features.VectorKey) (features.Fetched, error) {
	act := fmt.Sprintf("fetch %d vectors", len(wanted))
	client, err := r.link.connect(ctx)
	if err != nil {
		return features.Fetched{}, r.link.fail(act, err)
	}
	names := make([]string, len(wanted))
	for i, k := range wanted {
		names[i] = string(keys.AppendVector(nil, r.o.Project, k.View, k.Entity))
	}
	var mark features.TaskMark
	var values []any
	if isCluster(client) {
		mark, values, err = r.readCluster(ctx, client, wanted, names)
	} else {
		mark, values, err = r.readSingle(ctx, client, names)
	}
	if err != nil {
		return features.Fetched{}, r.link.fail(act, err)
	}
	vectors, err := r.decode(ctx, wanted, names, values)
	if err != nil {
		return features.Fetched{}, r.link.fail(act, err)
	}
	return features.Fetched{Mark: mark, Vectors: vectors}, nil
}

// readSingle reads from one server: one pipeline, answered in order.
func (r *Reader) readSingle(ctx context.Context, client redis.UniversalClient, names []string) (features.TaskMark, []any, error) {
	pipe := client.Pipeline()
	key := pipe.HGetAll(ctx, keys.Task(r.o.Project, r.o.Task))
	var parts []*redis.SliceCmd
	for rest := names; len(rest) > 0; {
		n := min(fetchKeys, len(rest))
		parts = append(parts, pipe.MGet(ctx, rest[:n]...))
		rest = rest[n:]
	}
	if err := exec(ctx, pipe); err != nil {
		return features.TaskMark{}, nil, err
	}
	mark, err := parseMark(key, r.o.Task)
	if err != nil {
		return mark, nil, err
	}
	values := make([]any, 0, len(names))
	for _, part := range parts {
		v, err := part.Result()
		if err != nil {
			return mark, nil, err
		}
		values = append(values, v...)
	}
	return mark, values, nil
}

// readCluster reads from a cluster: the task key, and then, by slot, the vectors.
func (r *Reader) readCluster(ctx context.Context, client redis.UniversalClient, wanted []features.VectorKey, names []string) (features.TaskMark, []any, error) {
	mark, err := r.readMark(ctx, client)
	if err != nil {
		return mark, nil, err
	}
	values := make([]any, len(names))
	pipe := client.Pipeline()
	groups := groupBySlot(wanted)
	parts := make([]*redis.SliceCmd, len(groups))
	for i, group := range groups {
		parts[i] = pipe.MGet(ctx, pick(names, group)...)
	}
	if err := exec(ctx, pipe); err != nil {
		return mark, nil, err
	}
	var moving []int
	for i, part := range parts {
		found, err := part.Result()
		if saysPrefix(err, "TRYAGAIN") || saysPrefix(err, "MOVED") || saysPrefix(err, "ASK") { // go-redis follows the last two, but may have spent its tries on the first
			moving = append(moving, groups[i]...)
			continue
		}
		if err != nil {
			return mark, nil, err
		}
		for k, j := range groups[i] {
			values[j] = found[k]
		}
	}
	return mark, values, readEach(ctx, client, names, moving, values)
}

// readEach reads keys one by one, in one pipeline: those of a slot that is moving may be parted between two nodes.
func readEach(ctx context.Context, client redis.UniversalClient, names []string, indexes []int, values []any) error {
	if len(indexes) == 0 {
		return nil
	}
	pipe := client.Pipeline()
	gets := make([]*redis.StringCmd, len(indexes))
	for i, j := range indexes {
		gets[i] = pipe.Get(ctx, names[j])
	}
	if err := exec(ctx, pipe); err != nil {
		return err
	}
	for i, j := range indexes {
		text, err := gets[i].Result()
		switch {
		case err == nil:
			values[j] = text
		case !isNil(err):
			return err
		}
	}
	return nil
}

// readMark reads a cluster's task key, or takes the copy that it read a moment ago.
func (r *Reader) readMark(ctx context.Context, client redis.UniversalClient) (features.TaskMark, error) {
	now := time.Now()
	r.mu.Lock()
	mark, fresh := r.mark, !r.markAt.IsZero() && now.Sub(r.markAt) < r.markAge
	r.mu.Unlock()
	if fresh {
		return mark, nil
	}
	mark, err := parseMark(client.HGetAll(ctx, keys.Task(r.o.Project, r.o.Task)), r.o.Task)
	if err != nil {
		return mark, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.After(r.markAt) {
		r.mark, r.markAt = mark, now
	}
	return mark, nil
}

// groupBySlot parts the indexes of keys by what shares a slot, at most fetchKeys together.
func groupBySlot(wanted []features.VectorKey) [][]int {
	type slot struct {
		view   string
		bucket int
	}
	open := map[slot]int{} // the group that a slot's next key goes to
	var groups [][]int
	for i, k := range wanted {
		s := slot{k.View, keys.Bucket(k.Entity)}
		g, ok := open[s]
		if !ok || len(groups[g]) == fetchKeys {
			g = len(groups)
			groups = append(groups, nil)
			open[s] = g
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

func pick(names []string, indexes []int) []string {
	picked := make([]string, len(indexes))
	for i, j := range indexes {
		picked[i] = names[j]
	}
	return picked
}

// decode turns the stored values into vectors, looking up the schemas that it has not met yet, all in one round trip.
func (r *Reader) decode(ctx context.Context, wanted []features.VectorKey, names []string, values []any) ([]features.StoredVector, error) {
	parts := make([]opened, len(wanted))
	need := map[shapeKey]bool{}
	for i, k := range wanted {
		text, ok := values[i].(string)
		if !ok {
			continue
		}
		var err error
		if parts[i], err = open([]byte(text)); err != nil {
			return nil, corrupt(names[i], err)
		}
		need[shapeKey{k.View, parts[i].vector.SchemaID}] = true
	}
	shapes, err := r.lookUp(ctx, need)
	if err != nil {
		return nil, err
	}
	vectors := make([]features.StoredVector, len(wanted))
	for i, k := range wanted {
		if p := &parts[i]; p.vector.Found {
			sh := shapes[shapeKey{k.View, p.vector.SchemaID}]
			if sh == nil {
				return nil, corrupt(names[i], fmt.Errorf("its schema %s is not in the catalogue (key %q, field %q)", p.vector.SchemaID, keys.Catalogue(r.o.Project), keys.SchemaField(k.View, p.vector.SchemaID)))
			}
			if vectors[i], err = p.decode(sh); err != nil {
				return nil, corrupt(names[i], err)
			}
		}
		vectors[i].View, vectors[i].Entity = k.View, k.Entity
	}
	return vectors, nil
}

func corrupt(key string, err error) error {
	return fmt.Errorf("the vector under key %q cannot be read: %w", key, err)
}

// lookUp returns the shapes of that name, of which some may be missing, and keeps them: under one id a shape never changes.
func (r *Reader) lookUp(ctx context.Context, need map[shapeKey]bool) (map[shapeKey]*shape, error) {
	shapes := make(map[shapeKey]*shape, len(need))
	var missing []shapeKey
	var fields []string
	r.mu.Lock()
	for k := range need {
		if sh, ok := r.shapes[k]; ok {
			shapes[k] = sh
			continue
		}
		missing, fields = append(missing, k), append(fields, keys.SchemaField(k.view, k.id))
	}
	r.mu.Unlock()
	if len(missing) == 0 {
		return shapes, nil
	}
	client, err := r.link.connect(ctx)
	if err != nil {
		return nil, err
	}
	texts, err := client.HMGet(ctx, keys.Catalogue(r.o.Project), fields...).Result()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, k := range missing {
		text, ok := texts[i].(string)
		if !ok {
			continue
		}
		var schema features.Schema
		if err := json.Unmarshal([]byte(text), &schema); err != nil {
			return nil, fmt.Errorf("key %q, field %q: %w", keys.Catalogue(r.o.Project), fields[i], err)
		}
		if shapes[k], err = newShape(schema); err != nil {
			return nil, fmt.Errorf("view %s: %w", k.view, err)
		}
		r.shapes[k] = shapes[k]
	}
	return shapes, nil
}

// Heartbeats returns what every task of the catalogue last told of itself, by task; tasks that never told anything are left out, and without a catalogue there are none.
func (r *Reader) Heartbeats(ctx context.Context) ([]features.Heartbeat, error) {
	const act = "read the heartbeats"
	c, found, err := r.Catalogue(ctx)
	if err != nil || !found {
		return nil, err
	}
	client, err := r.link.connect(ctx)
	if err != nil {
		return nil, r.link.fail(act, err)
	}
	pipe := client.Pipeline()
	gets := make([]*redis.StringCmd, max(1, c.Tasks))
	for task := range gets {
		gets[task] = pipe.Get(ctx, keys.Heartbeat(r.o.Project, task))
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, r.link.fail(act, err)
	}
	var beats []features.Heartbeat
	for task, get := range gets {
		text, err := get.Bytes()
		if isNil(err) {
			continue
		}
		if err != nil {
			return nil, r.link.fail(act, err)
		}
		var b heartbeat
		if err := json.Unmarshal(text, &b); err != nil {
			return nil, fmt.Errorf("%s: key %q: %w", act, keys.Heartbeat(r.o.Project, task), err)
		}
		beats = append(beats, features.Heartbeat{Task: task, Address: b.Address, Time: b.Time, Status: b.Status})
	}
	return beats, nil
}
