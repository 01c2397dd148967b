package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"highwater/batch"
	"highwater/batch/faults"
	"highwater/batch/faults/disk"
	"highwater/features"
	"highwater/store/online"
)

// drillChildCommand starts the process that a drill kills. It is no command of the program's grammar: it takes no flag, no variable and no deployment file, only orders on its standard input, so that nobody gets there by mistake.
const drillChildCommand = "drill-child"

// drillOrders is what a child is to do: the definitions as they are run, where, and what goes wrong meanwhile.
type drillOrders struct {
	File        string         `json:"file"` // what mistakes in the definitions would call them
	Definitions string         `json:"definitions"`
	Changes     drillChanges   `json:"changes"`
	Kafka       kafkaFlags     `json:"kafka"`
	Redis       redisFlags     `json:"redis"`
	DataDir     string         `json:"data_dir"`
	CacheBytes  int64          `json:"cache_bytes"`
	Faults      []faults.Fault `json:"faults"`
	Disk        []disk.Fault   `json:"disk"`
	PowerCut    bool           `json:"power_cut"` // a kill takes with it what was not synced
}

// drillChanges are the settings that a drill runs definitions with, beside those that are in them.
type drillChanges struct {
	Project    string            `json:"project"` // a name that nobody else has
	Topics     map[string]string `json:"topics"`  // by source; dead letters go beside
	MaxRecords int64             `json:"max_records"`
	Interval   time.Duration     `json:"interval"`
}

// apply changes a project. Whatever its definitions say, time is the events': they are history, and what a clock on the wall says at a kill is in no other run.
func (c drillChanges) apply(p *features.Project) *features.Project {
	p.Name, p.Clock = c.Project, features.EventClock
	p.Batch.MaxRecords, p.Batch.Interval = c.MaxRecords, c.Interval
	for _, s := range p.Sources {
		s.Topic = c.Topics[s.Name]
		s.DeadLetter = s.Topic + ".dead-letter"
	}
	return p
}

// project parses the definitions and changes them.
func (o drillOrders) project() (*features.Project, error) {
	p, err := features.Parse(o.File, []byte(o.Definitions))
	if err != nil {
		return nil, err
	}
	return o.Changes.apply(p), nil
}

// childWord is a line that a child says on its standard output.
type childWord struct {
	Batch   *features.Version `json:"batch,omitempty"`   // it has committed this one
	Drained *features.Version `json:"drained,omitempty"` // it has committed everything, this last
	Batches int64             `json:"batches,omitempty"` // since the first of the directory
	Offsets int64             `json:"offsets,omitempty"` // that it has read, by all its partitions
	Fired   int               `json:"fired,omitempty"`   // faults so far
	Failed  string            `json:"failed,omitempty"`  // it ends
	Fault   bool              `json:"fault,omitempty"`   // by what was injected, or because a log was cut off, and by nothing else
	Cut     bool              `json:"cut,omitempty"`     // because a log does not reach as far as it has read
	Differs int64             `json:"differs,omitempty"` // vectors whose version was stored with other bytes (I4), so far
}

// drillChild runs a task as it is ordered to, until its standard input ends. It returns the exit code.
func drillChild(ctx context.Context, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	orders := json.NewDecoder(in)
	var o drillOrders
	if err := orders.Decode(&o); err != nil {
		fmt.Fprintf(errOut, "highwater: %s is what highwater drill starts, and is no command: %v\n", drillChildCommand, err)
		return exitUsage
	}
	go func() {
		var more drillOrders
		_ = orders.Decode(&more) // nothing comes: it returns when the drill has let go, or is gone itself
		stop()
	}()
	words := &childWords{out: json.NewEncoder(out), inject: faults.New(o.Faults, nil), disk: disk.New(nil, disk.Options{LosesUnsynced: o.PowerCut})}
	for _, f := range o.Disk {
		words.disk.Inject(f)
	}
	if err := unlessStopped(ctx, o.run(ctx, words, newLogger(errOut, "text", levelOf(slog.LevelWarn)))); err != nil {
		words.last(childWord{Failed: err.Error(), Fault: only(err, func(err error) bool { return words.injected(err) || truncated(err) }), Cut: truncated(err)})
		fmt.Fprintln(errOut, "highwater:", err)
		return exitFailed
	}
	return exitDone
}

