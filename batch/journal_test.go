package batch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"highwater/batch"
	"highwater/features"
)

// logLines collects a log as JSON objects.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) lines(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []map[string]any
	for line := range strings.Lines(l.text.String()) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, one)
	}
	return all
}

// with returns the lines whose message contains part.
func (l *logLines) with(t *testing.T, part string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for _, line := range l.lines(t) {
		if strings.Contains(line["msg"].(string), part) {
			found = append(found, line)
		}
	}
	return found
}

// day runs a task on a log of one click a second, read as it comes, for that long; it tells its log from level on.
func day(t *testing.T, lasts time.Duration, level slog.Level, during func(w *world, task *batch.Task), changes ...func(*features.Project)) *logLines {
	t.Helper()
	p := project(t, changes...)
	w := newWorld(p, [][]batch.Record{steadyLog(int(lasts/time.Second)+2, time.Now())})
	w.avail[0] = 0
	a := &arriving{source: &source{world: w}, arrived: make(chan struct{}, 1)}
	log := &logLines{}
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(lasts, cancel).Stop()
	go func() {
		for ctx.Err() == nil {
			a.come(1)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	err := w.runTask(ctx, func(task *batch.Task) { go during(w, task) }, func(o *batch.Options) {
		o.Source, o.Complete = a, nil
		o.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level}))
	})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// A year's log of a task that does its work can be read: fewer than 300 lines a day.
func TestLog_ADayOfNormalRunningIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := day(t, 24*time.Hour, slog.LevelInfo, func(*world, *batch.Task) {})
		all := log.lines(t)
		if len(all) >= 300 {
			t.Errorf("%d lines, want fewer than 300", len(all))
		}
		first, last := all[0], all[len(all)-1]
		if first["msg"] != "task started" || first["offsets"] != "events/0:0" || first["act"] != "start" || first["generation"] != 1.0 || first["task"] != 0.0 {
			t.Errorf("it starts with %v", first)
		}
		if last["msg"] != "task stopped" || last["act"] != "stop" || last["offsets"] == "events/0:0" {
			t.Errorf("it stops with %v", last)
		}
		for _, line := range all {
			if line["act"] == nil || line["generation"] == nil || line["sequence"] == nil {
				t.Errorf("a line that does not say what it is about: %v", line)
			}
		}
		records, sequence := 0.0, 0.0
		for _, line := range log.with(t, "batches committed") {
			records += line["records"].(float64)
			if line["sequence"].(float64) <= sequence || line["batches"].(float64) < 55 {
				t.Errorf("after sequence %v: %v", sequence, line)
			}
			sequence = line["sequence"].(float64)
		}
		if records += last["records"].(float64); records < 86_300 {
			t.Errorf("the summaries tell of %v records, want all of about 86,400", records)
		}
	})
}

func TestLog_DebugTellsEachBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := day(t, time.Minute, slog.LevelDebug, func(*world, *batch.Task) {})
		batches := log.with(t, "batch committed")
		if len(batches) < 10 {
			t.Fatalf("%d batches told of in a minute of 5 s intervals", len(batches))
		}
		if b := batches[3]; b["act"] != "commit" || b["generation"] != 1.0 || b["sequence"] != 4.0 || b["trigger"] != "interval" {
			t.Errorf("the fourth batch: %v", b)
		}
	})
}

