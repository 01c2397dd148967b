package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"golang.org/x/sync/errgroup"
)

// startMiniredis starts the embedded Redis on a free port of loopback, and drives its clock: its keys expire only when told that time has passed.
func startMiniredis(ctx context.Context, g *errgroup.Group) (addr string, err error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return "", fmt.Errorf("start the embedded redis: %w", err)
	}
	g.Go(func() error {
		defer m.Close()
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for last := time.Now(); ; {
			select {
			case <-ctx.Done():
				return nil
			case now := <-ticker.C:
				m.FastForward(now.Sub(last))
				last = now
			}
		}
	})
	return m.Addr(), nil
}
