package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"highwater/batch"
)

const (
	attemptTimeout = 10 * time.Second // of one request and its retries
	logEvery       = 10 * time.Second // how often waiting says so
	firstBackoff   = 100 * time.Millisecond
	lastBackoff    = 3 * time.Second
	fetchWait      = 500 * time.Millisecond // how long a broker holds a fetch that has nothing to answer
	metadataMinAge = 500 * time.Millisecond
	requestRetries = 2
)

// patience retries what a broker that is down, or still electing a leader, may answer in a while.
type patience struct {
	log     *slog.Logger
	brokers []string
}

// until calls try until it returns nil or a permanent error, with a message in the log from time to time. ctx ends the wait.
func (p patience) until(ctx context.Context, act string, try func(ctx context.Context) error) error {
	var spoke time.Time
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := try(attempt)
		cancel()
		switch {
		case err == nil:
			if !spoke.IsZero() {
				p.log.Info("kafka answers again", "act", act)
			}
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w (last answer: %w)", act, context.Cause(ctx), err)
		case batch.IsPermanent(err):
			return err
		case time.Since(spoke) >= logEvery:
			spoke = time.Now()
			p.log.Warn("kafka does not answer as it should: trying on", "act", act, "brokers", strings.Join(p.brokers, ","), "err", err)
		}
		if err := pause(ctx, backoff); err != nil {
			return fmt.Errorf("%s: %w", act, err)
		}
	}
}

// pause waits for d, or for ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// joined joins errors, and leaves one as it is.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