// An outage of hours is told when it begins, now and then while it lasts, and when it ends: with how many attempts it took, and how long.
func TestLog_AnOutageIsToldInAFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := day(t, 4*time.Hour, slog.LevelInfo, func(w *world, task *batch.Task) {
			time.Sleep(time.Hour)
			w.setFail(func(call string) error {
				if call == "before publish" {
					return errors.New("connection refused")
				}
				return nil
			})
			time.Sleep(time.Hour)
			h := task.Health()
			if len(h.Troubles) != 1 || h.Troubles[0].What != "store" || h.Troubles[0].Attempts < 100 || h.Troubles[0].Err != "connection refused" || time.Since(h.Troubles[0].Since) < 59*time.Minute {
				t.Errorf("an hour into the outage: %+v", h)
			}
			if _, stalled := task.Behind(); stalled["store"] != "connection refused" {
				t.Errorf("stalled by %v", stalled)
			}
			time.Sleep(time.Hour)
			w.setFail(nil)
		}, func(p *features.Project) { p.Batch.MaxRecords = 10_000 })
		begun, over := log.with(t, "does not work"), log.with(t, "works again")
		if len(begun) < 4 || len(begun) > 9 {
			t.Errorf("two hours of outage take %d lines", len(begun))
		}
		if begun[0]["attempts"] != 1.0 || begun[0]["act"] != "retry" || begun[0]["what"] != "store" || begun[0]["sequence"].(float64) < 700 {
			t.Errorf("it begins with %v", begun[0])
		}
		if len(over) != 1 || over[0]["attempts"].(float64) < 1000 || over[0]["after"].(float64) < float64(119*time.Minute) {
			t.Errorf("it ends with %v", over)
		}
		if behind := log.with(t, "behind"); len(behind) != 0 {
			t.Errorf("7,200 records are less than a batch, but: %v", behind)
		}
	})
}

func TestLog_BehindAndCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := day(t, time.Hour, slog.LevelInfo, func(w *world, task *batch.Task) {
			time.Sleep(10 * time.Minute)
			if h := task.Health(); !h.Running || h.Backlog >= 1 || h.Committed.IsZero() || h.Version.Sequence < 100 {
				t.Errorf("while all is well: %+v", h)
			}
			w.setFail(func(call string) error {
				if call == "before publish" {
					return errors.New("connection refused")
				}
				return nil
			})
			time.Sleep(20 * time.Minute)
			if h := task.Health(); h.Backlog < 11 || h.Backlog > 13 {
				t.Errorf("20 minutes of 1 record a second in batches of 100: %+v", h)
			}
			w.setFail(nil)
		}, func(p *features.Project) { p.Batch.MaxRecords = 100 })
		behind, caughtUp := log.with(t, "behind:"), log.with(t, "caught up")
		if len(behind) != 1 || len(caughtUp) != 1 {
			t.Fatalf("behind: %v; caught up: %v", behind, caughtUp)
		}
		if behind[0]["behind"].(float64) < 100 || caughtUp[0]["behind"].(float64) >= 100 {
			t.Errorf("behind: %v; caught up: %v", behind, caughtUp)
		}
	})
}

// cutOff is a source whose log has lost what was not read yet.
type cutOff struct{ batch.Source }

func (cutOff) Cut(int64, int64) (batch.Cut, error) {
	return batch.Cut{}, &batch.LostError{Partition: batch.Partition{Topic: "events"}, Start: 3, End: 9}
}

// What ends a task, also while it plans or reads, is in the last line of its log and in its last heartbeat, which does not say that nobody is left to wait for.
func TestLog_LastWords(t *testing.T) {
	for name, change := range map[string]func(w *world, o *batch.Options){
		"offsets 3 to 8 are gone": func(_ *world, o *batch.Options) { o.Source = cutOff{o.Source} },
		"out of memory":           func(w *world, _ *batch.Options) { w.fail = publishing(batch.Permanent(busy{})) },
	} {
		synctest.Test(t, func(t *testing.T) {
			log := &logLines{}
			w := newWorld(project(t), [][]batch.Record{clicks(time.Now(), 0)})
			err := w.run(t, func(o *batch.Options) {
				change(w, o)
				o.Log = slog.New(slog.NewJSONHandler(log, nil))
			})
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Fatalf("the task ended with %v, want %q", err, name)
			}
			all := log.lines(t)
			if last := all[len(all)-1]; last["msg"] != "task stopped" || last["why"] != "failed" || last["err"] != err.Error() {
				t.Errorf("the last line is %v", last)
			}
			var status struct{ Stopped string }
			if err := json.Unmarshal(w.beat.Status, &status); err != nil {
				t.Fatal(err)
			}
			if status.Stopped != err.Error() || w.beat.Stopped {
				t.Errorf("the last heartbeat says %s (stopped: %t)", w.beat.Status, w.beat.Stopped)
			}
		})
	}
}

// publishing is a world in which no attempt to publish succeeds.
func publishing(err error) func(call string) error {
	return func(call string) error {
		if call == "before publish" {
			return err
		}
		return nil
	}
}
