package kafka_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"highwater/batch/kafka"
	"highwater/testutil/kafkatest"
)

// A load whose broker is killed with -9 leaves every row once, wherever in its protocol that happens, and whether or not the broker had carried out what it did not live to confirm.
//
// The rows are of long ago, as those of the examples are: a broker that starts again forgets an idempotent producer whose newest record is more than a day old (producer.id.expiration.ms goes by the records' own times), and takes a
// batch that is sent again for a new one.
func TestLoad_BrokerKilled(t *testing.T) {
	broker := kafkatest.Start(t)
	c := realBroker{broker}
	for _, moment := range []struct {
		key     kmsg.Key
		nth     int
		carried bool
	}{
		{kmsg.Produce, 1, true},
		{kmsg.Produce, 3, true},
		{kmsg.Produce, 2, false},
		{kmsg.InitProducerID, 1, true},
		{kmsg.EndTxn, 1, true},
		{kmsg.EndTxn, 2, true},
		{kmsg.EndTxn, 2, false},
		{kmsg.EndTxn, 3, true},
	} {
		t.Run(fmt.Sprintf("%s %d carried out %v", moment.key.Name(), moment.nth, moment.carried), func(t *testing.T) {
			const n = 3000
			topic := newTopic(t, c, 3, map[string]string{"max.message.bytes": "16777216"})
			killer := &killer{key: moment.key, nth: moment.nth, carried: moment.carried, kill: func() error { return errors.Join(broker.Kill(), broker.Start()) }}
			o := loadOptions(c, topic)
			o.Dialer = killer.dial
			_, err := kafka.Load(within(t), o, rows(n), nil)
			must(t, err)
			if !killer.struck() {
				t.Skipf("the load sends no such request")
			}
			inOrder(t, byPartition(t, c, topic, n), n)
		})
	}
}

// inOrder wants every one of n rows once, those of a partition in their order.
func inOrder(t *testing.T, partitions map[int32][]string, n int) {
	t.Helper()
	seen := map[int]bool{}
	for p, values := range partitions {
		last := -1
		for _, v := range values {
			var row int
			if _, err := fmt.Sscanf(strings.TrimRight(v, "\x00"), "row %d", &row); err != nil || row <= last {
				t.Fatalf("partition %d has row %d after row %d (%v)", p, row, last, err)
			}
			last, seen[row] = row, true
		}
	}
	if len(seen) != n {
		t.Fatalf("the topic has %d rows, want %d", len(seen), n)
	}
}

// killer is a network on which a broker dies at the nth request of a kind: before the request reaches it, or once it has carried the request out and before its answer is heard.
type killer struct {
	key     kmsg.Key
	nth     int
	carried bool
	kill    func() error

	mu   sync.Mutex // guards what follows
	seen int
	done bool
}

func (k *killer) struck() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.done
}

func (k *killer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &killerConn{Conn: conn, killer: k}, err
}

// strikes reports whether this request is the one.
func (k *killer) strikes(request []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.done || len(request) < 6 || kmsg.Key(binary.BigEndian.Uint16(request[4:])) != k.key {
		return false
	}
	k.seen++
	k.done = k.seen == k.nth
	return k.done
}

type killerConn struct {
	net.Conn
	killer *killer

	mu    sync.Mutex // guards dying
	dying bool       // the next answer is not heard
}

func (c *killerConn) Write(p []byte) (int, error) {
	if c.killer.strikes(p) {
		if !c.killer.carried {
			return 0, errors.Join(net.ErrClosed, c.killer.kill())
		}
		c.mu.Lock()
		c.dying = true
		c.mu.Unlock()
	}
	return c.Conn.Write(p)
}

func (c *killerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dying {
		c.dying = false
		return 0, errors.Join(net.ErrClosed, c.killer.kill())
	}
	return n, err
}
