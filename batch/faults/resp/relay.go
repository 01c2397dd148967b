package resp

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// Relay passes connections on to one server, and faults come in between. Make it with [Start]; Close ends it. Safe for concurrent use.
type Relay struct {
	upstream string
	listener net.Listener
	running  sync.WaitGroup
	closing  chan struct{} // closed by Close

	mu     sync.Mutex // guards what follows
	links  map[*link]bool
	faults []*armed
	struck map[Act]int
	shut   time.Time // no connection is taken before
	closed bool
}

// Start listens on a free port of loopback, before the server at upstream (HOST:PORT), which need not run yet.
func Start(upstream string) (*Relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a relay before %s: %w", upstream, err)
	}
	r := &Relay{upstream: upstream, listener: listener, closing: make(chan struct{}), links: map[*link]bool{}, struck: map[Act]int{}}
	r.running.Go(r.accept)
	return r, nil
}

// Addr is the HOST:PORT to connect to.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Close breaks all connections and returns when nothing of the relay runs any more.
func (r *Relay) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.closing)
	r.cut()
	r.mu.Unlock()
	err := r.listener.Close()
	r.running.Wait()
	return err
}

// Inject arms a fault. Faults do not disturb each other's counting; a request is struck by one of them, the one that was injected first.
func (r *Relay) Inject(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &armed{Fault: f}
	if f.Nth == 0 {
		if a.begun = time.Now(); f.Act == Cut {
			r.carryOut(a)
			return
		}
	}
	r.faults = append(r.faults, a)
}

// Clear takes back all faults that are not over.
func (r *Relay) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults, r.shut = nil, time.Time{}
}

// Struck returns how often each act was carried out: requests refused, delayed or dropped, and cuts.
func (r *Relay) Struck() map[Act]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.struck)
}

// Pending returns how many faults wait for their call, or go on.
func (r *Relay) Pending() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(time.Now())
	return len(r.faults)
}

// expire takes off the faults that have gone on for long enough. r.mu is held.
func (r *Relay) expire(now time.Time) {
	r.faults = slices.DeleteFunc(r.faults, func(a *armed) bool { return a.expired(now) })
}

// judge says what happens to a request. A cut has happened when it returns.
func (r *Relay) judge(words []string) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.expire(now)
	for _, a := range r.faults {
		a.count(words, now)
	}
	for i, a := range r.faults {
		v, struck := a.strike(words)
		if !struck {
			continue
		}
		if r.carryOut(a); a.over() {
			r.faults = slices.Delete(r.faults, i, i+1)
		}
		return v
	}
	return verdict{}
}

// carryOut counts an act, and cuts. r.mu is held.
func (r *Relay) carryOut(a *armed) {
	r.struck[a.Act]++
	a.done++
	if a.Act == Cut {
		r.shut = time.Now().Add(a.For)
		r.cut()
	}
}

// cut breaks all connections. r.mu is held.
func (r *Relay) cut() {
	for l := range r.links {
		l.close()
	}
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.pass(client) })
	}
}

// pass runs one connection to its end.
func (r *Relay) pass(client net.Conn) {
	if !r.open() {
		_ = client.Close()
		return
	}
	server, err := net.DialTimeout("tcp", r.upstream, 5*time.Second)
	if err != nil {
		_ = client.Close()
		return
	}
	l := newLink(r, client, server)
	defer l.close()
	r.mu.Lock()
	if r.closed || time.Now().Before(r.shut) {
		r.mu.Unlock()
		return
	}
	r.links[l] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.links, l)
		r.mu.Unlock()
	}()
	var both sync.WaitGroup
	both.Go(l.requests)
	both.Go(l.answers)
	both.Wait()
}

// open reports whether connections are taken.
func (r *Relay) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closed && !time.Now().Before(r.shut)
}
