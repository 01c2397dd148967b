package main

import (
	"context"
	"log/slog"
	"net"
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
	log      *slog.Logger
}

// requestGrace is how long requests in hand may go on when the process is told to stop: all of it is to be over within 10 s.
const requestGrace = 8 * time.Second

// newWeb listens at once, so that a port in use is told before anything else starts.
func newWeb(addr string, redis redisFlags, project string, registry *prometheus.Registry, log *slog.Logger) (*web, error) {
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
	handler := api.New(api.Options{Serve: lookups, Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), Registerer: registry, Log: log})
	return &web{reader: reader, listener: listener, server: api.NewServer(handler, api.ServerOptions{Log: log, Grace: requestGrace}), log: log}, nil
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
