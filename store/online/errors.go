package online

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"highwater/batch"
	"highwater/features"

	"github.com/redis/go-redis/v9"
)

// ForeignError says that some of the keys to publish to are not ours to write: another task wrote them, or they hold something that is no vector. All the others were written. It is permanent.
type ForeignError struct {
	Vectors []features.VectorKey // whose keys they are
	err     error
}

// Error names the first few keys, and the way out.
func (e *ForeignError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong with each.
func (e *ForeignError) Unwrap() error { return e.err }

var errClosed = batch.Permanent(errors.New("online store: used after Close"))

// answer is what an error answer of Redis means to us.
type answer struct {
	code   string // how the answer begins
	kind   string // batch.KindOf
	mends  mends
	advice string
}

// mends says whether waiting can mend an error.
type mends int

const (
	inTime mends = iota // it is retried, as an outage is: a sink that fails stalls its task and kills nothing
	never               // the task stops with it
	later               // it stops a task that has not begun, because the settings are wrong; once Redis has taken what we do, it was changed on the other side, and can be changed back: it is retried
)

// answers are the error answers that we can say more about. What is not here is retried.
var answers = []answer{
	{"LOADING", batch.KindLoading, inTime, "Redis is reading its data from disk; it answers when that is done"},
	{"READONLY", batch.KindReadOnly, inTime, "this is a replica: a failover is under way, or the address is not the primary's"},
	{"MASTERDOWN", batch.KindReadOnly, inTime, "this replica has lost its primary"},
	{"NOREPLICAS", batch.KindReadOnly, inTime, "too few replicas are connected and up to date: min-replicas-to-write is not met"},
	{"MISCONF", batch.KindReadOnly, inTime, "Redis cannot write its snapshots to disk and refuses writes; look at its log"},
	{"TRYAGAIN", batch.KindMoving, inTime, "the cluster is moving these keys to another node"},
	{"CLUSTERDOWN", batch.KindMoving, inTime, "the cluster does not cover all slots, or has no majority; look at CLUSTER INFO"},
	{"MOVED", batch.KindMoving, inTime, "the slots are on the move, or this node is in a cluster that was not one when we connected"},
	{"ASK", batch.KindMoving, inTime, "the slots are on the move"},
	{"OOM", batch.KindMemory, inTime, "Redis has reached maxmemory; give it more, it must not evict"},
	{"BUSY", batch.KindTimeout, inTime, "another script is keeping Redis busy; SCRIPT KILL ends it"},
	{"NOSCRIPT", batch.KindOther, inTime, "Redis lost the script as often as it was loaded; is somebody flushing scripts?"},
	{"NOAUTH", batch.KindAuth, later, "a password is asked for and none was given: set HIGHWATER_REDIS_PASSWORD, or --redis-password-file"},
	{"WRONGPASS", batch.KindAuth, later, "user or password are wrong, or the user is disabled"},
	{"ERR AUTH", batch.KindAuth, later, "a password was given, and this Redis has none"},
	{"NOPERM", batch.KindDenied, later, "the user may not do this; docs/operations/redis.md has the rights that Highwater needs"},
	{"ERR The user executing the script can't", batch.KindDenied, later, "the script's commands are the caller's; docs/operations/redis.md has the rights that Highwater needs"}, // Redis 7.0
	{"ERR ACL failure in script", batch.KindDenied, later, "the script's commands are the caller's; docs/operations/redis.md has the rights that Highwater needs"},               // 7.2 and newer
	{"WRONGTYPE", batch.KindOther, never, "something else was stored under this key; delete it, or choose another project name or database"},
	{"CROSSSLOT", batch.KindOther, never, "the keys of one call lie in several slots; does a proxy rewrite them?"},
	{"ERR unknown command", batch.KindOther, never, "this server lacks a command that Highwater needs; it takes Redis 6.2 or newer"},
	{"ERR invalid DB", batch.KindOther, never, "there is no such database"},
	{"ERR DB index", batch.KindOther, never, "there is no such database"},
	{"ERR SELECT", batch.KindOther, never, "a Redis Cluster has only database 0"},
}

// refusal is an error that did not come from Redis, and that waiting alone does not mend: see later.
type refusal struct {
	kind   string
	err    error
	advice string
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// failure is an error of a call, in words: what was being done, where, what came of it, and what to do.
type failure struct {
	act, where string
	err        error
	advice     string // "" for none
	kind       string
}

// Error puts it all together.
func (f *failure) Error() string {
	text := fmt.Sprintf("%s: Redis at %s: %v", f.act, f.where, f.err)
	if f.advice != "" {
		text += " (" + f.advice + ")"
	}
	return text
}

// Unwrap returns what came of the call.
func (f *failure) Unwrap() error { return f.err }

// Kind is for [batch.KindOf].
func (f *failure) Kind() string { return f.kind }

// fail puts an error into words. It marks those that retrying cannot mend as permanent.
func (l *link) fail(act string, err error) error {
	if err == nil || batch.IsPermanent(err) {
		return err
	}
	f := &failure{act: act, where: l.address(), err: err, kind: batch.KindOther}
	a := l.judge(err)
	f.kind, f.advice = a.kind, a.advice
	if c := l.cluster.Load(); c != nil && (a.kind == batch.KindUnreachable || a.kind == batch.KindTimeout) {
		c.ReloadState(context.Background()) // another node may have taken over; go-redis alone would look every 10 s
	}
	if a.mends == never || a.mends == later && !l.known.Load() {
		return batch.Permanent(f)
	}
	return f
}

// judge says what an error means.
func (l *link) judge(err error) answer {
	if refused, ok := errors.AsType[*refusal](err); ok {
		return answer{kind: refused.kind, mends: later, advice: refused.advice}
	}
	if isAlert(err) {
		return answer{kind: batch.KindAuth, mends: later, advice: refusedCertificate}
	}
	bySentinels := l.o.SentinelMaster != "" && strings.Contains(err.Error(), "all sentinels specified")
	if bySentinels && errors.Is(err, redis.Nil) {
		return answer{kind: batch.KindOther, mends: later, advice: fmt.Sprintf("these Sentinels watch no primary by the name of %s: see --redis-sentinel-master, and SENTINEL MASTERS", l.o.SentinelMaster)}
	}
	a, ok := known(err)
	switch {
	case !ok:
		return outage(err)
	case bySentinels && a.kind == batch.KindAuth:
		l.stale.Store(true) // go-redis keeps their password: ask for it again
		a.advice = "it is the Sentinels that refuse; their password is HIGHWATER_REDIS_SENTINEL_PASSWORD, or in --redis-sentinel-password-file"
	}
	return a
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

// outage says what a broken connection may come from.
func outage(err error) answer {
	var timeout net.Error
	var broken *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return answer{kind: batch.KindOther}
	case errors.As(err, &broken) && broken.Op == "dial":
		return answer{kind: batch.KindUnreachable, advice: "nothing answers there; is Redis running, and is this its address?"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return answer{kind: batch.KindTimeout, advice: "no answer in time; is Redis overloaded, or the network broken?"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), broken != nil:
		return answer{kind: batch.KindUnreachable, advice: "the connection was cut; has Redis been restarted, or does this port want TLS (--redis-tls)?"}
	}
	return answer{kind: batch.KindOther}
}

// isNil reports whether Redis has answered that there is nothing under a key. It is not errors.Is, which also finds the nil that Sentinels answer about a primary that they do not know, within the error that go-redis makes of it.
func isNil(err error) bool { return err == redis.Nil }

// saysPrefix reports whether err is an error answer that begins with code.
func saysPrefix(err error, code string) bool { return redis.HasErrorPrefix(err, code) }
