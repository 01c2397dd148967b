package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"highwater/serve"
)

// Readiness says whether a process does its work. It is ready while there are no reasons against that; warnings are for people: something is wrong, but taking the process out of service would only make it worse.
type Readiness struct {
	Reasons  []Reason
	Warnings []Reason
}

// Reason is one thing that is wrong: a word of a small closed set, for programs, and a sentence, for people.
type Reason struct {
	Reason string
	Detail string
}

// The reasons of lookups.
const (
	reasonRedis     = "redis"     // the online store does not answer, or holds no catalogue
	reasonHeartbeat = "heartbeat" // no task has told of itself for a while: what is served may be old
)

// LookupsReady reports whether s can answer lookups: the store answers, and holds the project's catalogue. Old values are better than none, so tasks whose newest heartbeat is older than maxAge are a warning, and no reason.
func LookupsReady(ctx context.Context, s *serve.Server, maxAge time.Duration) Readiness {
	if ok, why := s.Ready(ctx); !ok {
		return Readiness{Reasons: []Reason{{reasonRedis, why}}}
	}
	tasks, err := s.Tasks(ctx)
	if err != nil {
		return Readiness{Warnings: []Reason{{reasonHeartbeat, err.Error()}}}
	}
	if len(tasks) == 0 {
		return Readiness{Warnings: []Reason{{reasonHeartbeat, "no task has told of itself: does a worker run?"}}}
	}
	newest := tasks[0]
	for _, t := range tasks {
		if t.Age < newest.Age {
			newest = t
		}
	}
	if newest.Age <= maxAge {
		return Readiness{}
	}
	return Readiness{Warnings: []Reason{{reasonHeartbeat, fmt.Sprintf("the newest heartbeat is %s old: does the worker at %s still run? What is served is as old", newest.Age.Round(time.Second), newest.Address)}}}
}

// readyz answers GET /readyz: 200 while the process does its work, else a problem with every reason.
func (a *API) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), a.RequestTimeout)
	defer cancel()
	ready := a.Ready(ctx)
	if len(ready.Reasons) > 0 {
		details := make([]string, len(ready.Reasons))
		for i, reason := range ready.Reasons {
			details[i] = reason.Detail
		}
		return &problem{kind: unavailable, detail: strings.Join(details, "; "), reasons: ready.Reasons, warnings: ready.Warnings}
	}
	w.Header().Set("Cache-Control", "no-store")
	body := appendReasons([]byte(`{"status":"ready"`), "warnings", ready.Warnings)
	writeJSON(w, append(body, '}'))
	return nil
}

// appendReasons appends a member of a JSON object, where there is something to say.
func appendReasons(dst []byte, name string, reasons []Reason) []byte {
	if len(reasons) == 0 {
		return dst
	}
	dst = append(appendString(append(dst, ','), name), ":["...)
	for i, r := range reasons {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `{"reason":`...), r.Reason)
		dst = append(appendString(append(dst, `,"detail":`...), r.Detail), '}')
	}
	return append(dst, ']')
}
