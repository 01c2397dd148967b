package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof" // which also adds itself to the server that nobody here serves
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// control answers the commands that need the state while a task owns it: HTTP over a Unix socket that only this user can open.
type control struct {
	listener net.Listener
	server   *http.Server
	reopen   chan string // why the engine is to be opened again
}

// newControl listens on the data directory's socket. A socket that a crash left behind is replaced: the state's lock says that nobody else owns the directory.
func newControl(dataDir string, e *engine, settings *reloader) (*control, error) {
	path, err := controlPath(dataDir)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), listener.Close())
	}
	reopen := make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reset", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, func() (any, error) { return standingOf(e.store), nil })
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, r *http.Request) {
		answer(w, func() (any, error) {
			reset, err := parseFrom(r.URL.Query().Get("from"))
			if err != nil {
				return nil, err
			}
			if err := e.store.AskForReset(r.Context(), reset); err != nil {
				return nil, err
			}
			select {
			case reopen <- "a reset was asked for":
			default:
			}
			return standingOf(e.store), nil
		})
	})
	mux.HandleFunc("GET /inspect", func(w http.ResponseWriter, r *http.Request) {
		answer(w, func() (any, error) { return inspect(e.store, queryOf(r.URL.Query())) })
	})
	mux.HandleFunc("GET /record", func(w http.ResponseWriter, r *http.Request) {
		answer(w, func() (any, error) { return e.record(r.Context(), r.URL.Query()) })
	})
	mux.HandleFunc("POST /republish", func(w http.ResponseWriter, r *http.Request) {
		answer(w, func() (any, error) {
			n, err := e.task.Republish(r.Context())
			return republished{Vectors: n}, err
		})
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, func() (any, error) {
			if settings == nil {
				return nil, errors.New("this process does not take up settings while it runs: start it again")
			}
			return settings.reload()
		})
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // heap, goroutine, allocs and so on, by name
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &control{listener: listener, reopen: reopen, server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}, nil
}

// answer writes what do returns as JSON, or its error as text.
func answer(w http.ResponseWriter, do func() (any, error)) {
	v, err := do()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Run serves until ctx ends.
func (c *control) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.server.Close() })
	defer stop()
	if err := c.server.Serve(c.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// controlPath returns the socket of a data directory: inside it, or, where that path is longer than sockets allow, in the temporary directory under a name made from it.
func controlPath(dataDir string) (string, error) {
	abs, err := filepath.Abs(dataDir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(abs, "control.sock")
	if len(path) <= 100 {
		return path, nil
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(os.TempDir(), "highwater-"+hex.EncodeToString(sum[:8])+".sock"), nil
}

// askWorker sends a request to the worker that owns a data directory. running is false where there is none, and nothing was asked.
func askWorker(ctx context.Context, dataDir, method, path string, query url.Values, result any) (running bool, err error) {
	socket, err := controlPath(dataDir)
	if err != nil {
		return false, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	conn, err := dial(ctx, "", "")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask the running worker: %w", err)
	}
	_ = conn.Close()
	req, err := http.NewRequestWithContext(ctx, method, "http://worker"+path+"?"+query.Encode(), nil)
	if err != nil {
		return true, err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return true, fmt.Errorf("ask the running worker: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return true, fmt.Errorf("ask the running worker: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return true, fmt.Errorf("the running worker: %s", body)
	}
	return true, json.Unmarshal(body, result)
}
