package api

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
)

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int // 0 before the header is written
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// observe times and counts every request by the route that took it.
func (a *API) observe(next http.Handler) http.Handler {
	paths := make(map[string]string)
	for _, r := range a.routes() {
		paths[r.pattern] = r.path
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		rec.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() {
			path, ok := paths[chi.RouteContext(r.Context()).RoutePattern()]
			if !ok {
				path = "none"
			}
			a.metrics.observe(path, r.Method, max(rec.status, http.StatusOK), time.Since(start))
		}()
		next.ServeHTTP(rec, r)
	})
}

// recover answers a panic, which is a fault of ours, and keeps it from ending the process. An answer that has begun is broken off, so that nobody takes it for whole.
func (a *API) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			if fault == http.ErrAbortHandler {
				panic(fault) // net/http's own way to drop a connection
			}
			a.Log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
			if rec, ok := w.(*recorder); ok && rec.status != 0 {
				panic(http.ErrAbortHandler)
			}
			problemOf(r, fmt.Errorf("panic: %v", fault)).write(w)
		}()
		next.ServeHTTP(w, r)
	})
}

// routeAsSent makes chi route on the path as it was sent: on its own it takes the unescaped one wherever the two differ in no slash, and then nobody knows how often to unescape.
func routeAsSent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chi.RouteContext(r.Context()).RoutePath = r.URL.EscapedPath()
		next.ServeHTTP(w, r)
	})
}

// notFound answers what no route takes.
func (a *API) notFound(_ http.ResponseWriter, r *http.Request) error {
	var paths []string
	for _, known := range a.routes() {
		paths = append(paths, known.path)
	}
	return &problem{kind: unknownRoute, detail: "there is no route " + quote(r.URL.EscapedPath()) + ": /openapi.json lists those there are", suggestion: nearest(r.URL.Path, paths)}
}

// methodNotAllowed answers a route's wrong methods.
func (a *API) methodNotAllowed(w http.ResponseWriter, r *http.Request) error {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		if a.router.Match(chi.NewRouteContext(), m, r.URL.EscapedPath()) {
			allowed = append(allowed, m)
		}
	}
	if allowed == nil {
		return a.notFound(w, r) // a method that chi has never heard of, on a path that nobody has
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return &problem{kind: wrongMethod, detail: fmt.Sprintf("%s is not allowed here: want %s", cut(r.Method), strings.Join(allowed, " or "))}
}
