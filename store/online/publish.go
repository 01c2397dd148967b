package online

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	callKeys     = 200   // keys in one script call: 500 cost Redis a tenth more a key, 50 no less (BenchmarkUpsert), and Redis is kept busy for less than a millisecond
	pipelineKeys = 2_000 // keys in one round trip
	connections  = 2     // round trips at a time: one is filled while the other is answered
	sendRounds   = 4     // how often a call may be sent anew because of NOSCRIPT, or because its slot moves, before it counts as failed
)

// What upsert.lua finds about a key that it leaves alone; the number of a task is 0 or more.
const (
	findingDivergent = -1
	findingNoVector  = -2
)

// call is one call of the script: vectors by index, all of one slot where there are slots, the live ones before the tombstones.
type call struct {
	vectors []int32
	live    int
}

// Publish upserts the output's vectors, each under its own version, and returns once Redis has answered for all of them. Its dead letters are another sink's.
// No vector may stand in one output twice. After an error some vectors may have been written; given again, they count as equal. The outcome then is empty.
// A vector whose key another task wrote, or that holds something else, is a permanent [*ForeignError], beside the outcome, once all the others are written; a vector that does not fit its view is a permanent error too.
func (s *Store) Publish(ctx context.Context, out *batch.Output) (batch.Outcome, error) {
	if len(out.Vectors) == 0 {
		return batch.Outcome{}, nil
	}
	act := fmt.Sprintf("publish %d vectors", len(out.Vectors))
	client, err := s.link.connect(ctx)
	if err != nil {
		return batch.Outcome{}, s.link.fail(act, err)
	}
	if err := s.recordSchemas(ctx, out.Vectors); err != nil {
		return batch.Outcome{}, err
	}
	p := s.publication(client, out)
	if err := p.run(ctx); err != nil {
		return batch.Outcome{}, s.link.fail(act, err)
	}
	return p.outcome, p.refusal()
}

// publication returns the publishing of an output's vectors.
func (s *Store) publication(client redis.UniversalClient, out *batch.Output) *publication {
	return &publication{store: s, client: client, vectors: out.Vectors, guard: s.guard(out.Clock), pipelines: pipelines(calls(out.Vectors, isCluster(client)))}
}

// Takes implements [batch.Selective]: vectors, and nothing else.
func (s *Store) Takes(out *batch.Output) bool { return len(out.Vectors) > 0 }

// guard returns the last second of Redis's clock at which a call planned at that reading (µs) may act. A tombstone newer than the call was written no earlier than that reading, so
// until the reading plus a tombstone's life it is still there to hold an older vector off.
func (s *Store) guard(clock int64) int64 {
	ttl := s.o.TombstoneTTL.Microseconds()
	if clock > math.MaxInt64-ttl {
		clock = math.MaxInt64 - ttl
	}
	const second = 1_000_000
	end := clock + ttl
	seconds := end / second
	if end%second < 0 {
		seconds--
	}
	return seconds - 1
}

// calls parts vectors into script calls, by slot where there are slots.
func calls(vectors []features.Vector, slots bool) []call {
	order := make([]int32, len(vectors))
	for i := range order {
		order[i] = int32(i)
	}
	if !slots {
		return appendCalls(nil, vectors, order)
	}
	var calls []call
	for _, slot := range bySlot(vectors, order) {
		calls = appendCalls(calls, vectors, slot)
	}
	return calls
}

// bySlot parts order by view and bucket, keeping the order within each: a counting sort.
func bySlot(vectors []features.Vector, order []int32) [][]int32 {
	views := map[string]int{}
	group := make([]int, len(order)) // by vector: view × Buckets + bucket
	for i, v := range order {
		name := vectors[v].View.Name
		view, ok := views[name]
		if !ok {
			view = len(views)
			views[name] = view
		}
		group[i] = view*keys.Buckets + keys.Bucket(vectors[v].Entity)
	}
	ends := make([]int, len(views)*keys.Buckets)
	for _, g := range group {
		ends[g]++
	}
	for g := 1; g < len(ends); g++ {
		ends[g] += ends[g-1]
	}
	sorted, starts := make([]int32, len(order)), append([]int{0}, ends[:len(ends)-1]...)
	next := append([]int(nil), starts...)
	for i, v := range order {
		sorted[next[group[i]]] = v
		next[group[i]]++
	}
	slots := make([][]int32, 0, len(ends))
	for g := range ends {
		if starts[g] < ends[g] {
			slots = append(slots, sorted[starts[g]:ends[g]])
		}
	}
	return slots
}

