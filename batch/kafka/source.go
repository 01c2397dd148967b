package kafka

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
)

var (
	_ batch.Source        = (*Source)(nil)
	_ batch.StalledSource = (*Source)(nil)
)

var (
	errClosed     = errors.New("the Kafka source is closed")
	errNotStarted = errors.New("the Kafka source was not started")
)

// Source reads a task's partitions; make it with [Open]. It implements [batch.Source], whose contract is the methods'. Its methods may be called from several goroutines, but only one at a time calls Take.
// From Start to Close it fetches, whatever became of Start's context.
type Source struct {
	options  Options
	log      *slog.Logger
	patience patience
	client   *kgo.Client
	admin    *kadm.Client

	partitions []batch.Partition
	index      map[string][]int // by topic and number: the index in partitions
	topics     map[string]topic // as they were opened

	troubles *troubles
	commits  committer

	ctx     context.Context // ends with Close
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	arrived chan struct{} // for the caller: more was fetched
	grown   chan struct{} // for Take: more was fetched, or an error met
	room    chan struct{} // for the fetcher: look at the limits again
	suspect chan struct{} // for the watcher: look at the topics now

	mu       sync.Mutex // guards what follows
	started  bool
	queues   []queue
	stable   []int64            // by partition: the last stable offset that a fetch told, -1 where none did
	epochs   []int32            // by partition: the newest leader epoch that was heard of, -1 for none
	failures []error            // by partition: what fetching met and cannot get over
	changed  error              // a topic is another one now, or has more partitions: a *batch.ChangedError
	replaced bool               // another one: what the old one had and was not fetched will not come any more
	wanted   []int64            // by partition: the ends that a waiting Take needs; nil where none waits
	turn     int                // the partition whose turn it is in Cut
	narrow   context.CancelFunc // ends the poll that was narrowed; nil where there is none

	memoryBytes int64 // Options.MemoryBytes, or what SetMemoryBytes made of it
}

func newSource(o Options, client *kgo.Client) *Source {
	s := &Source{
		options: o, log: o.Log, troubles: &troubles{}, memoryBytes: o.MemoryBytes,
		client: client, admin: kadm.NewClient(client),
		index: map[string][]int{}, topics: map[string]topic{},
		arrived: make(chan struct{}, 1), grown: make(chan struct{}, 1), room: make(chan struct{}, 1), suspect: make(chan struct{}, 1),
		commits: committer{positions: make(chan []int64, 1)},
	}
	s.patience = patience{log: o.Log, brokers: o.Brokers, security: o.Security, troubles: s.troubles}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// run starts what watches the topics and commits positions.
func (s *Source) run() {
	s.patience.steady = true
	s.failures, s.epochs = make([]error, len(s.partitions)), make([]int32, len(s.partitions))
	for i := range s.epochs {
		s.epochs[i] = -1
	}
	s.running.Go(s.watch)
	s.running.Go(s.commit)
}

// Close ends fetching and every wait, and returns when nothing of the source runs any more.
func (s *Source) Close() {
	s.cancel(errClosed)
	s.running.Wait()
	s.client.Close()
}

// Partitions returns the partitions: sources in the order of Options.Sources, each by number. The caller must not change it.
func (s *Source) Partitions() []batch.Partition { return s.partitions }

// TopicIDs is documented at [batch.Source].
func (s *Source) TopicIDs() []string {
	ids := make([]string, len(s.partitions))
	for i, p := range s.partitions {
		if id := s.topics[p.Topic].id; id != ([16]byte{}) {
			ids[i] = hex.EncodeToString(id[:])
		}
	}
	return ids
}

// OffsetsAt is documented at [batch.Source].
func (s *Source) OffsetsAt(ctx context.Context, at int64) ([]int64, error) {
	names := make([]string, len(s.options.Sources))
	for i, src := range s.options.Sources {
		names[i] = src.Topic
	}
	listed, err := s.admin.ListOffsetsAfterMilli(ctx, (at+999)/1000, names...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the offsets at %s: %w", time.UnixMicro(at).UTC().Format(time.RFC3339), err)
	}
	offsets := make([]int64, len(s.partitions))
	for i, p := range s.partitions {
		o, ok := listed.Lookup(p.Topic, p.Number)
		if !ok {
			return nil, fmt.Errorf("find the offsets at %s: the brokers left topic %s, partition %d out of their answer", time.UnixMicro(at).UTC().Format(time.RFC3339), p.Topic, p.Number)
		}
		offsets[i] = o.Offset
	}
	return offsets, nil
}

// Arrived is documented at [batch.Source].
func (s *Source) Arrived() <-chan struct{} { return s.arrived }

// Cut is documented at [batch.Source]. What a Take has been asked for counts as planned. Full is also set while fetching waits for memory, when waiting would bring nothing more.
func (s *Source) Cut(maxOffsets, maxBytes int64) (batch.Cut, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		return batch.Cut{}, errNotStarted
	}
	if s.changed != nil {
		return batch.Cut{}, s.changed
	}
	var errs []error
	for i, err := range s.failures {
		if err != nil && s.queues[i].unplanned() == 0 {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return batch.Cut{}, joined(errs)
	}
	c := cut(s.queues, s.turn, maxOffsets, maxBytes)
	c.Full = c.Full || c.Offsets > 0 && s.memory() >= s.memoryBytes
	return c, nil
}

// Take is documented at [batch.Source]. slices has one slice a partition, in order. After an error the same slices may be asked for again.
func (s *Source) Take(ctx context.Context, slices []batch.Slice) ([][]batch.Record, error) {
	if err := s.want(slices); err != nil {
		return nil, err
	}
	defer s.unwant()
	for {
		ready, err := s.ready(slices)
		if err != nil {
			return nil, err
		}
		if ready {
			return s.takeAll(slices), nil
		}
		select {
		case <-s.grown:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for planned records: %w", context.Cause(ctx))
		case <-s.ctx.Done():
			return nil, errClosed
		}
	}
}

// want checks the slices, and counts them as planned.
func (s *Source) want(slices []batch.Slice) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		return errNotStarted
	}
	if len(slices) != len(s.partitions) {
		return batch.Permanent(fmt.Errorf("take records: %d slices for %d partitions", len(slices), len(s.partitions)))
	}
	for i, sl := range slices {
		if q := &s.queues[i]; sl.Partition != s.partitions[i] || sl.Start != q.taken || sl.End < sl.Start {
			return batch.Permanent(fmt.Errorf("take records: slice %d is topic %s, partition %d, offsets [%d, %d); it must follow on at topic %s, partition %d, offset %d",
				i, sl.Partition.Topic, sl.Partition.Number, sl.Start, sl.End, s.partitions[i].Topic, s.partitions[i].Number, q.taken))
		}
	}
	s.wanted = make([]int64, len(slices))
	for i, sl := range slices {
		s.queues[i].plan(sl.End)
		s.wanted[i] = sl.End
	}
	s.wake()
	return nil
}

