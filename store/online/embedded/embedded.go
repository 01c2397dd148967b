// Package embedded runs a Redis inside the process, for `dev`, drills and tests on one machine: nothing to install, and nothing left behind.
//
// It is miniredis, which answers what a worker asks of a real server too: INFO's replication id, by which a worker knows that this is the server it published to before. It is not for production.
package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// Redis is an embedded Redis; make it with [New]. Its keys outlive Close and a new Start. Safe for concurrent use.
type Redis struct {
	*miniredis.Miniredis
	hook server.Hook

	mu sync.Mutex // guards id, and holds INFO off while keys are lost
	id string     // the replication id
}

// New returns a Redis that does not run yet. hook, where it is not nil, hears of every command before it is carried out, and returns true for one that it has answered itself.
func New(hook server.Hook) *Redis {
	return &Redis{Miniredis: miniredis.NewMiniRedis(), hook: hook, id: newID()}
}

// Start listens at addr, a HOST:PORT of loopback; port 0 takes a free one. The caller closes it, after those who write to it have stopped.
func (r *Redis) Start(addr string) error {
	if err := r.StartAddr(addr); err != nil {
		return fmt.Errorf("start the embedded redis: %w", err)
	}
	r.Server().SetPreHook(r.before)
	return nil
}

// Promote gives it the replication id of another server: who asks sees that a failover has taken place, which has lost nothing. [Redis.Rollback] and [Redis.Empty] lose something.
func (r *Redis) Promote() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id = newID()
}

func newID() string {
	var id [20]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// Tick lets the time of its keys pass until ctx ends: they expire only when told so.
func (r *Redis) Tick(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			r.FastForward(now.Sub(last))
			last = now
		}
	}
}

// before answers INFO in miniredis's place, which knows two sections, and reads a server that Close has taken away.
func (r *Redis) before(peer *server.Peer, command string, args ...string) bool {
	if r.hook != nil && r.hook(peer, command, args...) {
		return true
	}
	if command != "INFO" {
		return false
	}
	peer.WriteBulk(r.info(args))
	return true
}

// info is INFO's answer: the sections asked for, all of them where none is.
func (r *Redis) info(asked []string) string {
	r.mu.Lock()
	id := r.id
	r.mu.Unlock()
	sections := []struct{ name, text string }{
		{"server", "# Server\r\nredis_mode:standalone\r\nrun_id:" + id + "\r\n"},
		{"memory", "# Memory\r\nmaxmemory_policy:noeviction\r\n"},
		{"stats", "# Stats\r\nevicted_keys:0\r\n"},
		{"replication", "# Replication\r\nrole:master\r\nmaster_replid:" + id + "\r\n"},
		{"cluster", "# Cluster\r\ncluster_enabled:0\r\n"},
	}
	var text strings.Builder
	for _, s := range sections {
		for _, a := range asked {
			if strings.EqualFold(a, s.name) {
				text.WriteString(s.text)
			}
		}
		if len(asked) == 0 {
			text.WriteString(s.text)
		}
	}
	return text.String()
}
