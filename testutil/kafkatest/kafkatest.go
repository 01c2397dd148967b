// Package kafkatest runs a real Apache Kafka broker for integration tests: one node (KRaft), in its own Java process, on loopback.
//
// It needs java and, the first time, mvn, which fetches the broker's jars (54 MB) into .cache/kafka at the repository's root; HIGHWATER_KAFKA_CACHE names another directory.
// Tests that need it run when HIGHWATER_INTEGRATION is 1, and are skipped, saying so, otherwise. A broker takes about three seconds to start and half a gigabyte of memory: share one between the subtests of a test, with topics of their own.
package kafkatest

import (
	"context"
	"crypto/rand"
	_ "embed" // the broker's settings
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/testutil/ports"
)

const (
	integrationVariable = "HIGHWATER_INTEGRATION"
	startTimeout        = time.Minute
	stopTimeout         = 30 * time.Second
)

//go:embed broker.properties
var brokerProperties string // immutable

// Broker is a broker that a test started. It is not safe for concurrent use.
type Broker struct {
	dir     string // of its properties, data and log
	jars    string // a class path
	addr    string
	process *exec.Cmd // nil while stopped
	guard   *exec.Cmd // ends the broker when this process dies
	leash   io.Closer // what the guard waits for
	exited  chan error
}

// Start starts a broker with an empty log, which ends with the test. It skips the test unless HIGHWATER_INTEGRATION is 1, and fails it when the broker cannot start.
func Start(t testing.TB) *Broker {
	t.Helper()
	skipUnlessIntegration(t)
	b, err := New(t.TempDir())
	if err != nil {
		t.Fatalf("start a Kafka broker: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("stop the Kafka broker: %v", err)
		}
	})
	return b
}

func skipUnlessIntegration(t testing.TB) {
	t.Helper()
	if os.Getenv(integrationVariable) != "1" {
		t.Skipf("needs a real Kafka broker: set %s=1 to run it (make integration)", integrationVariable)
	}
}

