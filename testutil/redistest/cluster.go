package redistest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Cluster is three primaries that share all slots, each with a replica where that was asked for.
type Cluster struct {
	Nodes    []*Server // the primaries, as long as none has failed over
	Replicas []*Server // Replicas[i] of Nodes[i]; none without replicas
	Addrs    []string  // of Nodes, and then of Replicas
}

// StartCluster runs a Redis Cluster of three primaries until the test ends. Further arguments go to every redis-server.
func StartCluster(tb testing.TB, args ...string) *Cluster {
	tb.Helper()
	required(tb)
	const nodes, slots = 3, 16384
	c := &Cluster{}
	for range nodes {
		c.Nodes = append(c.Nodes, startNode(tb, args))
		c.Addrs = append(c.Addrs, c.Nodes[len(c.Nodes)-1].Addr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, s := range c.Nodes {
		client := s.Client(tb)
		must(tb, client.Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		must(tb, client.ClusterAddSlotsRange(ctx, i*slots/nodes, (i+1)*slots/nodes-1).Err())
		c.meet(ctx, tb, s)
	}
	for _, s := range c.Nodes {
		must(tb, s.waitLine("Cluster state changed: ok"))
	}
	return c
}

// StartClusterWithReplicas runs a Redis Cluster of three primaries and three replicas until the test ends. A primary that is gone is replaced after about two seconds.
func StartClusterWithReplicas(tb testing.TB, args ...string) *Cluster {
	tb.Helper()
	args = slices.Concat(replicated(""), []string{"--cluster-node-timeout", "2000"}, args)
	c := StartCluster(tb, args...)
	for i, primary := range c.Nodes {
		c.Replicas = append(c.Replicas, startNode(tb, args))
		c.Addrs = append(c.Addrs, c.Replicas[i].Addr)
		client := c.Replicas[i].Client(tb)
		id := primary.Client(tb).ClusterMyID(context.Background()).Val()
		c.meet(context.Background(), tb, c.Replicas[i])
		eventually(tb, "the cluster to know a replica's primary", func(ctx context.Context) error { return client.ClusterReplicate(ctx, id).Err() })
	}
	for i, replica := range c.Replicas {
		replica.AwaitInSync(tb)
		c.awaitRole(tb, c.Nodes[i], replica)
	}
	return c
}

func startNode(tb testing.TB, args []string) *Server {
	tb.Helper()
	binary := required(tb)
	return run(tb, func() *Server {
		return newServer(tb, binary, append([]string{"--cluster-enabled", "yes", "--cluster-port", freePort(tb), "--cluster-node-timeout", "5000"}, args...))
	})
}

// meet introduces a node to the first one.
func (c *Cluster) meet(ctx context.Context, tb testing.TB, s *Server) {
	tb.Helper()
	if s == c.Nodes[0] {
		return
	}
	host, port, _ := net.SplitHostPort(c.Nodes[0].Addr)
	must(tb, s.Client(tb).Do(ctx, "cluster", "meet", host, port, argument(c.Nodes[0].args, "--cluster-port")).Err())
}

// awaitRole waits until every node knows replica as that primary's: only then would it be elected.
func (c *Cluster) awaitRole(tb testing.TB, primary, replica *Server) {
	tb.Helper()
	id := primary.Client(tb).ClusterMyID(context.Background()).Val()
	for _, node := range slices.Concat(c.Nodes, c.Replicas) {
		client := node.Client(tb)
		eventually(tb, "the cluster to agree on its replicas", func(ctx context.Context) error {
			nodes, err := client.ClusterNodes(ctx).Result()
			if err != nil {
				return err
			}
			for line := range strings.Lines(nodes) {
				if strings.Contains(line, replica.Addr+"@") && strings.Contains(line, "slave "+id) {
					return nil
				}
			}
			return fmt.Errorf("%s does not know %s as a replica:\n%s", node.Addr, replica.Addr, nodes)
		})
	}
}

// FailOver makes the i-th primary's replica the primary, and the primary its replica: by CLUSTER FAILOVER, asked of the replica, with that option ("FORCE", "TAKEOVER", or "" for one that both agree on). It returns when all nodes know.
func (c *Cluster) FailOver(tb testing.TB, i int, option string) {
	tb.Helper()
	args := []any{"cluster", "failover"}
	if option != "" {
		args = append(args, option)
	}
	must(tb, c.Replicas[i].Client(tb).Do(context.Background(), args...).Err())
	c.AwaitFailOver(tb, i)
}

// AwaitFailOver waits until the i-th primary's replica has taken its place in the eyes of every node that runs. From then on it is Nodes[i], and the old primary Replicas[i].
func (c *Cluster) AwaitFailOver(tb testing.TB, i int) {
	tb.Helper()
	c.Nodes[i], c.Replicas[i] = c.Replicas[i], c.Nodes[i]
	for _, node := range slices.Concat(c.Nodes, c.Replicas) {
		if node.cmd == nil {
			continue
		}
		client := node.Client(tb)
		eventually(tb, "the cluster to fail over", func(ctx context.Context) error {
			info, err := client.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			nodes, err := client.ClusterNodes(ctx).Result()
			if err != nil {
				return err
			}
			for line := range strings.Lines(nodes) {
				if strings.Contains(line, c.Nodes[i].Addr+"@") && strings.Contains(line, "master") && strings.Contains(info, "cluster_state:ok") {
					return nil
				}
			}
			return fmt.Errorf("%s still sees:\n%s", node.Addr, nodes)
		})
	}
}

// Client returns a client of the cluster, closed when the test ends.
func (c *Cluster) Client(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: slices.Clone(c.Addrs), Password: c.Nodes[0].password, TLSConfig: c.Nodes[0].tls.client(tb), DisableIdentity: true})
	tb.Cleanup(func() { _ = client.Close() })
	return client
}
