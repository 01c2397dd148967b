package redistest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// Cut is the moment at which a [Proxy] breaks a connection.
type Cut int

// The moments.
const (
	CutBefore Cut = iota + 1 // the request does not reach the server
	CutAfter                 // the server has carried the request out; its answer does not reach the client
)

// Proxy stands before a server and passes everything on, until it is told to cut a connection. It ends with the test.
type Proxy struct {
	Addr string // host:port to connect to

	server   string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]bool
	armed Cut    // 0 for none
	match []byte // upper case: what the request to cut contains
	cuts  int
	done  bool
}

// NewProxy starts a proxy before the server at that address.
func NewProxy(tb testing.TB, server string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("start a proxy: %v", err)
	}
	p := &Proxy{Addr: l.Addr().String(), server: server, listener: l, conns: map[net.Conn]bool{}}
	p.running.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// CutNext breaks the connection of the next request that contains text, whatever its case ("evalsha"), at that moment; requests after it pass.
func (p *Proxy) CutNext(at Cut, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.match = at, bytes.ToUpper([]byte(text))
}

// Cuts returns how many connections have been broken.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.done = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil || !p.keep(client, server) {
			_ = client.Close()
			if server != nil {
				_ = server.Close()
			}
			continue
		}
		c := &conn{proxy: p, client: client, server: server}
		p.running.Go(func() { c.pass(server, client, c.request) })
		p.running.Go(func() { c.pass(client, server, c.answer) })
	}
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	return !p.done
}

// take reports what is to be done about a request, once.
func (p *Proxy) take(request []byte) Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.armed == 0 || !bytes.Contains(bytes.ToUpper(request), p.match) {
		return 0
	}
	at := p.armed
	p.armed = 0
	p.cuts++
	return at
}

// conn is one connection that is passed on.
type conn struct {
	proxy          *Proxy
	client, server net.Conn

	mu     sync.Mutex // guards doomed
	doomed bool       // the next answer is not passed on
}

// pass copies from one side to the other as long as each chunk may pass, and then breaks both.
func (c *conn) pass(to io.Writer, from io.Reader, may func(chunk []byte) bool) {
	defer c.client.Close()
	defer c.server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !may(buf[:n]) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *conn) request(chunk []byte) bool {
	switch c.proxy.take(chunk) {
	case CutBefore:
		return false
	case CutAfter:
		c.mu.Lock()
		c.doomed = true
		c.mu.Unlock()
	}
	return true
}

func (c *conn) answer([]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.doomed
}