// appendCalls cuts vectors that may share a call into calls of callKeys.
func appendCalls(calls []call, vectors []features.Vector, order []int32) []call {
	for len(order) > 0 {
		n := min(callKeys, len(order))
		calls = append(calls, newCall(vectors, order[:n]))
		order = order[n:]
	}
	return calls
}

// newCall puts the live vectors first, in place and in order.
func newCall(vectors []features.Vector, order []int32) call {
	live := 0
	var tombstones []int32
	for _, v := range order {
		if vectors[v].Tombstone {
			tombstones = append(tombstones, v)
			continue
		}
		order[live] = v
		live++
	}
	copy(order[live:], tombstones)
	return call{vectors: order, live: live}
}

// pipelines groups calls into round trips of about pipelineKeys.
func pipelines(calls []call) [][]call {
	var trips [][]call
	start, n := 0, 0
	for i, c := range calls {
		if n > 0 && n+len(c.vectors) > pipelineKeys {
			trips = append(trips, calls[start:i])
			start, n = i, 0
		}
		n += len(c.vectors)
	}
	return append(trips, calls[start:])
}

// publication is one Publish under way.
type publication struct {
	store     *Store
	client    redis.UniversalClient
	vectors   []features.Vector
	guard     int64
	pipelines [][]call

	mu       sync.Mutex // guards what follows
	outcome  batch.Outcome
	refusals []error              // vectors that must not be written; some of them, enough to act on
	foreign  []features.VectorKey // all of them
}

