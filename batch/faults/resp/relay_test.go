package resp_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"highwater/batch/faults/resp"
	embeddedredis "highwater/store/online/embedded"
	"highwater/testutil/redistest"

	"github.com/redis/go-redis/v9"
)

// world is a client, the relay that it talks to, and the Redis behind it.
func world(t *testing.T) (*redis.Client, *resp.Relay, *embeddedredis.Redis) {
	t.Helper()
	server := redistest.Embedded(t, nil)
	relay := redistest.Relay(t, server.Addr())
	c := redis.NewClient(&redis.Options{Addr: relay.Addr(), DisableIdentity: true, MaxRetries: -1, PoolSize: 1})
	t.Cleanup(func() { _ = c.Close() })
	if err := c.ScriptLoad(t.Context(), count).Err(); err != nil {
		t.Fatal(err)
	}
	return c, relay, server
}

// count is a script that shows whether a call was applied.
const count = "return redis.call('INCR', KEYS[1])"

var countScript = redis.NewScript(count)

func call(t *testing.T, c *redis.Client) error {
	t.Helper()
	return c.EvalSha(t.Context(), countScript.Hash(), []string{"n"}).Err()
}

func dial(t *testing.T, relay *resp.Relay) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", relay.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func expectCount(t *testing.T, m *embeddedredis.Redis, want string) {
	t.Helper()
	if got, _ := m.Get("n"); got != want {
		t.Errorf("the server has counted %q calls, want %q", got, want)
	}
}

func TestRelay_DropsTheNthCall(t *testing.T) {
	for _, c := range []struct {
		act     resp.Act
		applied string
	}{{resp.DropBefore, "2"}, {resp.DropAfter, "3"}} {
		client, relay, server := world(t)
		relay.Inject(resp.Fault{Act: c.act, Nth: 3})
		for i := range 2 {
			if err := call(t, client); err != nil {
				t.Fatalf("%s: call %d: %v", c.act, i+1, err)
			}
		}
		if err := client.Set(t.Context(), "other", "x", 0).Err(); err != nil {
			t.Errorf("%s: what is no script call: %v", c.act, err)
		}
		if err := call(t, client); err == nil {
			t.Errorf("%s: the third call came through", c.act)
		}
		expectCount(t, server, c.applied)
		if err := call(t, client); err != nil {
			t.Errorf("%s: after it: %v", c.act, err)
		}
		if got := relay.Struck(); got[c.act] != 1 || relay.Pending() != 0 {
			t.Errorf("%s: struck %v, %d pending", c.act, got, relay.Pending())
		}
	}
}

// A drop within a pipeline: what was asked before it is answered, and what comes behind it is never seen by the server.
func TestRelay_DropsWithinAPipeline(t *testing.T) {
	for _, c := range []struct {
		act     resp.Act
		applied string
	}{{resp.DropBefore, "2"}, {resp.DropAfter, "3"}} {
		_, relay, server := world(t)
		relay.Inject(resp.Fault{Act: c.act, Nth: 3})
		conn := dial(t, relay)
		request := fmt.Sprintf("*4\r\n$7\r\nevalsha\r\n$40\r\n%s\r\n$1\r\n1\r\n$1\r\nn\r\n", countScript.Hash())
		if _, err := conn.Write([]byte(strings.Repeat(request, 5))); err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(conn); string(got) != ":1\r\n:2\r\n" { // a reset may stand in the place of the end
			t.Errorf("%s: the client has %q, want the first two answers", c.act, got)
		}
		expectCount(t, server, c.applied)
	}
}

// LOADING and READONLY within a pipeline are answered in the place of the calls that they strike.
func TestRelay_AnswersInTheServersPlace(t *testing.T) {
	for _, c := range []struct {
		act   resp.Act
		words string
	}{{resp.Loading, "LOADING "}, {resp.ReadOnly, "READONLY "}} {
		client, relay, server := world(t)
		relay.Inject(resp.Fault{Act: c.act, Nth: 2, Calls: 2})
		pipe := client.Pipeline()
		for range 5 {
			pipe.EvalSha(t.Context(), countScript.Hash(), []string{"n"})
			pipe.Info(t.Context()) // which a server answers in either state
		}
		replies, _ := pipe.Exec(t.Context())
		for i, reply := range replies {
			if refused := i == 2 || i == 4; refused != (reply.Err() != nil) || refused && !strings.HasPrefix(reply.Err().Error(), c.words) {
				t.Errorf("%s: answer %d: %v", c.act, i, reply.Err())
			}
		}
		expectCount(t, server, "3")
	}
}

