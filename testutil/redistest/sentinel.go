package redistest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Sentinels are three Sentinels that watch one primary and its replicas. A primary that is gone is replaced after about two seconds.
type Sentinels struct {
	Master  string    // the name by which they know the primary
	Addrs   []string  // of the Sentinels
	Primary *Server   // as long as it has not failed over
	Replica *Server   // of Primary
	Watch   []*Server // the Sentinels

	o SentinelOptions
}

// SentinelOptions are settings of a [Sentinels].
type SentinelOptions struct {
	Password         string        // of Redis's default user; "" for none
	SentinelPassword string        // of the Sentinels' default user; "" for none
	TLS              *Certificates // for all connections; nil for plaintext
	Args             []string      // further ones of the redis-servers
}

// StartSentinels runs a primary, a replica and three Sentinels until the test ends, and returns when they know each other.
func StartSentinels(tb testing.TB, o SentinelOptions) *Sentinels {
	tb.Helper()
	required(tb)
	s := &Sentinels{Master: "features", o: o}
	start := func(args ...string) *Server {
		args = slices.Concat(replicated(o.Password), o.Args, args)
		if o.Password != "" {
			args = append(args, "--requirepass", o.Password)
		}
		if o.TLS != nil {
			return StartTLS(tb, o.TLS, append(args, "--tls-replication", "yes")...)
		}
		return Start(tb, args...)
	}
	s.Primary = start()
	s.Replica = startReplica(tb, s.Primary, start)
	for range 3 {
		sentinel := s.startSentinel(tb)
		must(tb, sentinel.Client(tb).Do(context.Background(), "sentinel", "debug", "info-period", 500, "publish-period", 500, "ping-period", 300, "ask-period", 300, "tilt-trigger", 20000).Err()) // as ever, but in a shorter day
		s.Watch, s.Addrs = append(s.Watch, sentinel), append(s.Addrs, sentinel.Addr)
	}
	s.awaitView(tb, s.Primary, 1)
	return s
}

// startSentinel runs one Sentinel: a redis-server with a file of its own, which it rewrites as it learns.
func (s *Sentinels) startSentinel(tb testing.TB) *Server {
	tb.Helper()
	binary := required(tb)
	host, port, _ := strings.Cut(s.Primary.Addr, ":")
	return run(tb, func() *Server {
		made := newServer(tb, binary, nil)
		_, own, _ := strings.Cut(made.Addr, ":")
		lines := []string{"bind 127.0.0.1", "dir " + made.dir, fmt.Sprintf("sentinel monitor %s %s %s 2", s.Master, host, port),
			"sentinel down-after-milliseconds " + s.Master + " 1000", "sentinel failover-timeout " + s.Master + " 6000"}
		if s.o.Password != "" {
			lines = append(lines, fmt.Sprintf("sentinel auth-pass %s %s", s.Master, s.o.Password))
		}
		if s.o.SentinelPassword != "" {
			lines = append(lines, "requirepass "+s.o.SentinelPassword)
		}
		if s.o.TLS != nil {
			lines = append(lines, "port 0", "tls-port "+own, "tls-replication yes", "tls-auth-clients "+s.o.TLS.authClients(), "tls-ca-cert-file "+s.o.TLS.CA, "tls-cert-file "+s.o.TLS.ServerCert, "tls-key-file "+s.o.TLS.ServerKey)
			made.tls = s.o.TLS
		} else {
			lines = append(lines, "port "+own)
		}
		file := filepath.Join(made.dir, "sentinel.conf")
		must(tb, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		made.args, made.password, made.ready = []string{file, "--sentinel"}, s.o.SentinelPassword, "+monitor master"
		return made
	})
}

// awaitView waits until all Sentinels agree that primary is the one, know each other, and know of so many replicas that follow it.
func (s *Sentinels) awaitView(tb testing.TB, primary *Server, replicas int) {
	tb.Helper()
	for _, sentinel := range s.Watch {
		client := redis.NewSentinelClient(sentinel.Client(tb).Options())
		eventually(tb, "the Sentinels to agree", func(ctx context.Context) error {
			m, err := client.Master(ctx, s.Master).Result()
			if err != nil {
				return err
			}
			if m["ip"]+":"+m["port"] != primary.Addr || m["num-other-sentinels"] != "2" || m["flags"] != "master" {
				return fmt.Errorf("%s sees %v", sentinel.Addr, m)
			}
			known, err := client.Replicas(ctx, s.Master).Result()
			if err != nil {
				return err
			}
			following := 0
			for _, r := range known {
				if r["flags"] == "slave" && r["master-link-status"] == "ok" {
					following++
				}
			}
			if following < replicas {
				return fmt.Errorf("%s knows of the replicas %v", sentinel.Addr, known)
			}
			return nil
		})
		_ = client.Close()
	}
}

// FailOver makes the replica the primary and the primary its replica, by SENTINEL FAILOVER, and returns when all agree.
func (s *Sentinels) FailOver(tb testing.TB) {
	tb.Helper()
	client := redis.NewSentinelClient(s.Watch[0].Client(tb).Options())
	defer func() { _ = client.Close() }()
	must(tb, client.Failover(context.Background(), s.Master).Err())
	s.AwaitFailOver(tb, 1)
}

// AwaitFailOver waits until the replica has become the primary, with so many replicas: from then on it is Primary, and the old one Replica.
func (s *Sentinels) AwaitFailOver(tb testing.TB, replicas int) {
	tb.Helper()
	s.Primary, s.Replica = s.Replica, s.Primary
	s.awaitView(tb, s.Primary, replicas)
}

// ReplicaReturns starts the replica again, which was killed when it was the primary, and waits until it follows.
func (s *Sentinels) ReplicaReturns(tb testing.TB) {
	tb.Helper()
	s.Replica.Restart(tb)
	s.awaitView(tb, s.Primary, 1)
}

// Client returns a client that follows the primary, closed when the test ends.
func (s *Sentinels) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.Master, SentinelAddrs: slices.Clone(s.Addrs), SentinelPassword: s.o.SentinelPassword, Password: s.o.Password, TLSConfig: s.o.TLS.client(tb), DisableIdentity: true})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}
