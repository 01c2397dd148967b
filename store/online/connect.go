package online

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by it
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"highwater/batch"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// How long go-redis waits. The driver retries what fails, so these need only be longer than a healthy server ever takes.
const (
	dialTimeout   = 3 * time.Second
	writerTimeout = 5 * time.Second
	readerTimeout = 2 * time.Second
	maxRedirects  = 3 // MOVED and ASK; in a cluster also the tries of a call whose connection broke
)

// link is a connection to Redis that is made at first use, because Redis may be down when the process starts, and only Redis can say whether it is a cluster.
// It is safe for concurrent use.
type link struct {
	o       Options
	timeout time.Duration
	busy    chan struct{}         // holds one token while client and closed are used: a lock whose wait heeds a context
	client  redis.UniversalClient // a *redis.Client or a *redis.ClusterClient
	closed  bool
	stale   atomic.Bool                         // the client is to be made anew before it is used again
	cluster atomic.Pointer[redis.ClusterClient] // client, where it is a cluster's
	known   atomic.Bool                         // Redis has let us do everything once: what it refuses from now on has been changed, and may be changed back
}

func newLink(o Options, timeout time.Duration) (*link, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &link{o: o, timeout: timeout, busy: make(chan struct{}, 1)}, nil
}

// connect returns the client, and makes it first where there is none yet.
func (l *link) connect(ctx context.Context) (redis.UniversalClient, error) {
	select {
	case l.busy <- struct{}{}:
		defer func() { <-l.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.closed {
		return nil, errClosed
	}
	if l.client != nil && l.stale.Swap(false) {
		_ = l.client.Close() // calls under way fail, and are made again
		l.client = nil
	}
	if l.client != nil {
		return l.client, nil
	}
	switch {
	case l.o.Cluster:
		l.client = l.newCluster()
	case l.o.SentinelMaster != "":
		client, err := l.newFailover()
		if err != nil {
			return nil, err
		}
		l.client = client
	default:
		if err := l.detect(ctx); err != nil {
			return nil, err
		}
	}
	return l.client, nil
}

// detect asks the addresses in turn what they are, and makes the client that fits the first one that answers.
func (l *link) detect(ctx context.Context) error {
	var down error
	for _, addr := range l.o.Addrs {
		probe := l.newSingle(addr)
		info, err := probe.Info(ctx).Result()
		switch {
		case err == nil && strings.Contains(info, "cluster_enabled:1"):
			l.client = l.newCluster()
			return probe.Close()
		case err == nil && strings.Contains(info, "redis_mode:sentinel"):
			watched := fmt.Errorf("what answers at %s is a Sentinel; give the name of the primary that it watches: --redis-sentinel-master", addr)
			return errors.Join(batch.Permanent(watched), probe.Close())
		case err != nil && !cannotTell(err):
			down = errors.Join(err, probe.Close())
		case len(l.o.Addrs) > 1:
			several := fmt.Errorf("several addresses are for a Redis Cluster or for Sentinels, and the Redis at %s is not in a cluster; give the primary's address alone, or the Sentinels' with --redis-sentinel-master", addr)
			return errors.Join(batch.Permanent(several), probe.Close())
		default:
			l.client = probe
			return nil
		}
	}
	return down
}

// cannotTell reports whether a server refused a question about itself because it does not know such questions (an embedded one) or keeps them to itself (a managed one).
func cannotTell(err error) bool {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "not supported") || strings.Contains(text, "unknown command") || strings.HasPrefix(text, "NOPERM")
}

func (l *link) newSingle(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, ClientName: "highwater", DisableIdentity: true,
		Dialer: l.o.TLS.dial, CredentialsProviderContext: l.o.credentials, DB: l.o.DB,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: dialTimeout, ReadTimeout: l.timeout, WriteTimeout: l.timeout, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// newFailover returns a client of the primary that the Sentinels name: whenever it opens a connection it asks them, and when they tell of a failover it lets go of the old primary.
func (l *link) newFailover() (*redis.Client, error) {
	password, err := l.o.sentinelPassword()
	if err != nil {
		return nil, err
	}
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: l.o.SentinelMaster, SentinelAddrs: slices.Clone(l.o.Addrs), SentinelUsername: l.o.SentinelUsername, SentinelPassword: password,
		ClientName: "highwater", DisableIdentity: true,
		Dialer: l.o.TLS.dial, CredentialsProviderContext: l.o.credentials, DB: l.o.DB,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: dialTimeout, ReadTimeout: l.timeout, WriteTimeout: l.timeout, ContextTimeoutEnabled: true,
	}), nil
}

