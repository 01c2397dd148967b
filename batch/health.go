package batch

import (
	"time"

	"highwater/features"
)

// Health is how a task does at a moment: what decides whether it is ready, and why not.
type Health struct {
	Running   bool             // it has found its place, and runs batches
	Version   features.Version // of the last committed batch
	Committed time.Time        // when that was; zero before the first of this process
	Behind    int64            // offsets between the position and the logs' ends, when last asked
	Backlog   float64          // the same in batches of max_records
	Troubles  []Trouble        // what does not work, by name
	Republish *Republishing    // what is being written again; nil for nothing
}

// Trouble is something that a task tries again and again.
type Trouble struct {
	What     string    // a sink's name, task_key, heartbeat, kafka or state
	Kind     string    // see KindOf
	Err      string    // of the newest attempt
	Since    time.Time // the first failed attempt
	Attempts int
}

// Republishing says why vectors are written again while the task key is withheld, and how far that has come.
type Republishing struct {
	Why     string
	Written int64
	Of      int64 // 0 where not known
}

// What a task can have trouble with, beside its sinks.
const (
	troubleKafka     = "kafka"
	troubleHeartbeat = "heartbeat"
)

// Health returns how the task does.
func (t *Task) Health() Health {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.status
	h := Health{Running: s.running, Version: s.position.Version, Committed: s.committed, Behind: s.behind, Backlog: batchesOf(s.behind, t.o.Project.Batch), Troubles: t.journal.list()}
	if s.republish != nil {
		republish := Republishing(*s.republish)
		h.Republish = &republish
	}
	return h
}

// batchesOf is how many batches of max_records that many offsets fill.
func batchesOf(offsets int64, limits features.BatchLimits) float64 {
	return float64(offsets) / float64(max(1, limits.MaxRecords))
}

func (t *Task) setRunning(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.running = on
}
