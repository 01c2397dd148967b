package main

import (
	"log/slog"
	"time"

	"highwater/batch/kafka"
	"highwater/store/online"
)

// redisFlags say where Redis is, and as whom to come. Secrets come from the environment or from files.
type redisFlags struct {
	Redis                     []string   `help:"Redis address HOST:PORT; several for a cluster; with --redis-sentinel-master the Sentinels'." placeholder:"HOST:PORT"`
	RedisCluster              bool       `help:"Redis is a cluster (found out by itself where several addresses are given)."`
	RedisSentinelMaster       string     `help:"The name of the primary that the Sentinels at --redis watch." placeholder:"NAME"`
	RedisSentinelUsername     string     `help:"User name for the Sentinels' ACLs."`
	RedisSentinelPasswordFile secretFile `help:"File with the Sentinels' password; or HIGHWATER_REDIS_SENTINEL_PASSWORD." type:"path" placeholder:"FILE"`
	RedisUsername             string     `help:"User name for Redis ACLs."`
	RedisPasswordFile         secretFile `help:"File with the password for Redis, read again at each new connection; or HIGHWATER_REDIS_PASSWORD." type:"path" placeholder:"FILE"`
	RedisTLS                  bool       `name:"redis-tls" help:"Encrypt connections to Redis and to the Sentinels, and verify their certificates."`
	RedisTLSCA                string     `name:"redis-tls-ca" help:"PEM file of the authority that signed Redis's certificates; the system's if not given." type:"path" placeholder:"FILE"`
	RedisTLSCert              string     `name:"redis-tls-cert" help:"PEM file of this client's own certificate." type:"path" placeholder:"FILE"`
	RedisTLSKey               string     `name:"redis-tls-key" help:"PEM file of its key." type:"path" placeholder:"FILE"`
	RedisTLSServerName        string     `name:"redis-tls-server-name" help:"The name in Redis's certificates, where it is not the host that is dialled."`
	AllowEviction             bool       `help:"Start although Redis may evict keys (its maxmemory-policy): features would vanish silently."`
}

func (f redisFlags) options(project string, tombstoneTTL time.Duration, log *slog.Logger) online.Options {
	o := online.Options{Project: project, Addrs: f.Redis, Cluster: f.RedisCluster, Username: f.RedisUsername, Password: newSecret("redis-password", f.RedisPasswordFile).Read,
		SentinelMaster: f.RedisSentinelMaster, SentinelUsername: f.RedisSentinelUsername,
		TLS:          online.TLS{On: f.RedisTLS, CAFile: f.RedisTLSCA, CertFile: f.RedisTLSCert, KeyFile: f.RedisTLSKey, ServerName: f.RedisTLSServerName},
		TombstoneTTL: tombstoneTTL, AllowEviction: f.AllowEviction, Log: log}
	if f.RedisSentinelMaster != "" || f.RedisSentinelPasswordFile != "" {
		o.SentinelPassword = newSecret("redis-sentinel-password", f.RedisSentinelPasswordFile).Read
	}
	return o
}

// kafkaFlags say where Kafka is, how it is known to be it, and who asks. The password comes from the environment or a file (see secret.go).
type kafkaFlags struct {
	Kafka              []string   `help:"Kafka brokers; dev runs one of its own where none is given." placeholder:"HOST:PORT"`
	KafkaTLS           bool       `name:"kafka-tls" help:"Speak TLS with the brokers, and verify their certificates."`
	KafkaTLSCA         string     `name:"kafka-tls-ca" help:"PEM file of the authorities that sign the brokers' certificates; the system's if not given. Read again at each connection, as are the next two." type:"path" placeholder:"FILE"`
	KafkaTLSCert       string     `name:"kafka-tls-cert" help:"PEM file of this client's certificate, for brokers that want one." type:"path" placeholder:"FILE"`
	KafkaTLSKey        string     `name:"kafka-tls-key" help:"PEM file of that certificate's key." type:"path" placeholder:"FILE"`
	KafkaTLSServerName string     `name:"kafka-tls-server-name" help:"Name that the brokers' certificates are for, where it is not the host in --kafka." placeholder:"NAME"`
	KafkaSASL          string     `name:"kafka-sasl" help:"How to log in to the brokers: none, plain, scram-sha-256 or scram-sha-512." default:"none" enum:"none,plain,scram-sha-256,scram-sha-512"`
	KafkaUsername      string     `help:"User to log in to Kafka as."`
	KafkaPasswordFile  secretFile `help:"File that holds the user's password for Kafka, which can also be given by HIGHWATER_KAFKA_PASSWORD." type:"path" placeholder:"FILE"`
}

func (f kafkaFlags) security() kafka.Security {
	return kafka.Security{
		TLS: f.KafkaTLS, CAFile: f.KafkaTLSCA, CertFile: f.KafkaTLSCert, KeyFile: f.KafkaTLSKey, ServerName: f.KafkaTLSServerName,
		Mechanism: kafka.Mechanism(f.KafkaSASL), Username: f.KafkaUsername,
		Password: newSecret("kafka-password", f.KafkaPasswordFile).Read, PasswordChanges: f.KafkaPasswordFile != "",
	}
}

// check reports what cannot be right, before anything is started.
func (f kafkaFlags) check() error {
	if len(f.Kafka) == 0 && (f.KafkaTLS || f.KafkaSASL != string(kafka.NoLogin)) {
		return usagef("--kafka-tls and --kafka-sasl are for brokers that are named by --kafka")
	}
	if err := f.security().Check(); err != nil {
		return usagef("%w", err)
	}
	return nil
}

// taskFlags are the settings of a task that dev and worker share.
type taskFlags struct {
	AcceptLoss    bool          `help:"Go on although retention has taken records that were never read; what is lost is logged."`
	TakeOver      bool          `help:"Begin a new generation where another data directory owns the task, even if its worker was alive a moment ago." deployment:"-" env:"-"`
	CacheSize     byteSize      `help:"Memory for decoded hot state." default:"128MiB" reload:""`
	DiskReserve   byteSize      `help:"Room on the disk that is never used: while less is free, the task waits. 256MiB, or a twentieth of the disk where that is less, if not given." placeholder:"SIZE"`
	RepublishRate int           `help:"Vectors a second that a republish writes at most." default:"100000" reload:""`
	TombstoneTTL  time.Duration `help:"How long Redis remembers an expired vector, and how old a stray write is still refused." default:"168h"`
	PlanRetention time.Duration `help:"How long the plans of committed batches are kept, for highwater replay; never less than --tombstone-ttl." default:"192h"`
	Objective     time.Duration `help:"How soon after an event its features should be published, for alerts and dashboards alone; six batch intervals if not given."`
}
