package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"

	"highwater/batch"
)

// extent is where a partition's log begins and ends: its first offset, and the one after its last (committed or not).
type extent struct {
	start, end int64
	known      int64 // how far it is the log that a place's leader epoch knew: at most end
	epoch      int32 // its leader's, -1 where not known
}

// Ends is documented at [batch.Source]. It waits for brokers that are down, with a message in the log; ctx ends the wait. A topic that is deleted is waited for too; one that was made again is a [batch.ChangedError].
func (s *Source) Ends(ctx context.Context) ([]batch.End, error) {
	var ends []batch.End
	err := s.patience.until(ctx, "find the logs' ends", func(ctx context.Context) (err error) {
		if err := s.another(); err != nil {
			return err
		}
		ends, err = s.stableEnds(ctx)
		return err
	})
	return ends, err
}

func (s *Source) stableEnds(ctx context.Context) ([]batch.End, error) {
	listed, err := s.listed(ctx, s.admin.ListCommittedOffsets)
	if err != nil {
		return nil, err
	}
	ends := make([]batch.End, len(listed))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range listed {
		ends[i] = batch.End{LogEnd: l.Offset, LeaderEpoch: l.LeaderEpoch}
		s.epochs[i] = max(s.epochs[i], l.LeaderEpoch)
	}
	return ends, nil
}

func (s *Source) extents(ctx context.Context) ([]extent, error) {
	starts, err := s.listed(ctx, s.admin.ListStartOffsets)
	if err != nil {
		return nil, err
	}
	ends, err := s.listed(ctx, s.admin.ListEndOffsets)
	if err != nil {
		return nil, err
	}
	logs := make([]extent, len(starts))
	for i := range logs {
		logs[i] = extent{start: starts[i].Offset, end: ends[i].Offset, known: ends[i].Offset, epoch: ends[i].LeaderEpoch}
	}
	return logs, nil
}

// listed asks for one offset of every partition, in the partitions' order. An answer that lacks one is an error.
func (s *Source) listed(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error)) ([]kadm.ListedOffset, error) {
	names := make([]string, 0, len(s.topics))
	for name := range s.topics {
		names = append(names, name)
	}
	all, err := list(ctx, names...)
	if err != nil {
		return nil, err
	}
	offsets := make([]kadm.ListedOffset, len(s.partitions))
	for i, p := range s.partitions {
		l, ok := all.Lookup(p.Topic, p.Number)
		if !ok {
			l, ok = all.Lookup(p.Topic, -1) // the topic's own error
		}
		if !ok || l.Err != nil {
			notify(s.suspect)
			return nil, fmt.Errorf("topic %s, partition %d: no offset in the brokers' answer: %w", p.Topic, p.Number, orMissing(l.Err))
		}
		offsets[i] = l
	}
	return offsets, nil
}

func orMissing(err error) error {
	if err == nil {
		return errMissing
	}
	return err
}
