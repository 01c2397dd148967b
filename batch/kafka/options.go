package kafka

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/features"
)

const (
	defaultMemoryBytes = 128 << 20
	minFetchBytes      = 64 << 10
	maxFetchBytes      = 8 << 20
	maxPartitionBytes  = 2 << 20
	maxResponseBytes   = 1 << 30 // beyond any record that Kafka can be made to take
	dialTimeout        = 10 * time.Second
)

// Options say what a [Source] reads, and how.
type Options struct {
	Brokers []string           // HOST:PORT of some of the cluster's brokers; at least one
	Sources []*features.Source // at least one; no two with the same topic

	// AcceptLoss goes on where retention took records before they were read: the stretch has no records, and is logged loudly. Without it a lost stretch is an error.
	AcceptLoss bool

	// MemoryBytes bounds what is fetched and not taken: keys, values and headers, decompressed, and a little for each record. It should be at least twice a batch's max_bytes.
	// It is passed by at most one fetch a broker (8 MiB as compressed), and by a plan that is larger by itself. Zero means 128 MiB.
	MemoryBytes int64

	Group string       // the consumer group that [Source.Committed] commits to, for lag tools; "" for none
	Log   *slog.Logger // nil for none

	Security Security
	Dialer   func(ctx context.Context, network, address string) (net.Conn, error) // of plain connections; nil for the net package's

	watchEvery, settingsEvery time.Duration // how often to look at the topics and at their settings; tests look more often
}

func (o Options) withDefaults() Options {
	if o.MemoryBytes <= 0 {
		o.MemoryBytes = defaultMemoryBytes
	}
	if o.watchEvery <= 0 {
		o.watchEvery = watchEvery
	}
	if o.settingsEvery <= 0 {
		o.settingsEvery = settingsEvery
	}
	o.Log = orDiscard(o.Log)
	return o
}

// client returns the options of a client that reads.
func (o Options) client() []kgo.Opt {
	fetch := int32(min(max(o.MemoryBytes/4, minFetchBytes), maxFetchBytes))
	opts := []kgo.Opt{
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(fetch), // a batch beyond the limits comes alone: the broker never answers with none for that
		kgo.FetchMaxPartitionBytes(min(fetch, maxPartitionBytes)),
		kgo.FetchMaxWait(fetchWait),
		kgo.BrokerMaxReadBytes(maxResponseBytes),
		kgo.WithDecompressor(decompressor{kgo.DefaultDecompressor()}),
	}
	return common(o.Brokers, o.Log, o.Security, o.Dialer, opts)
}

// common returns the options that every client of this package has, with more behind them.
func common(brokers []string, log *slog.Logger, security Security, plain dialer, more []kgo.Opt) []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.ClientID("highwater"),
		kgo.WithLogger(clientLog{log.With("act", "client")}),
		kgo.MetadataMinAge(metadataMinAge), // how long a change of leader goes unnoticed at least
		kgo.RequestRetries(requestRetries), // what is worth waiting for is retried here, with a message
	}
	return slices.Concat(opts, security.options(plain), more)
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// clientLog passes the client's messages on, one level down: its warnings are retries of its own.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Level() kgo.LogLevel {
	switch ctx := context.Background(); {
	case l.log.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case l.log.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelError
	}
	return kgo.LogLevelNone
}

func (l clientLog) Log(level kgo.LogLevel, message string, keyvals ...any) {
	to := slog.LevelDebug
	if level == kgo.LogLevelError {
		to = slog.LevelWarn
	}
	l.log.Log(context.Background(), to, "kafka client: "+message, keyvals...)
}