func (s *Source) unwant() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = nil
	s.wake()
}

// wake makes the fetcher look at the limits again. s.mu is held.
func (s *Source) wake() {
	notify(s.room)
	if s.narrow != nil {
		s.narrow()
	}
}

// ready reports whether everything planned has been fetched.
func (s *Source) ready(slices []batch.Slice) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready := true
	var errs []error
	for i, sl := range slices {
		if s.queues[i].fetched < sl.End {
			ready = false
			if s.failures[i] != nil {
				errs = append(errs, s.failures[i])
			}
		}
	}
	if !ready && s.replaced {
		return false, s.changed
	}
	return ready, joined(errs)
}

func (s *Source) takeAll(slices []batch.Slice) [][]batch.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := make([][]batch.Record, len(slices))
	for i, sl := range slices {
		records[i] = s.queues[i].take(sl.End)
	}
	s.turn = (s.turn + 1) % len(s.queues)
	return records
}

// fail records what fetching a partition met and cannot get over; the first such error stays.
func (s *Source) fail(partition int, err error) {
	s.mu.Lock()
	if s.failures[partition] == nil {
		s.failures[partition] = err
	}
	s.mu.Unlock()
	notify(s.arrived)
	notify(s.grown)
}

// change ends the source: from now on Cut says why.
func (s *Source) change(why string, replaced bool) {
	s.mu.Lock()
	if s.changed == nil || replaced && !s.replaced {
		s.changed, s.replaced = &batch.ChangedError{Why: why}, replaced
	}
	s.mu.Unlock()
	notify(s.arrived)
	notify(s.grown)
}

// another returns the error of a topic that is another one now, if there is one: nothing that is asked of it means what it meant.
func (s *Source) another() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced {
		return s.changed
	}
	return nil
}

// Stalled is documented at [batch.StalledSource].
func (s *Source) Stalled() error { return s.troubles.all() }

// Lag returns, by partition, how many offsets are known to be in the log and not planned: as old as the last fetch, and 0 before it. It asks no broker. It is empty before Start.
func (s *Source) Lag() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	lag := make([]int64, len(s.queues))
	for i := range s.queues {
		lag[i] = max(0, s.stable[i]-s.queues[i].planned)
	}
	return lag
}

// Buffered returns how many records have been fetched and not taken, and the memory that they are counted with in bytes.
func (s *Source) Buffered() (records, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.queues {
		records += int64(s.queues[i].records)
	}
	return records, s.memory()
}

// SetMemoryBytes changes Options.MemoryBytes from now on: what is too much already is not fetched again, only waited for. It may be called at any time.
func (s *Source) SetMemoryBytes(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memoryBytes = max(n, 1)
	s.wake()
	notify(s.arrived) // Cut may have something to say
}

// memory is what the queues hold. s.mu is held.
func (s *Source) memory() int64 {
	var n int64
	for i := range s.queues {
		n += s.queues[i].memory()
	}
	return n
}

func (s *Source) logLoss(p batch.Partition, start, end int64) {
	s.log.Error("records were lost before they were read, and are passed over (accept loss)", "act", "read", "source", p.Source, "topic", p.Topic, "partition", p.Number, "from", start, "to", end, "offsets", end-start)
}

// notify leaves a hint in a channel of one, without blocking.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
