package main

import (
	"log/slog"
	"os"
	"time"

	"highwater/store/online"
)

// redisFlags say where Redis is. Secrets come from the environment only.
type redisFlags struct {
	Redis         []string `help:"Redis address HOST:PORT; several for a cluster." placeholder:"HOST:PORT"`
	RedisCluster  bool     `help:"Redis is a cluster (found out by itself where several addresses are given)."`
	RedisUsername string   `help:"User name for Redis ACLs."`
	AllowEviction bool     `help:"Start although Redis may evict keys (its maxmemory-policy): features would vanish silently."`
}

// redisPassword is read from the environment, never from a flag: flags are seen by everyone who can list processes.
const redisPassword = "HIGHWATER_REDIS_PASSWORD"

func (f redisFlags) options(project string, tombstoneTTL time.Duration, log *slog.Logger) online.Options {
	return online.Options{Project: project, Addrs: f.Redis, Cluster: f.RedisCluster, Username: f.RedisUsername, Password: os.Getenv(redisPassword),
		TombstoneTTL: tombstoneTTL, AllowEviction: f.AllowEviction, Log: log}
}

// taskFlags are the settings of a task that dev and worker share.
type taskFlags struct {
	AcceptLoss   bool          `help:"Go on although retention has taken records that were never read; what is lost is logged."`
	CacheSize    byteSize      `help:"Memory for decoded hot state." default:"128MiB"`
	TombstoneTTL time.Duration `help:"How long Redis remembers an expired vector, and how old a stray write is still refused." default:"168h"`
}
