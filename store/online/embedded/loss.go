package embedded

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"

	"github.com/alicebob/miniredis/v2/server"
)

// What this Redis can lose, as one does that fails over, or is restarted without its disk. Each loss is one step in the eyes of clients that are connected: no command runs within it.

// kept is the database that holds the snapshot, far from those that people use. Its keys age as all do, so a tombstone that has expired since does not come back.
const kept = 1 << 20

// copyScript fills database ARGV[2] with database ARGV[1], and answers with the number of keys.
const copyScript = `
redis.call('SELECT', ARGV[2])
redis.call('FLUSHDB')
redis.call('SELECT', ARGV[1])
local keys = redis.call('KEYS', '*')
for i = 1, #keys do
  redis.call('COPY', keys[i], keys[i], 'DB', ARGV[2])
end
return #keys`

var errNotRunning = errors.New("the embedded redis does not run")

// Snapshot keeps what database 0 holds, for [Redis.Rollback]. It takes the place of the snapshot before it. It must run, and stay so until the call returns.
func (r *Redis) Snapshot() error {
	if err := r.copy(0, kept); err != nil {
		return fmt.Errorf("keep a snapshot: %w", err)
	}
	return nil
}

// Rollback loses what was written since the last [Redis.Snapshot], all of it where there is none, and gives a new replication id: so ends a failover to a replica that had not got the last writes. It must run, and stay so until the call returns.
func (r *Redis) Rollback() error {
	r.mu.Lock() // who asks for the id, hears the new one from here on
	defer r.mu.Unlock()
	if err := r.copy(kept, 0); err != nil {
		return fmt.Errorf("go back to the snapshot: %w", err)
	}
	r.id = newID()
	return nil
}

// Empty loses everything but the snapshot, and gives a new replication id: so comes a server back that keeps nothing on disk.
func (r *Redis) Empty() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.DB(0).FlushDB()
	r.id = newID()
}

// copy fills one database with another, in one step.
func (r *Redis) copy(from, to int) error {
	s := r.Server()
	if s == nil {
		return errNotRunning
	}
	var answer bytes.Buffer
	w := bufio.NewWriter(&answer)
	s.Dispatch(server.NewPeer(w), []string{"EVAL", copyScript, "0", fmt.Sprint(from), fmt.Sprint(to)})
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := server.ParseReply(bufio.NewReader(&answer))
	return err
}
