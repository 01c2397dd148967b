package state

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleLogger passes on what Pebble says: its chatter as debug, what went wrong to the disk's own log.
type pebbleLogger struct {
	log  *slog.Logger
	disk *disk
}

// Infof is chatter.
func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("pebble", "says", fmt.Sprintf(format, args...))
}

// Errorf is of background work.
func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("the state's disk: background work failed", "error", fmt.Sprintf(format, args...))
}

// Fatalf ends the process, as Pebble wants it: after a failed sync nobody knows which bytes are on the disk, and to go on would be to acknowledge what may be lost.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.disk.fatal(l.disk.lastWords(format, args...))
}

// events tells of slow disks and stalls. A corruption is an error of the read that found it, as any other, and not the end of the process.
func (l pebbleLogger) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: l.disk.background,
		DataCorruption:  func(info pebble.DataCorruptionInfo) { l.log.Error("the state is corrupt", "error", info.String()) },
		DiskSlow:        l.disk.hanging,
		FlushEnd:        l.disk.flushed,
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			l.log.Warn("writes to the state wait for compactions", "reason", info.Reason)
		},
		WriteStallEnd: func() { l.log.Info("writes to the state go on") },
	}
}
