package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
)

// Start is documented at [batch.Source]. It waits for brokers that are down, with a message in the log; ctx ends the wait, and nothing else. After an error it may be called again.
func (s *Source) Start(ctx context.Context, places []batch.Place) error {
	if len(places) != len(s.partitions) {
		return batch.Permanent(fmt.Errorf("start reading: %d positions for %d partitions", len(places), len(s.partitions)))
	}
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	if started {
		return batch.Permanent(errors.New("start reading: already started"))
	}
	var logs []extent
	err := s.patience.until(ctx, "find where the logs begin and end", func(ctx context.Context) (err error) {
		if err := s.another(); err != nil {
			return err
		}
		if logs, err = s.extents(ctx); err != nil {
			return err
		}
		return s.trace(ctx, places, logs)
	})
	if err != nil {
		return err
	}
	queues, err := s.place(places, logs)
	if err != nil {
		return err
	}
	s.begin(queues, logs)
	return nil
}

// trace finds out how much of what a place's leader epoch knew is still there. A log that was cut off may have grown past the place since: its end alone tells nothing.
func (s *Source) trace(ctx context.Context, places []batch.Place, logs []extent) error {
	var ask kadm.OffsetForLeaderEpochRequest
	for i, p := range s.partitions {
		if places[i].Next != batch.Beginning && places[i].LeaderEpoch >= 0 {
			ask.Add(p.Topic, p.Number, places[i].LeaderEpoch)
		}
	}
	if ask == nil {
		return nil
	}
	answers, err := s.admin.OffsetForLeaderEpoch(ctx, ask)
	if err != nil {
		return fmt.Errorf("ask where leader epochs end: %w", err)
	}
	for i, p := range s.partitions {
		if _, asked := ask[p.Topic][p.Number]; !asked {
			continue
		}
		a, ok := answers[p.Topic][p.Number]
		if !ok || a.Err != nil {
			return fmt.Errorf("ask where leader epoch %d of topic %s, partition %d, ends: %w", places[i].LeaderEpoch, p.Topic, p.Number, orMissing(a.Err))
		}
		if a.EndOffset >= 0 { // else the brokers no longer know that epoch, or never did, and nothing can be said
			logs[i].known = min(logs[i].known, a.EndOffset)
		}
	}
	return nil
}

// place puts each partition at its position, which must lie within the log.
func (s *Source) place(places []batch.Place, logs []extent) ([]queue, error) {
	queues := make([]queue, len(places))
	var errs []error
	for i, p := range s.partitions {
		if places[i].Next == batch.Beginning {
			places[i].Next = logs[i].start
		}
		queues[i] = newQueue(places[i].Next)
		switch log := logs[i]; {
		case places[i].Next > log.known:
			errs = append(errs, batch.Permanent(&batch.TruncatedError{Partition: p, Next: places[i].Next, End: log.known}))
		case places[i].Next < log.start && !s.options.AcceptLoss:
			errs = append(errs, &batch.LostError{Partition: p, Start: places[i].Next, End: log.start})
		case places[i].Next < log.start:
			s.logLoss(p, places[i].Next, log.start)
			queues[i].lose(log.start)
		}
	}
	return queues, joined(errs)
}

// begin starts fetching. Each partition's leader epoch goes with it, so that the client notices a log that is cut off from now on.
func (s *Source) begin(queues []queue, logs []extent) {
	s.mu.Lock()
	s.queues, s.started = queues, true
	s.stable = make([]int64, len(queues))
	consume := map[string]map[int32]kgo.Offset{}
	for i, p := range s.partitions {
		s.stable[i], s.epochs[i] = -1, max(s.epochs[i], logs[i].epoch)
		if consume[p.Topic] == nil {
			consume[p.Topic] = map[int32]kgo.Offset{}
		}
		consume[p.Topic][p.Number] = kgo.NewOffset().At(queues[i].fetched).WithEpoch(logs[i].epoch)
	}
	s.mu.Unlock()
	s.client.AddConsumePartitions(consume)
	s.running.Go(s.fetch)
	notify(s.arrived) // there may be a lost stretch to cut
}
