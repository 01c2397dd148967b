package redistest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// MoveSlot moves a slot from its primary to the next one, as redis-cli does: half of its keys; then it calls between; then the rest, and the slot.
func (c *Cluster) MoveSlot(ctx context.Context, slot int, between func() error) error {
	from, to, err := c.ends(ctx, slot)
	if err != nil {
		return err
	}
	defer func() { _, _ = from.client.Close(), to.client.Close() }()
	for _, call := range []struct {
		at   *redis.Client
		args []any
	}{
		{to.client, []any{"cluster", "setslot", slot, "importing", from.id}},
		{from.client, []any{"cluster", "setslot", slot, "migrating", to.id}},
	} {
		if err := call.at.Do(ctx, call.args...).Err(); err != nil {
			return fmt.Errorf("%v: %w", call.args, err)
		}
	}
	for half := range 2 {
		if err := migrate(ctx, from, to, slot, half == 0); err != nil {
			return err
		}
		if half == 0 {
			if err := between(); err != nil {
				return err
			}
		}
	}
	for _, at := range []*redis.Client{to.client, from.client} {
		if err := at.Do(ctx, "cluster", "setslot", slot, "node", to.id).Err(); err != nil {
			return fmt.Errorf("give slot %d to %s: %w", slot, to.id, err)
		}
	}
	return c.awaitOwner(ctx, slot, to)
}

// awaitOwner waits until every node has heard of a slot's new owner, and of its epoch: moved on before that, a slot may be claimed by two nodes.
func (c *Cluster) awaitOwner(ctx context.Context, slot int, owner end) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, s := range c.Nodes {
		client := redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true})
		err := awaitLine(ctx, owner.client, client)
		_ = client.Close()
		if err != nil {
			return fmt.Errorf("%s does not hear that slot %d has moved: %w", s.Addr, slot, err)
		}
	}
	return nil
}

// awaitLine waits until a node sees an owner as the owner sees itself: with its epoch, and its slots.
func awaitLine(ctx context.Context, owner, node *redis.Client) error {
	for {
		mine, err := owner.ClusterNodes(ctx).Result()
		if err != nil {
			return err
		}
		theirs, err := node.ClusterNodes(ctx).Result()
		if err != nil {
			return err
		}
		if want := view(mine, owner.Options().Addr); want != "" && want == view(theirs, owner.Options().Addr) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: it sees %s", ctx.Err(), theirs)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// view returns what CLUSTER NODES says of the node at that address: its epoch and its slots.
func view(nodes, addr string) string {
	const epoch, slots = 6, 8
	for line := range strings.Lines(nodes) {
		if fields := strings.Fields(line); len(fields) > slots && strings.HasPrefix(fields[1], addr+"@") {
			return strings.Join(append(fields[epoch:epoch+1], fields[slots:]...), " ")
		}
	}
	return ""
}

// end is one of the two nodes between which a slot moves.
type end struct {
	client *redis.Client
	addr   string
	id     string
}

// ends returns the slot's primary, and the one after it.
func (c *Cluster) ends(ctx context.Context, slot int) (from, to end, err error) {
	owner := -1
	all := make([]end, len(c.Nodes))
	for i, s := range c.Nodes {
		all[i] = end{client: redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true}), addr: s.Addr}
		if all[i].id, err = all[i].client.ClusterMyID(ctx).Result(); err != nil {
			return from, to, err
		}
		nodes, err := all[i].client.ClusterNodes(ctx).Result()
		if err != nil {
			return from, to, err
		}
		if _, slots, _ := strings.Cut(view(nodes, s.Addr), " "); owns(slots, slot) {
			owner = i
		}
	}
	if owner < 0 {
		return from, to, fmt.Errorf("no node says that it has slot %d", slot)
	}
	next := (owner + 1) % len(all)
	for i := range all {
		if i != owner && i != next {
			_ = all[i].client.Close()
		}
	}
	return all[owner], all[next], nil
}

// owns reports whether a slot is among slots and ranges of them, as CLUSTER NODES lists them.
func owns(slots string, slot int) bool {
	for word := range strings.FieldsSeq(slots) {
		first, last, ok := strings.Cut(word, "-")
		if !ok {
			last = first
		}
		low, lowErr := strconv.Atoi(first)
		high, highErr := strconv.Atoi(last)
		if lowErr == nil && highErr == nil && slot >= low && slot <= high {
			return true
		}
	}
	return false
}

// migrate moves the keys of a slot, or half of them.
func migrate(ctx context.Context, from, to end, slot int, half bool) error {
	keys, err := from.client.ClusterGetKeysInSlot(ctx, slot, 1_000_000).Result()
	if err != nil {
		return err
	}
	if half {
		keys = keys[:len(keys)/2]
	}
	host, port, _ := net.SplitHostPort(to.addr)
	for _, key := range keys {
		if err := from.client.Migrate(ctx, host, port, key, 0, time.Minute).Err(); err != nil {
			return fmt.Errorf("move key %q of slot %d: %w", key, slot, err)
		}
	}
	return nil
}
