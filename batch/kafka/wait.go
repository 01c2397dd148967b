package kafka

import (
	"cmp"
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
	logEvery       = 10 * time.Second // how often waiting says so at the start
	remindEvery    = 10 * time.Minute // how often what lasts is told again later
	firstBackoff   = 100 * time.Millisecond
	lastBackoff    = 3 * time.Second
	fetchWait      = 500 * time.Millisecond // how long a broker holds a fetch that has nothing to answer
	metadataMinAge = 500 * time.Millisecond
	requestRetries = 2
)

// patience retries what a broker that is down, or still electing a leader, may answer in a while.
type patience struct {
	log      *slog.Logger
	brokers  []string
	security Security
	troubles *troubles // hears of what is waited for; nil for nobody

	// steady is for a client that has been let in before: it waits also where it is refused now. A login that does not work may be a server of users that is down, or a password that is just being changed.
	steady bool
}

// until calls try until it returns nil or a permanent error, with a message in the log from time to time. ctx ends the wait.
func (p patience) until(ctx context.Context, act string, try func(ctx context.Context) error) error {
	var spoke time.Time
	var last error // what the attempt before this one met: the end of ctx makes errors of its own
	defer p.troubles.over(act)
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := p.security.explain(p.brokers, try(attempt))
		cancel()
		switch {
		case err == nil:
			if !spoke.IsZero() {
				p.log.Log(ctx, p.level(slog.LevelInfo), "kafka answers again", "act", act)
			}
			return nil
		case ctx.Err() != nil:
			return ended(ctx, act, cmp.Or(last, err))
		case lasting(err) && !p.steady:
			return batch.Permanent(fmt.Errorf("%s: %w", act, err))
		case batch.IsPermanent(err), isChanged(err):
			return err
		case time.Since(spoke) >= logEvery:
			spoke = time.Now()
			p.troubles.met(act, err)
			p.log.Log(ctx, p.level(slog.LevelWarn), "kafka does not answer as it should: trying on", "act", act, "brokers", strings.Join(p.brokers, ","), "err", err)
		}
		if pause(ctx, backoff) != nil {
			return ended(ctx, act, err)
		}
		last = err
	}
}

// level is that of a message: once a client was let in, its task hears of what is waited for, and tells it in its own measure.
func (p patience) level(l slog.Level) slog.Level {
	if p.steady {
		return slog.LevelDebug
	}
	return l
}

func ended(ctx context.Context, act string, last error) error {
	return fmt.Errorf("%s: %w (last answer: %w)", act, context.Cause(ctx), last)
}

// isChanged reports whether the topics are others now, which no wait undoes.
func isChanged(err error) bool {
	_, ok := errors.AsType[*batch.ChangedError](err)
	return ok
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
