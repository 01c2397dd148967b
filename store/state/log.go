package state

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleLogger passes on what Pebble says: its chatter as debug, what went wrong as errors.
type pebbleLogger struct {
	log   *slog.Logger
	fatal func(message string)
}

func newPebbleLogger(log *slog.Logger, fatal func(message string)) pebbleLogger {
	if fatal == nil {
		fatal = func(message string) {
			log.Error(message)
			os.Exit(1)
		}
	}
	return pebbleLogger{log: log, fatal: fatal}
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("pebble", "says", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("the state's disk: background work failed", "error", fmt.Sprintf(format, args...))
}

// Fatalf ends the process, as Pebble wants it: after a failed sync nobody knows which bytes are on the disk, and to go on would be to acknowledge what may be lost.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.fatal("the disk refused to make the state durable, so Highwater stops here. What was committed before is safe: " +
		"mend the disk (is it full?) and start again on the same directory. Pebble says: " + fmt.Sprintf(format, args...))
}

// events tells of slow disks and stalls. A corruption is an error of the read that found it, as any other, and not the end of the process.
func (l pebbleLogger) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { l.Errorf("%v", err) },
		DataCorruption:  func(info pebble.DataCorruptionInfo) { l.log.Error("the state is corrupt", "error", info.String()) },
		DiskSlow:        func(info pebble.DiskSlowInfo) { l.log.Warn("the state's disk is slow", "operation", info.String()) },
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			l.log.Warn("writes to the state wait for compactions", "reason", info.Reason)
		},
		WriteStallEnd: func() { l.log.Info("writes to the state go on") },
	}
}
