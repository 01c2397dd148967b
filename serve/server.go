package serve

import (
	"context"
	"fmt"
	"time"

	"highwater/features"
)

// Store is what the read path reads through: the online store, and nothing else. Safe for concurrent use; every method honours ctx.
type Store interface {
	// Catalogue returns the project's catalogue; found is false where no writer has left one.
	Catalogue(ctx context.Context) (c features.Catalogue, found bool, err error)
	// Fetch reads the task's mark first, and the vectors of keys after it (so that the mark only understates what the vectors hold at), one round trip a slot group, from primaries.
	// The vectors stand in the order of keys, one each; keys are distinct.
	Fetch(ctx context.Context, keys []features.VectorKey) (features.Fetched, error)
	// Heartbeats returns what every task last told of itself, by task.
	Heartbeats(ctx context.Context) ([]features.Heartbeat, error)
}

// Options says what a [Server] reads through.
type Options struct {
	Store   Store            // required
	Project string           // the project's name; required
	Now     func() time.Time // the wall clock; nil for time.Now
	Refresh time.Duration    // how old the catalogue may grow before it is read again; 0 for 5 s
}

// Server answers lookups. It is safe for concurrent use, starts no goroutine, and needs no closing.
type Server struct {
	store      Store
	project    string
	now        func() time.Time
	catalogues *catalogues
}

// New returns a server. It reads nothing yet: the first lookup does.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Refresh <= 0 {
		o.Refresh = 5 * time.Second
	}
	return &Server{store: o.Store, project: o.Project, now: o.Now, catalogues: newCatalogues(o)}
}

// Project returns the project's name.
func (s *Server) Project() string { return s.project }

// Ready asks the store for the catalogue, past every cache, and reports whether lookups can be answered; if not, reason says why.
func (s *Server) Ready(ctx context.Context) (ok bool, reason string) {
	if _, err := s.catalogues.newerThan(ctx, s.catalogues.current.Load(), 0); err != nil {
		return false, err.Error()
	}
	return true, ""
}

// Task is what a task last told of itself.
type Task struct {
	features.Heartbeat
	Age time.Duration // how long before now the heartbeat was sent; negative where the task's clock is ahead of this one
}

// Tasks reads every task's heartbeat from the store, fresh, by task.
func (s *Server) Tasks(ctx context.Context) ([]Task, error) {
	beats, err := s.store.Heartbeats(ctx)
	if err != nil {
		return nil, unavailable(fmt.Errorf("read heartbeats: %w", err))
	}
	now := s.now().UnixMicro()
	tasks := make([]Task, len(beats))
	for i, b := range beats {
		tasks[i] = Task{Heartbeat: b, Age: time.Duration(now-b.Time) * time.Microsecond}
	}
	return tasks, nil
}
