package online

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"highwater/batch"

	"github.com/redis/go-redis/v9"
)

var errClosed = batch.Permanent(errors.New("online store: used after Close"))

// answer is what an error answer of Redis means to us.
type answer struct {
	code      string // how the answer begins
	permanent bool   // retrying cannot mend it
	advice    string
}

// answers are the error answers that we can say more about. What is not here is retried, as an outage is: a sink that fails stalls its task and kills nothing.
var answers = []answer{
	{"LOADING", false, "Redis is reading its data from disk; it answers when that is done"},
	{"READONLY", false, "this is a replica: a failover is under way, or the address is not the primary's"},
	{"TRYAGAIN", false, "the cluster is moving these keys to another node"},
	{"CLUSTERDOWN", false, "the cluster does not cover all slots, or has no majority; look at CLUSTER INFO"},
	{"MASTERDOWN", false, "this replica has lost its primary"},
	{"OOM", false, "Redis has reached maxmemory; give it more, it must not evict"},
	{"BUSY", false, "another script is keeping Redis busy; SCRIPT KILL ends it"},
	{"NOREPLICAS", false, "min-replicas-to-write is not met"},
	{"MISCONF", false, "Redis cannot write its snapshots to disk and refuses writes; look at its log"},
	{"NOSCRIPT", false, "Redis lost the script as often as it was loaded; is somebody flushing scripts?"},
	{"MOVED", false, "the slots are on the move, or this node is in a cluster that was not one when we connected"},
	{"WRONGTYPE", true, "something else was stored under this key; delete it, or choose another project name or database"},
	{"NOAUTH", true, "Redis asks for a password and none was given: set HIGHWATER_REDIS_PASSWORD"},
	{"WRONGPASS", true, "user or password are wrong, or the user is disabled"},
	{"NOPERM", true, "the user may not do this; Highwater needs EVALSHA, SCRIPT LOAD, TIME, MGET, MSET, SET, GET, HSET, HGETALL and HMGET on its project's keys"},
	{"CROSSSLOT", true, "the keys of one call lie in several slots; does a proxy rewrite them?"},
	{"ERR unknown command", true, "this server lacks a command that Highwater needs; it takes Redis 6.2 or newer"},
	{"ERR invalid DB", true, "there is no such database"},
	{"ERR DB index", true, "there is no such database"},
	{"ERR SELECT", true, "a Redis Cluster has only database 0"},
	{"ERR AUTH", true, "a password was given, and this Redis has none"},
}

// fail puts an error into words: what was being done, where, what came of it, and what to do. It marks those that retrying cannot mend as permanent.
func (l *link) fail(act string, err error) error {
	if err == nil || batch.IsPermanent(err) {
		return err
	}
	where := fmt.Sprintf("%s: Redis at %s", act, l.address())
	if a, ok := known(err); ok {
		err = fmt.Errorf("%s: %w (%s)", where, err, a.advice)
		if a.permanent {
			return batch.Permanent(err)
		}
		return err
	}
	if advice := outage(err); advice != "" {
		return fmt.Errorf("%s: %w (%s)", where, err, advice)
	}
	return fmt.Errorf("%s: %w", where, err)
}

// known finds an error answer in the table.
func known(err error) (answer, bool) {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return answer{}, false
	}
	text := reply.Error()
	// Redis 6 wraps what a script met, "ERR Error running script (call to f_…): @user_script:9: -OOM command not allowed …", and so does miniredis, without the dash.
	wrapped := strings.HasPrefix(text, "ERR Error ")
	for _, a := range answers {
		if strings.HasPrefix(text, a.code) || wrapped && (strings.Contains(text, ": -"+a.code+" ") || strings.Contains(text, ": "+a.code+" ")) {
			return a, true
		}
	}
	return answer{}, false
}

// outage says what a broken connection may come from; "" where it is something else.
func outage(err error) string {
	var timeout net.Error
	var dial *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return ""
	case errors.As(err, &dial) && dial.Op == "dial":
		return "nothing answers there; is Redis running, and is this its address?"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time; is Redis overloaded, or the network broken?"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), dial != nil:
		return "the connection was cut; has Redis been restarted?"
	}
	return ""
}

// saysPrefix reports whether err is an error answer that begins with code.
func saysPrefix(err error, code string) bool { return redis.HasErrorPrefix(err, code) }
