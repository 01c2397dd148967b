package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// ServerOptions bounds what a client may take of a [Server]. The zero value is a valid configuration.
type ServerOptions struct {
	ReadHeaderTimeout time.Duration // for a request's header; 0 for 5 s
	ReadTimeout       time.Duration // for a whole request, body included: then 408; 0 for 15 s
	WriteTimeout      time.Duration // from a request's header to the end of its answer; 0 for 30 s
	IdleTimeout       time.Duration // between two requests of a connection; 0 for 2 min
	Grace             time.Duration // for the requests that are under way when the server ends; 0 for 10 s
	MaxHeaderBytes    int           // a request's line and header; 0 for 64 KiB
	Log               *slog.Logger  // connections that went wrong, at debug level; nil for none
}

func (o ServerOptions) withDefaults() ServerOptions {
	orDefault := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	orDefault(&o.ReadHeaderTimeout, 5*time.Second)
	orDefault(&o.ReadTimeout, 15*time.Second)
	orDefault(&o.WriteTimeout, 30*time.Second)
	orDefault(&o.IdleTimeout, 2*time.Minute)
	orDefault(&o.Grace, 10*time.Second)
	if o.MaxHeaderBytes <= 0 {
		o.MaxHeaderBytes = 64 << 10
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Server puts a handler on a listener. Use it once.
type Server struct {
	http  http.Server
	grace time.Duration
}

// NewServer returns a server of h.
func NewServer(h http.Handler, o ServerOptions) *Server {
	o = o.withDefaults()
	return &Server{grace: o.Grace, http: http.Server{
		Handler:           h,
		ReadHeaderTimeout: o.ReadHeaderTimeout,
		ReadTimeout:       o.ReadTimeout,
		WriteTimeout:      o.WriteTimeout,
		IdleTimeout:       o.IdleTimeout,
		MaxHeaderBytes:    o.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}}
}

// Listen listens on addr, HOST:PORT; port 0 takes a free one. A port that is taken is said so.
func Listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the port is in use by another process: stop that one, or choose another port: %w", addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// Serve answers requests on l until ctx ends; then it stops accepting, lets those under way finish within the grace, and returns nil, or an error if some had to be cut off.
// It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve http on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
	defer cancel()
	err := s.http.Shutdown(grace)
	<-served // always ErrServerClosed by now
	if err != nil {
		_ = s.http.Close() // ends the requests' contexts
		return fmt.Errorf("stop http on %s: requests were cut off after %s: %w", l.Addr(), s.grace, err)
	}
	return nil
}
