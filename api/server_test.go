package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"highwater/api"
)

// deadline bounds what these tests wait for.
const deadline = 10 * time.Second

// start serves h on a port of its own, and returns its address, what stops it, and what Serve returned.
func start(t *testing.T, h http.Handler, o api.ServerOptions) (addr string, stop func(), done <-chan error) {
	t.Helper()
	l, err := api.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	result := make(chan error, 1)
	go func() { result <- api.NewServer(h, o).Serve(ctx, l) }()
	return l.Addr().String(), cancel, result
}

func wait(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(deadline):
		t.Fatal("the server does not end")
		return nil
	}
}

func TestListen_PortInUse(t *testing.T) {
	l, err := api.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = api.Listen(l.Addr().String())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), l.Addr().String()+": the port is in use") {
		t.Fatalf("error %v, want one that names the port and says that it is in use", err)
	}
}

func TestServer_AnswersABodyThatNeverEnds(t *testing.T) {
	f := newFixture(t)
	addr, _, _ := start(t, f.handler, api.ServerOptions{ReadTimeout: 50 * time.Millisecond})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	fmt.Fprintf(conn, "POST /v1/features HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"feature_")
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer r.Body.Close()
	if r.Header.Get("Content-Type") != "application/problem+json" || !r.Close {
		t.Fatalf("%v, want a problem and the end of the connection", r.Header)
	}
	wantStatus(t, r, http.StatusRequestTimeout, "did not arrive in time")
}

func TestServer_AnswersABodyCutShort(t *testing.T) {
	f := newFixture(t)
	addr, _, _ := start(t, f.handler, api.ServerOptions{})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	fmt.Fprintf(conn, "POST /v1/features HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"feature_")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer r.Body.Close()
	wantStatus(t, r, http.StatusBadRequest, "ended before its length")
}

func TestServer_HeadHasNoBody(t *testing.T) {
	addr, _, _ := start(t, newFixture(t).handler, api.ServerOptions{})
	r, err := http.Head("http://" + addr + "/v1/features/user_clicks/u1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK || len(body) > 0 || r.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, %d bytes, %v; want GET's header alone", r.StatusCode, len(body), r.Header)
	}
}

// gate holds requests back until it is opened, or the request's context ends.
type gate struct{ entered, open chan struct{} }

func (g gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.entered <- struct{}{}
	select {
	case <-g.open:
		_, _ = io.WriteString(w, "finished")
	case <-r.Context().Done():
	}
}

// ask sends one request, and returns what came back, or why nothing did.
func ask(addr string) <-chan string {
	answer := make(chan string, 1)
	go func() {
		r, err := http.Get("http://" + addr + "/")
		if err != nil {
			answer <- "error: " + err.Error()
			return
		}
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		answer <- string(body)
	}()
	return answer
}

func TestServer_FinishesWhatIsUnderWay(t *testing.T) {
	g := gate{make(chan struct{}), make(chan struct{})}
	addr, stop, done := start(t, g, api.ServerOptions{})
	answer := ask(addr)
	<-g.entered
	stop()
	for { // it takes no more
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		conn.Close()
	}
	close(g.open)
	if got := <-answer; got != "finished" {
		t.Fatalf("the request that was under way got %q", got)
	}
	if err := wait(t, done); err != nil {
		t.Fatalf("Serve returned %v, want nil", err)
	}
}

func TestServer_CutsOffWhatDoesNotFinish(t *testing.T) {
	g := gate{make(chan struct{}), make(chan struct{})}
	addr, stop, done := start(t, g, api.ServerOptions{Grace: time.Millisecond})
	answer := ask(addr)
	<-g.entered
	stop()
	if err := wait(t, done); err == nil || !strings.Contains(err.Error(), "cut off after 1ms") {
		t.Fatalf("Serve returned %v, want that requests were cut off", err)
	}
	if got := <-answer; !strings.HasPrefix(got, "error: ") {
		t.Fatalf("the request that was cut off got %q", got)
	}
}

func TestServer_ReturnsAListenersError(t *testing.T) {
	l, err := api.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := api.NewServer(http.NotFoundHandler(), api.ServerOptions{}).Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "serve http on") {
		t.Fatalf("Serve returned %v, want the listener's error", err)
	}
}
