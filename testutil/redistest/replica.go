package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// Replicas log in as a user of their own, so that a primary can shut them out (HoldBack) and serve everybody else.
const replicaUser = "replica"

// replicated are the settings of servers that replicate: each may be primary and replica by turns.
func replicated(password string) []string {
	return []string{"--user", replicaUser, "on", ">" + replicaUser + password, "+@all", "~*", "&*", "--masteruser", replicaUser, "--masterauth", replicaUser + password}
}

// startReplica runs a replica of primary, which must be replicated too.
func startReplica(tb testing.TB, primary *Server, start func(args ...string) *Server) *Server {
	tb.Helper()
	host, port, _ := net.SplitHostPort(primary.Addr)
	replica := start("--replicaof", host, port)
	replica.AwaitInSync(tb)
	return replica
}

// AwaitInSync waits until a replica follows its primary.
func (s *Server) AwaitInSync(tb testing.TB) {
	tb.Helper()
	s.awaitInfo(tb, "role:slave", "master_link_status:up")
}

// HoldBack shuts a primary's replicas out: they keep what they have, and miss every write that the primary acknowledges from now on. It lasts until the primary is restarted.
func (s *Server) HoldBack(tb testing.TB, replicas ...*Server) {
	tb.Helper()
	client := s.Client(tb)
	must(tb, client.Do(context.Background(), "acl", "setuser", replicaUser, "off").Err())
	must(tb, client.Do(context.Background(), "client", "kill", "type", "replica").Err())
	for _, replica := range replicas {
		replica.awaitInfo(tb, "role:slave", "master_link_status:down")
	}
}

// awaitInfo waits until a server says all of that of its replication.
func (s *Server) awaitInfo(tb testing.TB, lines ...string) {
	tb.Helper()
	client := s.Client(tb)
	eventually(tb, fmt.Sprintf("%s to say %v", s.Addr, lines), func(ctx context.Context) error {
		info, err := client.Info(ctx, "replication").Result()
		if err != nil {
			return err
		}
		for _, line := range lines {
			if !strings.Contains(info, line) {
				return errors.New(info)
			}
		}
		return nil
	})
}

// AwaitReplicated waits until so many replicas have everything that was written to the server before.
func (s *Server) AwaitReplicated(tb testing.TB, replicas int) {
	tb.Helper()
	client := s.Client(tb)
	eventually(tb, "the replicas to have everything", func(ctx context.Context) error {
		conn := client.Conn()
		defer func() { _ = conn.Close() }()
		if err := conn.Publish(ctx, "replicated", "").Err(); err != nil { // WAIT waits for what its own connection has sent
			return err
		}
		n, err := conn.Wait(ctx, replicas, time.Second).Result()
		if err == nil && n < int64(replicas) {
			err = fmt.Errorf("%d of %d do", n, replicas)
		}
		return err
	})
}
