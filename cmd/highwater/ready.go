package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"highwater/api"
	"highwater/batch"
)

// readiness is what /readyz says of a process that runs a task: whether its lookups can be answered, and whether the task does its work. Safe for concurrent use.
type readiness struct {
	most atomic.Int64 // batches that may be waiting

	mu      sync.Mutex // guards what follows
	task    *batch.Task
	held    func() string // why writes to the state are held up; "" for not
	waiting string        // what the task's start waits for; "" for nothing
}

// newReadiness returns a process that has not started its task yet.
func newReadiness(most int) *readiness {
	r := &readiness{}
	r.most.Store(int64(most))
	return r
}

// attach says which task runs now, and what tells why writes to its state are held up.
func (r *readiness) attach(t *batch.Task, held func() string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.task, r.held, r.waiting = t, held, ""
}

// wait says what keeps the task from starting, and what of it was heard last; a nil err is that nothing was heard yet. A nil readiness is told by nobody.
func (r *readiness) wait(what string, err error) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = "waiting for " + what
	if err != nil {
		r.waiting += ": " + err.Error()
	}
}

// check adds the task's reasons to those of the lookups.
func (r *readiness) check(_ context.Context, lookups api.Readiness) api.Readiness {
	r.mu.Lock()
	task, held, waiting := r.task, r.held, r.waiting
	r.mu.Unlock()
	var health batch.Health
	if task != nil {
		health = task.Health()
	}
	lookups.Warnings = nil // a heartbeat of its own that is late is told by the task
	lookups.Reasons = append(lookups.Reasons, taskReasons(health, waiting, r.most.Load())...)
	if held != nil && held() != "" && !slices.ContainsFunc(lookups.Reasons, func(r api.Reason) bool { return r.Reason == "disk" }) {
		lookups.Reasons = append(lookups.Reasons, api.Reason{Reason: "disk", Detail: held()}) // Pebble itself has met it, and no batch knows yet
	}
	return lookups
}

// taskReasons says what keeps a task from its work. The words are those of api/openapi.json.
func taskReasons(h batch.Health, waiting string, most int64) []api.Reason {
	var reasons []api.Reason
	add := func(reason, format string, args ...any) {
		reasons = append(reasons, api.Reason{Reason: reason, Detail: fmt.Sprintf(format, args...)})
	}
	if !h.Running {
		detail := "the task is starting"
		if waiting != "" {
			detail += "; " + waiting
		}
		add("starting", "%s", detail)
	}
	for _, t := range worstOf(h.Troubles) {
		add(troubleReason(t.What), "%s: %s (%d attempts failed in %s)", t.What, t.Err, t.Attempts, time.Since(t.Since).Round(time.Second))
	}
	if h.Backlog > float64(most) {
		add("behind", "%d records are waiting, which is %.1f batches: more than %d (--ready-behind)", h.Behind, h.Backlog, most)
	}
	if h.Republish != nil {
		add("republishing", "vectors are written again, %d of %d: %s", h.Republish.Written, h.Republish.Of, h.Republish.Why)
	}
	return reasons
}

// troubleReason groups what a task can have trouble with by what an operator would look at.
func troubleReason(what string) string {
	switch what {
	case "kafka", "dead_letter":
		return what
	case "state":
		return "disk"
	}
	return "redis" // the sink, the task key, the heartbeat
}

// worstOf keeps, of the troubles with one thing, the one that lasts longest.
func worstOf(troubles []batch.Trouble) []batch.Trouble {
	all := slices.SortedFunc(slices.Values(troubles), func(a, b batch.Trouble) int {
		return cmp.Or(strings.Compare(troubleReason(a.What), troubleReason(b.What)), a.Since.Compare(b.Since))
	})
	return slices.CompactFunc(all, func(a, b batch.Trouble) bool { return troubleReason(a.What) == troubleReason(b.What) })
}
