// Package embedded runs a Kafka broker inside the process, for `dev`, demos and tests on one machine: nothing to install, and the data directory is all there is.
//
// It is franz-go's kfake: one broker, no replication, no retention. What a producer was told is acknowledged has been written to the operating system: it survives the process's death at any moment (kill -9), but a
// machine's crash may take the newest records, as with Kafka itself. It is not for production.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

const (
	lockFile        = "LOCK"
	dataSubdir      = "broker"
	maxMessageBytes = "67108864" // a record may be as large as max_record_bytes says
)

// Options say what the broker keeps, and where.
type Options struct {
	// DataDir is the directory that topics and their records live in; it is created where it does not exist, and one process at a time has it. "" keeps all in memory, until Close.
	DataDir string

	// Topics are to exist, by name with their number of partitions (at least 1). One that exists with another number is an error: its records would stay where they are, away from new records of the same keys.
	Topics map[string]int

	// Listen is the address to listen on; "" means 127.0.0.1 and a free port. Clients are sent back to it, so it must be one that they reach.
	Listen string

	Log *slog.Logger // nil for none
}

// Broker is a running broker; make it with [Start]. Safe for concurrent use.
type Broker struct {
	cluster *kfake.Cluster
	addrs   []string
	topics  []string      // that it was started with, in order
	lock    *os.File      // nil in memory
	closing chan struct{} // closed by Close

	disturbed disturbances
}

// Start starts a broker with what the directory holds. The caller must Close it.
func Start(o Options) (*Broker, error) {
	b := &Broker{topics: slices.Sorted(maps.Keys(o.Topics)), closing: make(chan struct{})}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			l, err := o.listen(network)
			return listener{l, b}, err
		}),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": maxMessageBytes}),
	}
	if o.Log != nil {
		opts = append(opts, kfake.WithLogger(brokerLog{o.Log}))
	}
	if o.DataDir != "" {
		var err error
		if b.lock, err = lock(o.DataDir); err != nil {
			return nil, err
		}
		opts = append(opts, kfake.DataDir(filepath.Join(o.DataDir, dataSubdir)))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the embedded Kafka broker: %w", err), b.unlock())
	}
	b.cluster, b.addrs = cluster, cluster.ListenAddrs()
	if err := errors.Join(b.create(o), b.endHanging(o.Topics)); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (o Options) listen(network string) (net.Listener, error) {
	if o.Listen == "" {
		return net.Listen(network, "127.0.0.1:0")
	}
	return net.Listen(network, o.Listen)
}

// create makes the topics that do not exist, and checks those that do.
func (b *Broker) create(o Options) error {
	for _, name := range b.topics {
		want := o.Topics[name]
		if want < 1 {
			return fmt.Errorf("topic %s: %d partitions, want at least 1", name, want)
		}
		switch have := len(b.cluster.PartitionInfos(name)); have {
		case want:
		case 0:
			// Loaded events carry their own times: a broker that deletes what is a week old would delete them.
			if err := b.cluster.CreateTopic(name, int32(want), map[string]string{"retention.ms": "-1"}); err != nil {
				return fmt.Errorf("create topic %s: %w", name, err)
			}
		default:
			return fmt.Errorf("topic %s in %s has %d partitions, not %d, and a topic cannot change that without parting a key's records: start with %d, or with another data directory", name, o.DataDir, have, want, have)
		}
	}
	return nil
}

// Addrs returns the HOST:PORTs that clients start from.
func (b *Broker) Addrs() []string { return slices.Clone(b.addrs) }

// Close stops the broker and lets the directory go. It must be called once.
func (b *Broker) Close() error {
	close(b.closing)
	b.cluster.Close()
	return b.unlock()
}

// lock takes the directory for this process: two brokers would open it without a word, and ruin it.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the embedded broker's directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the embedded broker's directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another process has it: stop that one, or use another data directory")
		}
		return nil, errors.Join(fmt.Errorf("lock the embedded broker's directory %s: %w", dir, err), f.Close())
	}
	return f, nil
}

func (b *Broker) unlock() error {
	if b.lock == nil {
		return nil
	}
	return b.lock.Close() // the lock goes with the file, also when the process dies
}
