package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"

	"highwater/batch/kafka"
	"highwater/features"
)

type drillCommand struct {
	redisFlags
	kafkaFlags
	Example     string   `help:"The shipped example to drill when no definitions are given: ads, logs or surge." default:"ads" enum:"ads,logs,surge"`
	Definitions string   `help:"Definitions file of your own." type:"path" placeholder:"FILE"`
	Events      []string `help:"Events to drill with, as [SOURCE=]FILE with .csv or .jsonl, also .gz; repeatable." placeholder:"[SOURCE=]FILE" sep:"none"`
	Rounds      int      `help:"How many rounds: each takes the events through from the first to the last, on a directory of its own." default:"10"`
	Seed        *uint64  `help:"What everything is drawn from: of the first round; each further one has the next number. Another one each time if not given." placeholder:"N"`
	Kills       int      `help:"Kills a round at most." default:"8"`
	Partitions  int      `help:"Partitions of each topic." default:"1"`
	DataDir     string   `help:"Drill in a new directory below this one, which is removed again unless something differed or a round failed: name the disk that the worker will use. The system's temporary directory if not given." type:"path" placeholder:"DIR"`
	JSON        bool     `name:"json" help:"Print one line of JSON."`
}

func (c *drillCommand) Help() string {
	return `Each round runs a worker, as a process of its own, over your events, and kills it (kill -9) again and again: at a stated step of the protocol, at a stated call to Redis, at any moment. Meanwhile calls fail or take long, connections
to Redis drop, Redis refuses, fails over without its last writes, or comes back empty. In the end every value must be that of a run left alone, every byte of Redis and of the state that of a clean execution of the round's recorded plans
in an empty directory, and nobody who read meanwhile may ever have seen a vector go back. docs/operations/drill.md says how to read the table.

Kafka and Redis run inside this process. With --kafka and --redis yours are used, under topics and a project name made up for the drill, which are removed again; nothing that was there is touched. What is killed is the worker alone.

Examples:
  highwater drill
  highwater drill --example surge --rounds 50 --seed 7
  highwater drill --definitions my.yaml --events clicks.csv.gz --rounds 20`
}

// errDiffers is a drill's verdict that something was not as promised. What it was has been printed.
var errDiffers = errors.New("the drill has found differences")

// errInterrupted is what a drill ends with that somebody stopped.
var errInterrupted = errors.New("stopped before the drill was done")

// unlessInterrupted returns an error as it is, but where somebody has stopped the drill: then nothing else has failed.
func unlessInterrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// Run drills.
func (c *drillCommand) Run(ctx context.Context, s streams) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	if c.Seed == nil {
		seed := uint64(rand.Uint32())
		c.Seed = &seed
	}
	d, err := newDrill(ctx, c, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close(context.WithoutCancel(ctx))) }()
	return d.run(ctx)
}

// check holds the flags against each other; every mistake at once.
func (c *drillCommand) check() error {
	var mistakes []error
	wrong := func(when bool, format string, args ...any) {
		if when {
			mistakes = append(mistakes, fmt.Errorf(format, args...))
		}
	}
	wrong(c.Rounds < 1, "--rounds: give at least 1")
	wrong(c.Kills < 0 || c.Kills > 1000, "--kills: give a number from 0 to 1000")
	wrong(c.Partitions < 1 || c.Partitions > 1000, "--partitions: give a number from 1 to 1000")
	wrong(c.Definitions != "" && len(c.Events) == 0, "--definitions needs events: give --events [SOURCE=]FILE")
	wrong(c.Definitions == "" && len(c.Events) > 0, "--events needs --definitions: an example brings its own of both")
	if len(mistakes) > 0 {
		return usageError{errors.Join(mistakes...)}
	}
	return c.kafkaFlags.check()
}

// project returns the definitions as they are written, their file's name, and the project.
func (c *drillCommand) dev() *devCommand {
	return &devCommand{Definitions: c.Definitions, Events: c.Events, Example: c.Example}
}

// repeat is the command that runs one round again, to be pasted into a shell. Secrets are not in it: their files' names are, and what stands in the environment has to stand there again.
func (c *drillCommand) repeat(seed uint64) string {
	words := []string{"highwater", "drill"}
	text := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				words = append(words, "--"+flag, shellWord(v))
			}
		}
	}
	number := func(flag string, n, usual int) {
		if n != usual {
			words = append(words, "--"+flag, strconv.Itoa(n))
		}
	}
	yes := func(flag string, on bool) {
		if on {
			words = append(words, "--"+flag)
		}
	}
	if c.Definitions == "" {
		text("example", c.Example)
	}
	text("definitions", c.Definitions)
	text("events", c.Events...)
	number("kills", c.Kills, 8)
	number("partitions", c.Partitions, 1)
	text("data-dir", c.DataDir)
	text("kafka", c.Kafka...)
	yes("kafka-tls", c.KafkaTLS)
	text("kafka-tls-ca", c.KafkaTLSCA)
	text("kafka-tls-cert", c.KafkaTLSCert)
	text("kafka-tls-key", c.KafkaTLSKey)
	text("kafka-tls-server-name", c.KafkaTLSServerName)
	if c.KafkaSASL != string(kafka.NoLogin) {
		text("kafka-sasl", c.KafkaSASL)
	}
	text("kafka-username", c.KafkaUsername)
	text("kafka-password-file", string(c.KafkaPasswordFile))
	text("redis", c.Redis...)
	yes("redis-cluster", c.RedisCluster)
	text("redis-sentinel-master", c.RedisSentinelMaster)
	text("redis-sentinel-username", c.RedisSentinelUsername)
	text("redis-sentinel-password-file", string(c.RedisSentinelPasswordFile))
	text("redis-username", c.RedisUsername)
	text("redis-password-file", string(c.RedisPasswordFile))
	yes("redis-tls", c.RedisTLS)
	text("redis-tls-ca", c.RedisTLSCA)
	text("redis-tls-cert", c.RedisTLSCert)
	text("redis-tls-key", c.RedisTLSKey)
	text("redis-tls-server-name", c.RedisTLSServerName)
	yes("allow-eviction", c.AllowEviction)
	return strings.Join(append(words, "--rounds", "1", "--seed", strconv.FormatUint(seed, 10)), " ")
}

// plainWord is a word that a shell takes as it is.
var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// shellWord writes a word so that a shell takes it as one.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// wantedOf returns the names of vectors, in order.
func wantedOf(values map[features.VectorKey]drillVector) []features.VectorKey {
	keys := make([]features.VectorKey, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	sortVectorKeys(keys)
	return keys
}
