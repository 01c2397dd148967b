package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
)

var _ batch.Source = (*Source)(nil)

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

	ctx     context.Context // ends with Close
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	arrived chan struct{} // for the caller: more was fetched
	grown   chan struct{} // for Take: more was fetched, or an error met
	room    chan struct{} // for the fetcher: look at the limits again
	suspect chan struct{} // for the watcher: look at the topics now
	commits chan []int64  // for the committer: the newest positions

	mu       sync.Mutex // guards what follows
	started  bool
	queues   []queue
	stable   []int64            // by partition: the last stable offset that a fetch told, -1 where none did
	failures []error            // by partition: what fetching met and cannot get over
	gone     error              // a topic was deleted, or is another one now
	wanted   []int64            // by partition: the ends that a waiting Take needs; nil where none waits
	turn     int                // the partition whose turn it is in Cut
	narrow   context.CancelFunc // ends the poll that was narrowed; nil where there is none
}

func newSource(o Options, client *kgo.Client) *Source {
	s := &Source{
		options: o, log: o.Log, patience: patience{log: o.Log, brokers: o.Brokers},
		client: client, admin: kadm.NewClient(client),
		index: map[string][]int{}, topics: map[string]topic{},
		arrived: make(chan struct{}, 1), grown: make(chan struct{}, 1), room: make(chan struct{}, 1), suspect: make(chan struct{}, 1),
		commits: make(chan []int64, 1),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// run starts what watches the topics and commits positions.
func (s *Source) run() {
	s.failures = make([]error, len(s.partitions))
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

// Arrived is documented at [batch.Source].
func (s *Source) Arrived() <-chan struct{} { return s.arrived }

// Start is documented at [batch.Source]. It waits for brokers that are down, with a message in the log; ctx ends the wait, and nothing else. After an error it may be called again.
func (s *Source) Start(ctx context.Context, next []int64) error {
	if len(next) != len(s.partitions) {
		return batch.Permanent(fmt.Errorf("start reading: %d positions for %d partitions", len(next), len(s.partitions)))
	}
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	if started {
		return batch.Permanent(errors.New("start reading: already started"))
	}
	var logs []extent
	err := s.patience.until(ctx, "find where the logs begin and end", func(ctx context.Context) (err error) {
		if err := s.deleted(); err != nil {
			return err
		}
		logs, err = s.extents(ctx)
		return err
	})
	if err != nil {
		return err
	}
	queues, err := s.place(next, logs)
	if err != nil {
		return err
	}
	s.begin(queues)
	return nil
}

// place puts each partition at its position, which must lie within the log.
func (s *Source) place(next []int64, logs []extent) ([]queue, error) {
	queues := make([]queue, len(next))
	var errs []error
	for i, p := range s.partitions {
		if next[i] == batch.Beginning {
			next[i] = logs[i].start
		}
		queues[i] = newQueue(next[i])
		switch log := logs[i]; {
		case next[i] > log.end:
			errs = append(errs, beyondError(p, next[i], log.end))
		case next[i] < log.start && !s.options.AcceptLoss:
			errs = append(errs, &batch.LostError{Partition: p, Start: next[i], End: log.start})
		case next[i] < log.start:
			s.logLoss(p, next[i], log.start)
			queues[i].lose(log.start)
		}
	}
	return queues, joined(errs)
}

func (s *Source) begin(queues []queue) {
	s.mu.Lock()
	s.queues, s.started = queues, true
	s.stable = make([]int64, len(queues))
	consume := map[string]map[int32]kgo.Offset{}
	for i, p := range s.partitions {
		s.stable[i] = -1
		if consume[p.Topic] == nil {
			consume[p.Topic] = map[int32]kgo.Offset{}
		}
		consume[p.Topic][p.Number] = kgo.NewOffset().At(queues[i].fetched)
	}
	s.mu.Unlock()
	s.client.AddConsumePartitions(consume)
	s.running.Go(s.fetch)
	notify(s.arrived) // there may be a lost stretch to cut
}

// Cut is documented at [batch.Source]. What a Take has been asked for counts as planned. Full is also set while fetching waits for memory, when waiting would bring nothing more.
func (s *Source) Cut(maxOffsets, maxBytes int64) (batch.Cut, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		return batch.Cut{}, errNotStarted
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
	c.Full = c.Full || c.Offsets > 0 && s.memory() >= s.options.MemoryBytes
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

// deleted returns the error of a topic that is gone, if one is.
func (s *Source) deleted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

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

// memory is what the queues hold. s.mu is held.
func (s *Source) memory() int64 {
	var n int64
	for i := range s.queues {
		n += s.queues[i].memory()
	}
	return n
}

func (s *Source) logLoss(p batch.Partition, start, end int64) {
	s.log.Error("records were lost before they were read, and are passed over (accept loss)", "source", p.Source, "topic", p.Topic, "partition", p.Number, "from", start, "to", end, "offsets", end-start)
}

func beyondError(p batch.Partition, next, end int64) error {
	return batch.Permanent(fmt.Errorf("topic %s, partition %d: this task stands at offset %d, but the log ends at %d: the topic was deleted and made again, or its end was cut off (an unclean leader election, a restored broker); "+
		"nothing was read: bring the log back, or start over with an empty data directory, under another project name or after deleting the project's keys from Redis", p.Topic, p.Number, next, end))
}

// notify leaves a hint in a channel of one, without blocking.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Committed is documented at [batch.Source]. It only hands the positions over; a newer call replaces what has not been committed yet.
func (s *Source) Committed(_ context.Context, next []int64) {
	if s.options.Group == "" || len(next) != len(s.partitions) {
		return
	}
	positions := append([]int64(nil), next...)
	for {
		select {
		case s.commits <- positions:
			return
		default:
		}
		select {
		case <-s.commits:
		default:
		}
	}
}

// commit tells the group's coordinator the positions, until Close; what then waits gets one short try.
func (s *Source) commit() {
	for {
		select {
		case next := <-s.commits:
			s.commitOnce(s.ctx, next, attemptTimeout)
		case <-s.ctx.Done():
			select {
			case next := <-s.commits:
				s.commitOnce(context.WithoutCancel(s.ctx), next, time.Second)
			default:
			}
			return
		}
	}
}

func (s *Source) commitOnce(ctx context.Context, next []int64, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	offsets := kadm.Offsets{}
	for i, p := range s.partitions {
		offsets.AddOffset(p.Topic, p.Number, next[i], -1)
	}
	if err := s.admin.CommitAllOffsets(ctx, s.options.Group, offsets); err != nil {
		s.log.Debug("positions not committed to the consumer group: lag tools show older ones", "group", s.options.Group, "err", err)
	}
}
