package embedded

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Act is what a [Disturbance] does.
type Act string

// The acts. No record is lost by any. Clients get over each of them, but for those that Truncate finds beyond the logs' ends: they may not go on.
const (
	NotLeader  Act = "not_leader" // requests about partitions are answered that this broker does not lead them
	TimeOut    Act = "timeout"    // requests about partitions are answered that they have timed out; what they were to write is written all the same
	Disconnect Act = "disconnect" // connections break at a request, whatever it is
	Hang       Act = "hang"       // nothing is answered for a while, and then everything
	Elect      Act = "elect"      // every partition has a new leader epoch, once
	Truncate   Act = "truncate"   // every partition has a new leader for a while, who does not know the end of its log
)

// Acts are all acts.
func Acts() []Act { return append(Passing(), Truncate) }

// Passing are the acts that every client gets over.
func Passing() []Act { return []Act{NotLeader, TimeOut, Disconnect, Hang, Elect} }

// UnmarshalText refuses what is not an act.
func (a *Act) UnmarshalText(text []byte) error {
	if *a = Act(text); !slices.Contains(Acts(), *a) {
		return fmt.Errorf("no act %q: want one of %v", text, Acts())
	}
	return nil
}

// Disturbance is something that goes wrong on a broker from the moment that it is asked for. Its JSON form is how a drill hands it to a child process.
type Disturbance struct {
	Act      Act           `json:"act"`
	Requests int           `json:"requests,omitempty"` // how many requests it befalls; 0 is one. Hang, Elect and Truncate befall all
	For      time.Duration `json:"for_ns,omitempty"`   // Hang, Truncate: for how long
	Keep     int           `json:"keep,omitempty"`     // Truncate: how much of each log is left, in percent
}

// partitionRequests are those about partitions, which a broker answers that leads them.
var partitionRequests = []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets, kmsg.OffsetForLeaderEpoch, kmsg.Produce}

// Disturb lets something go wrong. Several disturbances may be under way; each waits for its requests, and ends with the broker.
func (b *Broker) Disturb(d Disturbance) error {
	n := max(1, d.Requests)
	switch d.Act {
	case NotLeader:
		b.fault(d.Act, kfake.Fault{Keys: partitionRequests, Err: kerr.NotLeaderForPartition, Count: n})
	case TimeOut:
		b.fault(d.Act, kfake.Fault{Keys: partitionRequests, Err: kerr.RequestTimedOut, Count: n})
	case Disconnect:
		b.disconnect(n)
	case Hang:
		b.hang(d.For)
	case Elect:
		b.cluster.ShufflePartitionLeaders()
		b.met(d.Act)
	case Truncate:
		b.truncate(d.Keep, d.For)
	default:
		return fmt.Errorf("disturb the embedded Kafka broker: no act %q: want one of %v", d.Act, Acts())
	}
	return nil
}

// DeleteRecords takes the records before an offset away, as retention does: a reader that had not come so far has lost them.
func (b *Broker) DeleteRecords(topic string, partition int32, before int64) error {
	if err := b.cluster.DeleteRecords(topic, partition, before); err != nil {
		return fmt.Errorf("delete records of topic %s, partition %d: %w", topic, partition, err)
	}
	return nil
}

// Disturbed returns how many requests each act has befallen, and how often it has hung and elected leaders.
func (b *Broker) Disturbed() map[Act]int {
	b.disturbed.mu.Lock()
	defer b.disturbed.mu.Unlock()
	counts := map[Act]int{}
	maps.Copy(counts, b.disturbed.counts)
	for act, faults := range b.disturbed.faults {
		for _, f := range faults {
			counts[act] += f.Hits()
		}
	}
	return counts
}

// disturbances is what has gone wrong so far.
type disturbances struct {
	mu     sync.Mutex // guards what follows
	faults map[Act][]*kfake.FaultHandle
	counts map[Act]int // of the acts that are no faults of kfake
	hangs  time.Time   // nothing is answered before
}

var errCut = errors.New("the connection is cut")

// disconnect breaks the connections of the next n requests.
func (b *Broker) disconnect(n int) {
	left := n // used by one request at a time
	b.cluster.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		if left--; left > 0 {
			b.cluster.KeepControl()
		} else {
			b.cluster.DropControl()
		}
		b.met(Disconnect)
		return nil, errCut, true
	})
}

// hang holds all answers for a while. (kfake's own SleepControl holds requests one by one, and races with itself.)
func (b *Broker) hang(d time.Duration) {
	b.met(Hang)
	b.disturbed.mu.Lock()
	defer b.disturbed.mu.Unlock()
	if until := time.Now().Add(d); until.After(b.disturbed.hangs) {
		b.disturbed.hangs = until
	}
}

// fault lets kfake answer with an error.
func (b *Broker) fault(a Act, f kfake.Fault) {
	b.disturbed.mu.Lock()
	defer b.disturbed.mu.Unlock()
	if b.disturbed.faults == nil {
		b.disturbed.faults = map[Act][]*kfake.FaultHandle{}
	}
	b.disturbed.faults[a] = append(b.disturbed.faults[a], b.cluster.Fault(f))
}

// met counts what an act has befallen.
func (b *Broker) met(a Act) {
	b.disturbed.mu.Lock()
	defer b.disturbed.mu.Unlock()
	if b.disturbed.counts == nil {
		b.disturbed.counts = map[Act]int{}
	}
	b.disturbed.counts[a]++
}

// held waits until answers are given, but not beyond the broker's end.
func (b *Broker) held() {
	b.disturbed.mu.Lock()
	d := time.Until(b.disturbed.hangs)
	b.disturbed.mu.Unlock()
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.closing:
	}
}

// listener accepts connections whose answers can be held.
type listener struct {
	net.Listener
	b *Broker
}

// Accept takes a connection.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return conn{c, l.b}, nil
}

type conn struct {
	net.Conn
	b *Broker
}

// Write answers, once answers are given.
func (c conn) Write(p []byte) (int, error) {
	c.b.held()
	return c.Conn.Write(p)
}