// run sends the pipelines over a few connections at a time, and stops at the first error.
func (p *publication) run(ctx context.Context) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(connections, len(p.pipelines)) {
		g.Go(func() error {
			s := p.store.sender()
			defer p.store.senders.Put(s)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(p.pipelines) || ctx.Err() != nil {
					return ctx.Err()
				}
				if err := p.send(ctx, s, p.pipelines[i]); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// send makes calls in one round trip, and makes those again that a server asks to be made otherwise: with the script loaded first, or one key at a time.
func (p *publication) send(ctx context.Context, s *sender, calls []call) error {
	for round := 1; ; round++ {
		replies, err := s.roundTrip(ctx, p, calls)
		if err != nil {
			return err
		}
		var again []call
		var load bool
		for i, reply := range replies {
			err := reply.Err()
			switch {
			case err == nil:
				if err := p.tally(calls[i], reply.Val()); err != nil {
					return err
				}
			case round < sendRounds && saysPrefix(err, "NOSCRIPT"):
				load = true
				again = append(again, calls[i])
			case round < sendRounds && saysPrefix(err, "TRYAGAIN") && len(calls[i].vectors) > 1:
				again = append(again, split(calls[i])...)
			case round < sendRounds && (saysPrefix(err, "MOVED") || saysPrefix(err, "ASK")): // go-redis follows them, but had spent its tries on TRYAGAIN
				again = append(again, calls[i])
			default:
				return err
			}
		}
		if len(again) == 0 {
			return nil
		}
		if load {
			if err := p.store.link.load(ctx, upsertScript); err != nil {
				return err
			}
		}
		calls = again
	}
}

// split makes a call of each key: while a slot moves, the keys of one call may be parted between two nodes.
func split(c call) []call {
	singles := make([]call, len(c.vectors))
	for i := range c.vectors {
		singles[i] = call{vectors: c.vectors[i : i+1], live: 0}
		if i < c.live {
			singles[i].live = 1
		}
	}
	return singles
}

// tally adds up what upsert.lua returned for one call.
func (p *publication) tally(c call, reply []int64) error {
	if len(reply) < 4 || len(reply)%2 != 0 {
		return fmt.Errorf("the script answered %d integers, and never does", len(reply))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if reply[0] != 0 {
		p.outcome.Refused += len(c.vectors)
		return nil
	}
	p.outcome.Written += int(reply[1])
	p.outcome.Equal += int(reply[2])
	p.outcome.Stale += int(reply[3])
	for pairs := reply[4:]; len(pairs) > 0; pairs = pairs[2:] {
		index, finding := pairs[0], pairs[1]
		if index < 1 || index > int64(len(c.vectors)) {
			return fmt.Errorf("the script speaks of key %d of %d", index, len(c.vectors))
		}
		p.find(&p.vectors[c.vectors[index-1]], finding)
	}
	return nil
}

// find records what the script found about one vector. p.mu is held.
func (p *publication) find(v *features.Vector, finding int64) {
	const enough = 10
	if finding == findingDivergent {
		p.outcome.Divergent = append(p.outcome.Divergent, batch.Divergence{View: v.View.Name, Entity: v.Entity, Version: v.Version})
		return
	}
	p.foreign = append(p.foreign, features.VectorKey{View: v.View.Name, Entity: v.Entity})
	if len(p.refusals) >= enough {
		return
	}
	key := keys.AppendVector(nil, p.store.o.Project, v.View.Name, v.Entity)
	if finding == findingNoVector {
		p.refusals = append(p.refusals, fmt.Errorf("key %q holds something that is no vector; delete it, or choose another project name or database", key))
		return
	}
	p.refusals = append(p.refusals, fmt.Errorf("key %q was written by task %d, and this is task %d; both run the same entities: see that every task of a project is given its own partitions, or choose another project name", key, finding, p.store.o.Task))
}

// refusal returns the vectors that were refused, as one permanent error; nil for none.
func (p *publication) refusal() error {
	if len(p.foreign) == 0 {
		return nil
	}
	err := errors.Join(p.refusals...)
	if more := len(p.foreign) - len(p.refusals); more > 0 {
		err = fmt.Errorf("%w\nand %d more", err, more)
	}
	return batch.Permanent(&ForeignError{Vectors: p.foreign, err: fmt.Errorf("publish %d vectors: Redis at %s: %w", len(p.vectors), p.store.link.address(), err)})
}

// sender is the buffers of one connection's worth of round trips, kept from batch to batch.
type sender struct {
	buf  []byte
	ends []int    // of keys and values in buf, by turns
	text []string // slices of buf, as a string
	args []any
}

func (s *Store) sender() *sender {
	if b, ok := s.senders.Get().(*sender); ok {
		return b
	}
	return &sender{}
}

// roundTrip makes calls in one pipeline and returns their replies, one each, with errors of their own.
func (s *sender) roundTrip(ctx context.Context, p *publication, calls []call) ([]*redis.IntSliceCmd, error) {
	if err := s.encode(p, calls); err != nil {
		return nil, err
	}
	const before = 3 + 4 // EVALSHA sha numkeys, and the four arguments before the values
	if want := len(s.text) + len(calls)*before; cap(s.args) < want {
		s.args = make([]any, 0, want)
	}
	s.args = s.args[:0]
	var evalsha, sha any = "evalsha", upsertScript.sha
	var guard, task, ttl any = p.guard, string(appendDigits(nil, uint64(p.store.o.Task), taskLen)), strconv.FormatInt(p.store.o.TombstoneTTL.Milliseconds(), 10)

	pipe := p.client.Pipeline()
	replies := make([]*redis.IntSliceCmd, len(calls))
	text := s.text
	for i, c := range calls {
		start := len(s.args)
		s.args = append(s.args, evalsha, sha, len(c.vectors))
		for k := range c.vectors {
			s.args = append(s.args, &text[2*k]) // a pointer goes into an interface without an allocation
		}
		s.args = append(s.args, guard, task, c.live, ttl)
		for k := range c.vectors {
			s.args = append(s.args, &text[2*k+1])
		}
		text = text[2*len(c.vectors):]
		replies[i] = redis.NewIntSliceCmd(ctx, s.args[start:len(s.args):len(s.args)]...)
		replies[i].SetFirstKeyPos(3)
		if err := pipe.Process(ctx, replies[i]); err != nil {
			return nil, err
		}
	}
	return replies, exec(ctx, pipe)
}

// encode fills s.text with the calls' keys and values, by turns.
func (s *sender) encode(p *publication, calls []call) error {
	s.buf, s.ends = s.buf[:0], s.ends[:0]
	for _, c := range calls {
		for _, i := range c.vectors {
			v := &p.vectors[i]
			s.buf = keys.AppendVector(s.buf, p.store.o.Project, v.View.Name, v.Entity)
			s.ends = append(s.ends, len(s.buf))
			var err error
			if s.buf, err = appendVector(s.buf, v, p.store.o.Task); err != nil {
				return batch.Permanent(fmt.Errorf("encode the vector of view %s, entity %q: %w", v.View.Name, v.Entity, err))
			}
			s.ends = append(s.ends, len(s.buf))
		}
	}
	all, start := string(s.buf), 0
	s.text = s.text[:0]
	for _, end := range s.ends {
		s.text = append(s.text, all[start:end])
		start = end
	}
	return nil
}
