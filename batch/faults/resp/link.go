package resp

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// link is one connection that is passed on. Requests and answers run beside each other, as pipelines need; owed keeps the answers in the requests' order, whoever gives them.
type link struct {
	relay          *Relay
	client, server net.Conn
	once           sync.Once
	gone           chan struct{} // closed by close

	mu   sync.Mutex // guards owed, and writing to the client what the server has not answered
	owed []owed
}

// owed is an answer that the client waits for.
type owed struct {
	own  string // what the relay answers; "" where the server does
	drop bool   // the connection breaks in its place: at once, or, where asked, when the server's answer is here
	sent bool   // the server has been asked
}

func newLink(r *Relay, client, server net.Conn) *link {
	return &link{relay: r, client: client, server: server, gone: make(chan struct{})}
}

// close breaks both sides.
func (l *link) close() {
	l.once.Do(func() {
		close(l.gone)
		_ = l.client.Close()
		_ = l.server.Close()
	})
}

// requests passes requests on until either side ends, or one of them is struck by a drop: what comes behind it the server never sees.
func (l *link) requests() {
	from := bufio.NewReaderSize(l.client, 64<<10)
	var raw []byte
	for {
		var words []string
		var err error
		if raw, words, err = readRequest(from, raw[:0]); err != nil {
			l.close()
			return
		}
		v := l.relay.judge(words)
		if v.wait > 0 && !l.hold(v.wait) {
			return
		}
		drop := v.act == DropBefore || v.act == DropAfter
		o := owed{own: v.answer, drop: drop, sent: v.answer == "" && v.act != DropBefore}
		if !l.owe(o) {
			return
		}
		if o.sent {
			if _, err := l.server.Write(raw); err != nil {
				l.close()
				return
			}
		}
		if drop {
			return
		}
	}
}

// hold waits; false where the link is broken before.
func (l *link) hold(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.gone:
		return false
	case <-l.relay.closing:
		return false
	}
}

// owe puts an answer behind those that are owed.
func (l *link) owe(o owed) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed = append(l.owed, o)
	return l.settle()
}

// settle gives the answers that need no server, as far as it is their turn; false where the link has ended. l.mu is held.
func (l *link) settle() bool {
	for len(l.owed) > 0 && !l.owed[0].sent {
		o := l.owed[0]
		l.owed = l.owed[1:]
		if o.drop {
			l.close()
			return false
		}
		if _, err := l.client.Write([]byte(o.own)); err != nil {
			l.close()
			return false
		}
	}
	return true
}

// answers passes answers on until either side ends.
func (l *link) answers() {
	defer l.close()
	from := bufio.NewReaderSize(l.server, 64<<10)
	var raw []byte
	for {
		var err error
		if raw, err = readAnswer(from, raw[:0]); err != nil {
			return
		}
		push := raw[0] == '>' // nobody has asked for it
		if !push && l.dropsNext() {
			return
		}
		if _, err := l.client.Write(raw); err != nil {
			return
		}
		if !push && !l.answered() {
			return
		}
	}
}

// dropsNext reports whether the connection breaks in the place of the answer that the server has just given.
func (l *link) dropsNext() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.owed) > 0 && l.owed[0].drop
}

// answered takes off the answer that the client has just been given, and gives those behind it that need no server.
func (l *link) answered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.owed) > 0 {
		l.owed = l.owed[1:]
	}
	return l.settle()
}
