package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/features"
)

// progress shows how far dev has come: a bar where stderr is a terminal, nothing elsewhere.
type progress struct {
	bar    *progressbar.ProgressBar // nil where there is none
	events map[*features.Source]*decode.Events

	rows      atomic.Int64 // loaded or found loaded
	committed atomic.Int64
	vectors   atomic.Int64
}

func newProgress(w io.Writer, events map[*features.Source]*decode.Events) *progress {
	p := &progress{events: events}
	if len(events) > 0 {
		p.bar = newBar(w, "loading")
	}
	return p
}

// newBar returns a bar of 100 steps, or nil where w is no terminal.
func newBar(w io.Writer, description string) *progressbar.ProgressBar {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return progressbar.NewOptions64(100, progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(false),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetDescription(description))
}

// loaded hears of the loader's progress.
func (p *progress) loaded(loaded, skipped int64) {
	p.rows.Store(loaded + skipped)
	p.show()
}

// batch hears of each committed batch.
func (p *progress) batch(s batch.Stats) {
	p.committed.Add(s.Records)
	p.vectors.Add(s.Vectors)
	p.show()
}

// show draws the share of the events that are committed; while the files are still being read, of those read so far.
func (p *progress) show() {
	if p.bar == nil {
		return
	}
	var read, total int64
	for _, e := range p.events {
		r, t := e.Progress()
		read, total = read+r, total+t
	}
	share := 0.0
	if rows := p.rows.Load(); rows > 0 && total > 0 {
		share = float64(p.committed.Load()) / float64(rows) * float64(read) / float64(total)
	}
	p.bar.Describe(fmt.Sprintf("%d events loaded, %d committed, %d vectors", p.rows.Load(), p.committed.Load(), p.vectors.Load()))
	_ = p.bar.Set64(int64(min(share, 1) * 100))
}

// finish takes the bar away.
func (p *progress) finish() error {
	if p.bar == nil {
		return nil
	}
	return p.bar.Finish()
}

// logger keeps routine lines from tearing the bar apart: while there is one, only warnings and errors are logged.
func (p *progress) logger(log *slog.Logger) *slog.Logger {
	if p.bar == nil {
		return log
	}
	return slog.New(minLevel{log.Handler(), slog.LevelWarn})
}