func TestRelay_ReadsPassAReplica(t *testing.T) {
	client, relay, _ := world(t)
	relay.Inject(resp.Fault{Act: resp.ReadOnly, For: time.Hour})
	for range 3 {
		if err := call(t, client); err == nil || !strings.HasPrefix(err.Error(), "READONLY") {
			t.Errorf("a write: %v", err)
		}
		if err := client.Get(t.Context(), "n").Err(); err != redis.Nil {
			t.Errorf("a read: %v", err)
		}
	}
	relay.Clear()
	if err := call(t, client); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// For a while: the end of it is waited for, not slept through.
func TestRelay_EndsAfterAWhile(t *testing.T) {
	client, relay, server := world(t)
	relay.Inject(resp.Fault{Act: resp.Loading, For: 50 * time.Millisecond})
	if err := call(t, client); err == nil {
		t.Error("a call came through at once")
	}
	redistest.Eventually(t, "the server to have loaded", func() error { return call(t, client) })
	if relay.Pending() != 0 {
		t.Error("the fault goes on")
	}
	expectCount(t, server, "1")
}

func TestRelay_Delays(t *testing.T) {
	client, relay, server := world(t)
	const hold = 60 * time.Millisecond
	relay.Inject(resp.Fault{Act: resp.Delay, Calls: 1, For: hold})
	start := time.Now()
	if err := call(t, client); err != nil || time.Since(start) < hold {
		t.Errorf("a call that was held: %v after %v", err, time.Since(start))
	}
	expectCount(t, server, "1")
}

func TestRelay_CutsAll(t *testing.T) {
	client, relay, server := world(t)
	idle := dial(t, relay)
	if _, err := idle.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(idle)
	if line, err := lines.ReadString('\n'); line != "+PONG\r\n" {
		t.Fatalf("PING: %q, %v", line, err)
	}
	relay.Inject(resp.Fault{Act: resp.Cut, For: time.Hour})
	if _, err := lines.ReadByte(); err == nil {
		t.Error("a connection that idles was not cut")
	}
	for range 2 {
		if err := call(t, client); err == nil {
			t.Error("a call came through while all is cut")
		}
	}
	relay.Clear()
	redistest.Eventually(t, "connections to be taken again", func() error { return call(t, client) })
	expectCount(t, server, "1")
}

// What passes, passes byte for byte, whatever its type and size, in both protocols, and many connections at a time.
func TestRelay_PassesEverything(t *testing.T) {
	server := redistest.Embedded(t, nil)
	relay := redistest.Relay(t, server.Addr())
	big := strings.Repeat("\r\n$5\x00é", 300_000)
	var clients sync.WaitGroup
	for n := range 6 {
		clients.Go(func() {
			c := redis.NewClient(&redis.Options{Addr: relay.Addr(), DisableIdentity: true, MaxRetries: -1, Protocol: 2 + n%2})
			defer c.Close()
			key := fmt.Sprint("k", n)
			pipe := c.Pipeline()
			pipe.Set(t.Context(), key, big, 0)
			pipe.HSet(t.Context(), key+"h", "a", "", "b", "2")
			get, none, hash := pipe.Get(t.Context(), key), pipe.Get(t.Context(), "none"), pipe.HGetAll(t.Context(), key+"h")
			list := pipe.MGet(t.Context(), "none", key, "")
			wrong := pipe.LPop(t.Context(), key)
			if _, err := pipe.Exec(t.Context()); err != nil && err != redis.Nil && !strings.HasPrefix(err.Error(), "WRONGTYPE") {
				t.Error(err)
			}
			if get.Val() != big || none.Err() != redis.Nil || !reflect.DeepEqual(hash.Val(), map[string]string{"a": "", "b": "2"}) || !reflect.DeepEqual(list.Val(), []any{nil, big, nil}) || !strings.HasPrefix(wrong.Err().Error(), "WRONGTYPE") {
				t.Errorf("client %d: %d bytes, %v, %v, %v", n, len(get.Val()), none.Err(), hash.Val(), wrong.Err())
			}
		})
	}
	clients.Wait()
}

func TestRelay_ServerThatIsAway(t *testing.T) {
	client, relay, server := world(t)
	addr := server.Addr()
	server.Close()
	if err := call(t, client); err == nil {
		t.Error("a call came through to a server that is away")
	}
	if err := server.Start(addr); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the server", func() error { return client.Ping(t.Context()).Err() })
	if err := relay.Close(); err != nil {
		t.Error(err)
	}
	if err := call(t, client); err == nil {
		t.Error("a call came through a relay that is closed")
	}
}

func TestDraw_IsSeededAndTravels(t *testing.T) {
	draw := func() []resp.Fault { return resp.Draw(rand.New(rand.NewPCG(1, 7)), 200, 40, time.Second) }
	faults := draw()
	if !reflect.DeepEqual(faults, draw()) {
		t.Error("the same seed draws other faults")
	}
	text, err := json.Marshal(faults)
	if err != nil {
		t.Fatal(err)
	}
	var back []resp.Fault
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(faults, back) {
		t.Errorf("%v: %s", err, text)
	}
	drawn := map[resp.Act]bool{}
	for _, f := range faults {
		drawn[f.Act] = true
		if f.Nth < 1 || f.Nth > 40 || f.For > time.Second {
			t.Errorf("drew %+v", f)
		}
	}
	for _, act := range resp.Acts() {
		if !drawn[act] {
			t.Errorf("%s is never drawn", act)
		}
	}
}
