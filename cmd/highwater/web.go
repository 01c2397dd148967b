package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"highwater/api"
	"highwater/serve"
	"highwater/store/online"
)

// web is the HTTP side of a process: it reads vectors from Redis, and answers.
type web struct {
	reader   *online.Reader
	listener net.Listener
	server   *api.Server
	scraped  chan struct{} // receives, without blocking anyone, after /metrics has been answered
	log      *slog.Logger
}

// requestGrace is how long requests in hand may go on when the process is told to stop: all of it is to be over within 10 s.
const requestGrace = 8 * time.Second

// heartbeatPatience is how old the newest heartbeat may be before /readyz says so. It is sent every few seconds, also by an idle worker.
const heartbeatPatience = 30 * time.Second

// newWeb listens at once, so that a port in use is told before anything else starts.
// ready adds to what the lookups say of themselves whether the process does the rest of its work; nil where lookups are all of it.
func newWeb(addr string, redis redisFlags, project string, registry *prometheus.Registry, ready func(context.Context, api.Readiness) api.Readiness, log *slog.Logger) (*web, error) {
	listener, err := api.Listen(addr)
	if err != nil {
		return nil, err
	}
	reader, err := online.NewReader(redis.options(project, 0, log))
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	lookups := serve.New(serve.Options{Store: reader, Project: project})
	check := func(ctx context.Context) api.Readiness {
		r := api.LookupsReady(ctx, lookups, heartbeatPatience)
		if ready != nil {
			r = ready(ctx, r)
		}
		return r
	}
	log = log.With("act", "serve")
	w := &web{reader: reader, listener: listener, scraped: make(chan struct{}, 1), log: log}
	handler := api.New(api.Options{Serve: lookups, Ready: check, Metrics: w.noteScrapes(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})), Registerer: registry, Log: log})
	w.server = api.NewServer(handler, api.ServerOptions{Log: log, Grace: requestGrace})
	return w, nil
}

func (w *web) noteScrapes(metrics http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		metrics.ServeHTTP(rw, r)
		select {
		case w.scraped <- struct{}{}:
		default:
		}
	})
}

// awaitScrape waits until /metrics has been asked for once more, for so long at most: what a process counts right before it ends, nobody would ever see.
func (w *web) awaitScrape(ctx context.Context, most time.Duration) {
	select {
	case <-w.scraped: // an earlier one
	default:
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-w.scraped:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// address returns HOST:PORT as it can be reached from this machine.
func (w *web) address() string { return w.listener.Addr().String() }

// Run serves until ctx ends, and then finishes the requests in hand. Cutting one off that its client does not finish is no failure.
func (w *web) Run(ctx context.Context) error {
	err := w.server.Serve(ctx, w.listener)
	if err != nil && ctx.Err() != nil {
		w.log.Warn("stopped", "err", err)
		return nil
	}
	return err
}

// Close lets go of Redis and of the port.
func (w *web) Close() {
	_ = w.listener.Close()
	_ = w.reader.Close()
}
