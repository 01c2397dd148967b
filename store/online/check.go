package online

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"highwater/batch"
	"highwater/store/keys"

	"github.com/redis/go-redis/v9"
)

// Check makes sure that the store can be written to and keeps what it is given: that Redis answers, knows the user and lets it do what is needed, takes the scripts, and does not evict.
// Call it before the first batch. An error that is not [batch.IsPermanent] is an outage: call it again.
func (s *Store) Check(ctx context.Context) error {
	const act = "check the online store"
	if err := s.link.load(ctx, upsertScript, taskKeyScript, rightsScript); err != nil {
		return s.link.fail(act, err)
	}
	for _, check := range []func(context.Context, *redis.Client) error{s.checkRights, s.checkEviction, s.checkTelling} {
		if err := s.link.eachPrimary(ctx, check); err != nil {
			return s.link.fail(act, err)
		}
	}
	s.look(ctx)
	s.link.known.Store(true)
	return nil
}

// commands are those that a worker runs, on keys like its own. A server that evicts, fails over and is watched tells so by INFO; without the right to that it is merely not noticed.
func (s *Store) commands() [][]string {
	vector := string(keys.AppendVector(nil, s.o.Project, "view", "entity"))
	task, heartbeat, catalogue := keys.Task(s.o.Project, s.o.Task), keys.Heartbeat(s.o.Project, s.o.Task), keys.Catalogue(s.o.Project)
	return [][]string{
		{"TIME"}, {"MGET", vector}, {"EXISTS", vector}, {"MSET", vector, ""}, {"SET", vector, "", "PX", "1"}, {"SCAN", "0"}, {"GETRANGE", vector, "0", "1"},
		{"HMGET", task, "f"}, {"HSET", task, "f", ""}, {"HDEL", task, "f"}, {"HGETALL", task}, {"SET", heartbeat, ""}, {"GET", heartbeat}, {"HSET", catalogue, "f", ""}, {"HGET", catalogue, "f"},
	}
}

// checkRights asks a server what its user may not do, so that a right that is missing is told at the start and not by the first tombstone.
func (s *Store) checkRights(ctx context.Context, c *redis.Client) error {
	commands := s.commands()
	var args []any
	for _, words := range commands {
		args = append(args, len(words))
		for _, word := range words {
			args = append(args, word)
		}
	}
	denied, err := c.EvalSha(ctx, rightsScript.sha, nil, args...).Int64Slice()
	if err != nil {
		return fmt.Errorf("ask for the user's rights: %w", err)
	}
	var missing []string
	for _, place := range denied {
		if place >= 1 && place <= int64(len(commands)) {
			missing = append(missing, strings.Join(commands[place-1][:min(2, len(commands[place-1]))], " "))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	user := s.o.Username
	if user == "" {
		user = "default"
	}
	return &refusal{kind: batch.KindDenied, err: fmt.Errorf("user %s may not run, on keys like these: %s", user, strings.Join(missing, ", ")), advice: "docs/operations/redis.md has the rights that Highwater needs"}
}

// checkEviction refuses a server that may evict. Even a policy that takes only keys with an expiry would take tombstones, and let a late call write a vector back in.
func (s *Store) checkEviction(ctx context.Context, c *redis.Client) error {
	policy, err := evictionPolicy(ctx, c)
	switch addr := s.link.addressOf(c); {
	case err != nil:
		return fmt.Errorf("read the eviction policy: %w", err)
	case policy == noEviction:
		return nil
	case policy == "":
		s.o.Log.InfoContext(ctx, "Redis does not say whether it evicts keys; it must not", slog.String("act", "check"), slog.String("redis", addr))
		return nil
	case s.o.AllowEviction:
		s.o.Log.WarnContext(ctx, "Redis may evict vectors and tombstones, as was allowed: readers may miss vectors, or see ones that were gone", slog.String("act", "check"), slog.String("redis", addr), slog.String("policy", policy))
		return nil
	default:
		return batch.Permanent(fmt.Errorf("the Redis at %s may evict keys (maxmemory-policy %s), and vectors and tombstones with them; set `maxmemory-policy noeviction`, or start with --allow-eviction, and without the promise", addr, policy))
	}
}

// checkTelling warns of a server that does not tell by which a failover is known.
func (s *Store) checkTelling(ctx context.Context, c *redis.Client) error {
	id, err := replicationID(ctx, c)
	if err == nil && id == "" {
		s.o.Log.WarnContext(ctx, "Redis does not tell its replication id: a failover that loses vectors and keeps the task key will not be noticed; grant the right to INFO, or republish by hand after failovers", slog.String("act", "check"), slog.String("redis", s.link.addressOf(c)))
	}
	return err
}

// evictionPolicy returns a server's maxmemory-policy, "" where it does not tell.
func evictionPolicy(ctx context.Context, c *redis.Client) (string, error) {
	info, err := c.Info(ctx, "memory").Result()
	if err != nil && !cannotTell(err) {
		return "", err
	}
	if policy, ok := infoField(info, "maxmemory_policy"); ok {
		return policy, nil
	}
	config, err := c.ConfigGet(ctx, "maxmemory-policy").Result()
	if err != nil && !cannotTell(err) {
		return "", err
	}
	return config["maxmemory-policy"], nil
}

// replicationID returns a server's replication id, "" where it does not tell.
func replicationID(ctx context.Context, c *redis.Client) (string, error) {
	info, err := c.Info(ctx, "replication").Result()
	if err != nil && !cannotTell(err) {
		return "", err
	}
	id, _ := infoField(info, "master_replid")
	return strings.Clone(id), nil
}
