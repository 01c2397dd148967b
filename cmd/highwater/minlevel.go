package main

import (
	"context"
	"log/slog"
)

// minLevel is a log handler that lets only the more severe lines through.
type minLevel struct {
	slog.Handler
	least slog.Level
}

// Enabled reports whether a line of that level is let through.
func (h minLevel) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.least && h.Handler.Enabled(ctx, l)
}

// WithAttrs and WithGroup keep the limit.
func (h minLevel) WithAttrs(attrs []slog.Attr) slog.Handler {
	return minLevel{h.Handler.WithAttrs(attrs), h.least}
}

// WithGroup keeps the limit.
func (h minLevel) WithGroup(name string) slog.Handler {
	return minLevel{h.Handler.WithGroup(name), h.least}
}