func (l *link) newCluster() *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:      slices.Clone(l.o.Addrs), // go-redis appends to it, into whatever array stands behind
		ClientName: "highwater", DisableIdentity: true, Dialer: l.o.TLS.dial, CredentialsProviderContext: l.o.credentials,
		MaxRedirects: maxRedirects, DialerRetries: 1, DialTimeout: dialTimeout, ReadTimeout: l.timeout, WriteTimeout: l.timeout, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	l.cluster.Store(client)
	return client
}

// isCluster reports whether a client that connect returned is a cluster's.
func isCluster(client redis.UniversalClient) bool {
	_, ok := client.(*redis.ClusterClient)
	return ok
}

// eachPrimary calls f for the one server, or at once for every primary of the cluster.
func (l *link) eachPrimary(ctx context.Context, f func(ctx context.Context, c *redis.Client) error) error {
	client, err := l.connect(ctx)
	if err != nil {
		return err
	}
	if c, ok := client.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, f)
	}
	return f(ctx, client.(*redis.Client))
}

// exec makes a pipeline's round trip. Every reply carries its own error, but for one that go-redis leaves to us: where the server turned a new connection away (NOAUTH, NOPERM), Exec alone
// has the error, and the commands look as if they had been answered with nothing.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	cmds, err := pipe.Exec(ctx)
	for _, cmd := range cmds {
		if cmd.Err() != nil {
			return nil
		}
	}
	return err
}

// close ends all connections. Calls under way fail.
func (l *link) close() error {
	l.busy <- struct{}{}
	defer func() { <-l.busy }()
	if l.closed || l.client == nil {
		l.closed = true
		return nil
	}
	l.closed = true
	return l.client.Close()
}

// address says where Redis is, for messages.
func (l *link) address() string {
	addrs := strings.Join(l.o.Addrs, ",")
	if l.o.SentinelMaster != "" {
		return fmt.Sprintf("%s (of the Sentinels at %s)", l.o.SentinelMaster, addrs)
	}
	return addrs
}

// addressOf says where one of the primaries is, for messages.
func (l *link) addressOf(c *redis.Client) string {
	if l.o.SentinelMaster != "" {
		return l.address() // go-redis gives every such client one name
	}
	return c.Options().Addr
}

// script is a Lua script and the name that Redis gives it. It is not go-redis's Script, whose pipelined Load blanks the hash and whose pipelined Run has no way back from NOSCRIPT.
type script struct {
	text string
	sha  string
}

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // as above
	return script{text: text, sha: hex.EncodeToString(sum[:])}
}

var (
	//go:embed upsert.lua
	upsertText string
	//go:embed taskkey.lua
	taskKeyText string
	//go:embed rights.lua
	rightsText string

	upsertScript  = newScript(upsertText)
	taskKeyScript = newScript(taskKeyText)
	rightsScript  = newScript(rightsText)
)

// load puts the scripts onto every primary: any of them may be new, or restarted.
func (l *link) load(ctx context.Context, scripts ...script) error {
	return l.eachPrimary(ctx, func(ctx context.Context, c *redis.Client) error {
		for _, s := range scripts {
			if err := c.ScriptLoad(ctx, s.text).Err(); err != nil {
				return fmt.Errorf("load a script: %w", err)
			}
		}
		return nil
	})
}

// infoField returns one field of an INFO answer.
func infoField(info, field string) (string, bool) {
	lines := strings.Split(info, "\n")
	i := slices.IndexFunc(lines, func(s string) bool { return strings.HasPrefix(s, field+":") })
	if i < 0 {
		return "", false
	}
	return strings.TrimSpace(lines[i][len(field)+1:]), true
}
