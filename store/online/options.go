package online

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// The largest numbers that the formats have digits for.
const (
	maxTask       = 99_999
	maxGeneration = 99_999
	maxSequence   = 999_999_999_999_999
)

// DefaultTombstoneTTL is how long a tombstone lives unless told otherwise: longer than any call can be under way.
const DefaultTombstoneTTL = 7 * 24 * time.Hour

// Options say which Redis to use, and as whom.
type Options struct {
	Project string   // the project's name; every key begins with it
	Addrs   []string // host:port: of the one server, of some nodes of a cluster, or of the Sentinels; none means 127.0.0.1:6379
	Cluster bool     // the addresses are a Redis Cluster's; when false, the server is asked

	SentinelMaster   string                 // the name by which Sentinels know the primary: then Addrs are theirs; "" where there are none
	SentinelUsername string                 // of the Sentinels; "" for the default user
	SentinelPassword func() (string, error) // of the Sentinels; nil for none. Asked when the store is opened, and again after they have refused it; safe for concurrent use

	Username string                 // ACL user; "" for the default one
	Password func() (string, error) // nil for none. Asked at each new connection, so that a password can change; safe for concurrent use
	DB       int                    // database number; a cluster has only 0
	TLS      TLS                    // of all connections, the Sentinels' too

	Task          int           // the task that writes, or whose task key a [Reader] reads: 0 to 99,999
	TombstoneTTL  time.Duration // how long tombstones live, at least 1 s; 0 means DefaultTombstoneTTL. Writers of one project must agree on it
	AllowEviction bool          // accept a Redis that may evict keys, and with them the promise
	Log           *slog.Logger  // nil for none

	// OnEviction hears, at a [Store]'s heartbeats, of a server whose eviction policy has become another one, and of one that has evicted keys since the heartbeat before. It is called by one goroutine at a time; nil for nobody.
	OnEviction func(Eviction)
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if len(o.Addrs) == 0 {
		o.Addrs = []string{"127.0.0.1:6379"}
	}
	if o.TombstoneTTL == 0 {
		o.TombstoneTTL = DefaultTombstoneTTL
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate reports every contradiction.
func (o Options) validate() error {
	var errs []error
	if o.Project == "" {
		errs = append(errs, errors.New("online store: no project is named"))
	}
	if o.Task < 0 || o.Task > maxTask {
		errs = append(errs, fmt.Errorf("online store: task %d is not within 0 to %d", o.Task, maxTask))
	}
	if o.TombstoneTTL < time.Second {
		errs = append(errs, fmt.Errorf("online store: tombstones that live %v expire before a late call is refused; give them 1s or more, and better days", o.TombstoneTTL))
	}
	if o.Cluster && o.DB != 0 {
		errs = append(errs, fmt.Errorf("online store: database %d: a Redis Cluster has only database 0", o.DB))
	}
	if o.Cluster && o.SentinelMaster != "" {
		errs = append(errs, errors.New("online store: a Redis Cluster fails over by itself and has no Sentinels: give the one or the other"))
	}
	if o.SentinelMaster == "" && (o.SentinelUsername != "" || o.SentinelPassword != nil) {
		errs = append(errs, errors.New("online store: a user or password of Sentinels is given, and not the name of the primary that they watch (--redis-sentinel-master)"))
	}
	if err := o.TLS.check(); err != nil {
		errs = append(errs, fmt.Errorf("online store: %w", err))
	}
	for whose, password := range map[string]func() (string, error){"Redis": o.Password, "the Sentinels": o.SentinelPassword} {
		if password == nil {
			continue
		}
		if _, err := password(); err != nil {
			errs = append(errs, fmt.Errorf("online store: find the password for %s: %w", whose, err))
		}
	}
	return errors.Join(errs...)
}
