package batch

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff says how long to wait between attempts: doubling from First up to Most, with full jitter, so that workers do not come back in step.
type backoff struct{ first, most time.Duration }

var defaultBackoff = backoff{first: 50 * time.Millisecond, most: 5 * time.Second}

// retry calls do until it succeeds, fails for good ([IsPermanent]), or ctx ends; failed hears of each failure that is retried. Jitter moves time only, never output (I3).
func retry(ctx context.Context, b backoff, do func() error, failed func(err error, wait time.Duration)) error {
	for limit := b.first; ; limit = min(2*limit, b.most) {
		err := do()
		if err == nil || IsPermanent(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := limit/2 + rand.N(limit/2+1)
		failed(err, wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
