package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"highwater/serve"
)

// Options says what the API answers from, and its limits. Only Serve is required.
type Options struct {
	Serve *serve.Server

	MaxBody        int64         // bytes of a request's body; 0 for 1 MiB
	MaxEntities    int           // entities of one request; 0 for 5,000
	MaxValues      int           // entities × features of one request; 0 for 1,000,000
	RequestTimeout time.Duration // how long the store may take for one request; 0 for 5 s

	// Ready says whether the process does its work, and why not; nil for [LookupsReady] with a minute's patience.
	Ready func(ctx context.Context) Readiness

	Log        *slog.Logger          // errors that are nobody's fault but ours, and the store's coming and going; nil for none
	Registerer prometheus.Registerer // where the API's own metrics go; nil for a registry of its own
	Metrics    http.Handler          // what GET /metrics shows; nil for what Registerer gathers; required where that is no prometheus.Gatherer
	Root       http.Handler          // what GET / shows: the console; nil for a list of the routes
}

func (o Options) withDefaults() Options {
	if o.MaxBody <= 0 {
		o.MaxBody = 1 << 20
	}
	if o.MaxEntities <= 0 {
		o.MaxEntities = 5000
	}
	if o.MaxValues <= 0 {
		o.MaxValues = 1_000_000
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = 5 * time.Second
	}
	if o.Ready == nil {
		o.Ready = func(ctx context.Context) Readiness { return LookupsReady(ctx, o.Serve, time.Minute) }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Metrics == nil {
		o.Metrics = metricsHandler(o.Registerer)
	}
	return o
}

func metricsHandler(r prometheus.Registerer) http.Handler {
	gatherer, ok := r.(prometheus.Gatherer)
	if !ok {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// API answers the routes of design.md §10. It is safe for concurrent use.
type API struct {
	Options
	router  chi.Router
	metrics *metrics
	down    atomic.Bool // the last answer of the store was none: its coming and going is logged once
}

// New returns the handler of all routes.
func New(o Options) *API {
	a := &API{Options: o.withDefaults(), router: chi.NewRouter()}
	a.metrics = newMetrics(a.Registerer)
	a.router.Use(a.observe, a.recover, routeAsSent)
	a.router.NotFound(a.answer(a.notFound))
	a.router.MethodNotAllowed(a.answer(a.methodNotAllowed))
	for _, r := range a.routes() {
		a.router.Method(r.method, r.pattern, r.handler)
		if r.method == http.MethodGet {
			a.router.Method(http.MethodHead, r.pattern, r.handler)
		}
	}
	return a
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.router.ServeHTTP(w, r) }

// route is one line of the table of routes. HEAD is answered wherever GET is.
type route struct {
	method  string
	pattern string // chi's
	path    string // as the documents spell it
	summary string
	handler http.Handler
}

func (a *API) routes() []route {
	root := a.Root
	if root == nil {
		root = a.answer(a.index)
	}
	return []route{
		{http.MethodGet, "/v1/features/{view}/*", "/v1/features/{view}/{entity}", "one entity's features of one view", a.answer(a.getFeatures)},
		{http.MethodPost, "/v1/features", "/v1/features", "features of many entities, by feature service or by name", a.answer(a.postFeatures)},
		{http.MethodGet, "/v1/status", "/v1/status", "what the tasks are doing", a.answer(a.getStatus)},
		{http.MethodGet, "/healthz", "/healthz", "the process is alive", a.answer(a.healthz)},
		{http.MethodGet, "/readyz", "/readyz", "the process does its work, or why not", a.answer(a.readyz)},
		{http.MethodGet, "/metrics", "/metrics", "metrics, for Prometheus", a.Metrics},
		{http.MethodGet, "/openapi.json", "/openapi.json", "this API as an OpenAPI 3.1 document", a.answer(a.getOpenAPI)},
		{http.MethodGet, "/", "/", "the console, or this list", root},
	}
}

// answer turns a handler that may fail into one that answers its errors as problems. A handler that has begun to write returns no error.
func (a *API) answer(h func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			p := problemOf(r, err)
			a.logProblem(r, p, err)
			p.write(w)
		}
	}
}

// logProblem logs what an operator should know of. A store that is down fails every request: that is logged when it begins.
func (a *API) logProblem(r *http.Request, p *problem, err error) {
	var s *serve.Error
	switch {
	case errors.As(err, &s) && p.kind == unavailable:
		if !a.down.Swap(true) {
			a.Log.Warn("lookups cannot be answered", "err", err)
		}
	case p.status() == http.StatusInternalServerError:
		a.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
}

// storeAnswered notes that the store is there.
func (a *API) storeAnswered() {
	if a.down.Load() && a.down.Swap(false) {
		a.Log.Info("lookups are answered again")
	}
}

// writeJSON answers with a short document.
func writeJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // a client that has gone is nobody's loss
}