// New starts a broker that keeps its log in dir, an empty directory, for tests that share one beyond a test. The caller must Close it.
func New(dir string) (*Broker, error) {
	jars, err := fetchJars()
	if err != nil {
		return nil, fmt.Errorf("fetch the broker: %w", err)
	}
	b := &Broker{dir: dir, jars: filepath.Join(jars, "*")}
	if err := b.format(); err != nil {
		return nil, err
	}
	if err := b.Start(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Addr is the broker's HOST:PORT, the same whenever it runs.
func (b *Broker) Addr() string { return b.addr }

// format writes the broker's settings, on free ports, and makes its storage. more is further settings, and what is to be filled in there.
func (b *Broker) format(more ...string) error {
	free, err := freePorts(2)
	if err != nil {
		return err
	}
	b.addr = net.JoinHostPort("127.0.0.1", free[0])
	settings, fill := brokerProperties, []string{"${PORT}", free[0], "${CONTROLLER}", free[1], "${DATA}", filepath.Join(b.dir, "data")}
	if len(more) > 0 {
		settings, fill = settings+more[0], append(fill, more[1:]...) // of a setting that is there twice the last one counts
	}
	settings = strings.NewReplacer(fill...).Replace(settings)
	if err := os.WriteFile(b.path("broker.properties"), []byte(settings), 0o644); err != nil {
		return err
	}
	id := make([]byte, 16)
	rand.Read(id)
	out, err := b.java("kafka.tools.StorageTool", "format", "--cluster-id="+base64.RawURLEncoding.EncodeToString(id), "-c", b.path("broker.properties")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format the broker's storage: %w\n%s", err, out)
	}
	return nil
}

func (b *Broker) path(name string) string { return filepath.Join(b.dir, name) }

func (b *Broker) java(class string, args ...string) *exec.Cmd {
	// The quick compiler and the plain collector halve the time to start.
	return exec.Command("java", append([]string{"-Xmx640m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", b.jars, class}, args...)...)
}

// Start starts a stopped broker on the log that it has, and returns when it answers.
func (b *Broker) Start() error {
	log, err := os.OpenFile(b.path("broker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	process := b.java("kafka.Kafka", b.path("broker.properties"))
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return err
	}
	b.process, b.exited = process, make(chan error, 1)
	go func() { b.exited <- process.Wait() }()
	if err := b.watchOver(); err != nil {
		return err
	}
	return b.answers()
}

// watchOver starts a shell that kills the broker when its input ends: a test binary that is killed takes its broker with it.
func (b *Broker) watchOver() (err error) {
	b.guard = exec.Command("sh", "-c", `cat > /dev/null; kill -9 "$1"`, "guard", strconv.Itoa(b.process.Process.Pid))
	if b.leash, err = b.guard.StdinPipe(); err != nil {
		return err
	}
	return b.guard.Start()
}

// answers waits until the broker does.
func (b *Broker) answers() error {
	client, err := b.Client()
	if err != nil {
		return err
	}
	defer client.Close()
	deadline := time.After(startTimeout)
	for {
		if err = b.ping(client); err == nil {
			return nil
		}
		select {
		case exit := <-b.exited:
			b.exited <- exit
			return fmt.Errorf("the broker ended (%w):\n%s", exit, b.tail())
		case <-deadline:
			return fmt.Errorf("the broker does not answer within %v (%w):\n%s", startTimeout, err, b.tail())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (b *Broker) ping(client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return client.Ping(ctx)
}

// tail is the end of the broker's log.
func (b *Broker) tail() []byte {
	log, _ := os.ReadFile(b.path("broker.log"))
	return log[max(0, len(log)-4000):]
}

// Stop shuts the broker down in order; its log stays.
func (b *Broker) Stop() error { return b.end(syscall.SIGTERM) }

// Kill ends the broker as kill -9 does; what its log had is what the next Start finds.
func (b *Broker) Kill() error { return b.end(os.Kill) }

// Close ends the broker for good. Closing a stopped broker does nothing.
func (b *Broker) Close() error { return b.Kill() }

func (b *Broker) end(signal os.Signal) error {
	if b.process == nil {
		return nil
	}
	err := b.process.Process.Signal(signal)
	select {
	case <-b.exited:
	case <-time.After(stopTimeout):
		err = errors.Join(err, fmt.Errorf("the broker did not end within %v; killed", stopTimeout), b.process.Process.Kill())
		<-b.exited
	}
	b.process = nil
	// The guard goes before its leash does: by then the process number may be somebody else's.
	if b.guard != nil && b.guard.Process != nil {
		err = errors.Join(err, b.guard.Process.Kill())
		_ = b.guard.Wait() // it was killed, and says so
		_ = b.leash.Close()
	}
	return err
}

// Client returns a client of the broker.
func (b *Broker) Client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.addr), kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
}

// admin runs one request.
func (b *Broker) admin(do func(ctx context.Context, admin *kadm.Client) error) error {
	client, err := b.Client()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return do(ctx, kadm.NewClient(client))
}

// CreateTopic creates a topic with settings of its own, nil for none.
func (b *Broker) CreateTopic(name string, partitions int, settings map[string]string) error {
	configs := map[string]*string{}
	for k, v := range settings {
		configs[k] = &v
	}
	return b.admin(func(ctx context.Context, admin *kadm.Client) error {
		_, err := admin.CreateTopic(ctx, int32(partitions), 1, configs, name)
		return err
	})
}

// AddPartitions adds partitions to a topic.
func (b *Broker) AddPartitions(name string, more int) error {
	return b.admin(func(ctx context.Context, admin *kadm.Client) error {
		grown, err := admin.CreatePartitions(ctx, more, name)
		if err == nil {
			err = grown.Error()
		}
		return err
	})
}

// DeleteTopic deletes a topic.
func (b *Broker) DeleteTopic(name string) error {
	return b.admin(func(ctx context.Context, admin *kadm.Client) error {
		_, err := admin.DeleteTopic(ctx, name)
		return err
	})
}

// DeleteRecords moves the start of a partition's log up to an offset, as retention does.
func (b *Broker) DeleteRecords(topic string, partition int32, before int64) error {
	return b.admin(func(ctx context.Context, admin *kadm.Client) error {
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, partition, before, -1)
		deleted, err := admin.DeleteRecords(ctx, offsets)
		if err == nil {
			err = deleted.Error()
		}
		return err
	})
}

// freePorts returns ports of loopback that nobody listens on.
func freePorts(n int) ([]string, error) {
	var free []string
	for range n {
		addr, err := ports.Free()
		if err != nil {
			return nil, err
		}
		free = append(free, strings.TrimPrefix(addr, "127.0.0.1:"))
	}
	return free, nil
}
