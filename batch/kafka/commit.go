package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

const commitMetadata = "highwater" // shown beside the positions by lag tools

// committer is the state of committing positions to the consumer group.
type committer struct {
	positions chan []int64 // the newest, not yet committed
	failed    atomic.Int64

	complained time.Time // when a failure was last logged; zero while commits succeed
}

// Committed is documented at [batch.Source]. It only hands the positions over; a newer call replaces what has not been committed yet.
func (s *Source) Committed(_ context.Context, next []int64) {
	if s.options.Group == "" || len(next) != len(s.partitions) {
		return
	}
	positions := append([]int64(nil), next...)
	for {
		select {
		case s.commits.positions <- positions:
			return
		default:
		}
		select {
		case <-s.commits.positions:
		default:
		}
	}
}

// CommitFailures is how many commits of positions to the consumer group have failed since Open. They are for lag tools alone: nothing else suffers.
func (s *Source) CommitFailures() int64 { return s.commits.failed.Load() }

// commit tells the group's coordinator the positions, until Close; what then waits gets one short try.
func (s *Source) commit() {
	for {
		select {
		case next := <-s.commits.positions:
			s.commitOnce(s.ctx, next, attemptTimeout)
		case <-s.ctx.Done():
			select {
			case next := <-s.commits.positions:
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
	s.mu.Lock()
	for i, p := range s.partitions {
		offsets.Add(kadm.Offset{Topic: p.Topic, Partition: p.Number, At: next[i], LeaderEpoch: s.epochs[i], Metadata: commitMetadata})
	}
	s.mu.Unlock()
	err := s.admin.CommitAllOffsets(ctx, s.options.Group, offsets)
	if s.ctx.Err() == nil || err == nil {
		s.tellCommit(s.commitError(err))
	}
}

// tellCommit counts a failure, and logs the first of several, and then one from time to time.
func (s *Source) tellCommit(err error) {
	c := &s.commits
	switch {
	case err == nil && !c.complained.IsZero():
		c.complained = time.Time{}
		s.log.Info("positions are committed to the consumer group again", "act", "commit", "group", s.options.Group)
	case err != nil:
		c.failed.Add(1)
		if time.Since(c.complained) >= remindEvery {
			c.complained = time.Now()
			s.log.Warn("positions are not committed to the consumer group: lag tools show older ones; nothing else suffers", "act", "commit", "group", s.options.Group, "failures", c.failed.Load(), "err", err)
		}
	}
}

// commitError says what is to be done about a commit that failed.
func (s *Source) commitError(err error) error {
	switch {
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return fmt.Errorf("this client may not commit to group %s: grant it Read on the group: %w", s.options.Group, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("this client may not commit positions of the topics: grant it Read on them: %w", err)
	case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.IllegalGeneration), errors.Is(err, kerr.RebalanceInProgress), errors.Is(err, kerr.StaleMemberEpoch), errors.Is(err, kerr.FencedMemberEpoch):
		return fmt.Errorf("group %s has members: some consumer uses it; give the worker a group of its own (--group): %w", s.options.Group, err)
	}
	return s.options.Security.explain(s.options.Brokers, err)
}