func levelOf(l slog.Level) *slog.LevelVar {
	level := new(slog.LevelVar)
	level.Set(l)
	return level
}

// run runs the task.
func (o drillOrders) run(ctx context.Context, words *childWords, log *slog.Logger) error {
	p, err := o.project()
	if err != nil {
		return err
	}
	complete := make(chan struct{})
	close(complete)
	options := engineOptions{project: p, kafka: o.Kafka, redis: o.Redis, dataDir: o.DataDir, cacheBytes: o.CacheBytes, tombstoneTTL: online.DefaultTombstoneTTL, metrics: newDrillMetrics(), log: log, complete: complete, faults: words.inject, fs: words.disk,
		fatal: func(message string) {
			log.Error(message)
			words.last(childWord{Failed: message, Fault: words.refused(message)})
			os.Exit(exitFailed)
		},
		onBatch: func(s batch.Stats) { words.say(childWord{Batch: &s.Version}) },
		onDrained: func() {
			position, _, _ := words.engine.Load().task.Position()
			words.say(childWord{Drained: &position.Version, Batches: position.Counters.Batches, Offsets: offsetsOf(position)})
		}}
	return runEngine(ctx, options, func(e *engine) { words.engine.Store(e) })
}

// offsetsOf returns how many offsets of its partitions' logs a position has passed.
func offsetsOf(p batch.Position) (n int64) {
	for _, part := range p.Partitions {
		n += part.Next
	}
	return n
}

// childWords is where a child says how far it has come. Safe for concurrent use.
type childWords struct {
	inject *faults.Injector
	disk   *disk.FS
	engine atomic.Pointer[engine] // the newest; nil while there is none

	mu  sync.Mutex // guards out
	out *json.Encoder
}

// say says a word, and how far things have come with it.
func (w *childWords) say(word childWord) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.encode(word)
}

// last says the last word: the process ends, and whoever would say anything after it does not.
func (w *childWords) last(word childWord) {
	w.mu.Lock()
	w.encode(word)
}

// encode writes a word down. w.mu is held.
func (w *childWords) encode(word childWord) {
	word.Fired = len(w.inject.Fired())
	for _, times := range w.disk.Struck() {
		word.Fired += times
	}
	if e := w.engine.Load(); e != nil {
		_, _, word.Differs = e.task.Position()
	}
	_ = w.out.Encode(word) // where nobody listens any more, the input has ended too
}

// only reports whether an error is of one sort, and nothing else: of several that are joined, each has to be.
func only(err error, is func(error) bool) bool {
	if parts, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		return !slices.ContainsFunc(parts.Unwrap(), func(part error) bool { return !only(part, is) })
	}
	return is(err)
}

// truncated reports whether an error says that a log does not reach as far as it was read.
func truncated(err error) bool {
	_, cut := errors.AsType[*batch.TruncatedError](err)
	return cut
}

// injected reports whether an error is what was injected: a call that was to fail, or what a disk says that was to be full or to fail.
func (w *childWords) injected(err error) bool {
	if _, ok := errors.AsType[*faults.Error](err); ok {
		return true
	}
	struck := w.disk.Struck()
	_, full := errors.AsType[*batch.FullError](err)
	return struck[disk.FailSync] > 0 && errors.Is(err, syscall.EIO) || struck[disk.Full] > 0 && (full || errors.Is(err, syscall.ENOSPC))
}

// refused reports whether these are the last words of a process whose disk has refused a write because it was to.
func (w *childWords) refused(message string) bool {
	struck := w.disk.Struck()
	return struck[disk.FailSync] > 0 && strings.Contains(message, syscall.EIO.Error()) || struck[disk.Full] > 0 && strings.Contains(message, syscall.ENOSPC.Error())
}
