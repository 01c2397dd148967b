package resp

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Act is what a [Fault] does. Its text goes into a drill's plan.
type Act string

// The acts.
const (
	DropBefore Act = "drop.before" // the connection breaks at a call that the server has not seen
	DropAfter  Act = "drop.after"  // the server has applied the call, and the connection breaks before its answer arrives
	Loading    Act = "loading"     // every request that a server refuses while it reads its data from disk is answered LOADING
	ReadOnly   Act = "readonly"    // every write is answered READONLY, as by a replica
	Delay      Act = "delay"       // a call is held for a while before it goes on to the server
	Cut        Act = "cut"         // all connections break, and new ones are not taken for a while
)

// Acts are all acts.
func Acts() []Act { return []Act{DropBefore, DropAfter, Loading, ReadOnly, Delay, Cut} }

// Fault is one thing to do, from a moment on.
type Fault struct {
	Act   Act           `json:"act"`
	Nth   int           `json:"nth,omitempty"`   // it begins at this one of the calls that follow [Relay.Inject], from 1. 0 is at once: the next call for those that strike at one
	Calls int           `json:"calls,omitempty"` // to how many requests it is done; 0 is one, or as many as come where For bounds it. Cut is done once
	For   time.Duration `json:"for,omitempty"`   // Loading, ReadOnly, Cut: how long it goes on once it has begun, 0 for no bound (Cut: for breaking alone). Delay: how long a call is held
	Match string        `json:"match,omitempty"` // what counts as a call: a request with this word among its command and arguments, whatever its case; "" is EVALSHA, a script call
}

// Draw draws n faults, among the next calls script calls each; none lasts longer than longest. The same r gives the same faults.
func Draw(r *rand.Rand, n, calls int, longest time.Duration) []Fault {
	faults := make([]Fault, n)
	for i := range faults {
		acts := Acts()
		f := Fault{Act: acts[r.IntN(len(acts))], Nth: 1 + r.IntN(calls)}
		switch f.Act {
		case Loading, ReadOnly, Delay, Cut:
			f.For = time.Duration(1 + r.Int64N(int64(longest)))
		}
		faults[i] = f
	}
	return faults
}

// armed is a fault that waits for its call, or goes on.
type armed struct {
	Fault
	begun time.Time // zero while it waits
	seen  int       // calls since it was injected
	done  int       // requests that it has struck
}

// verdict is what happens to one request. The zero value lets it pass.
type verdict struct {
	act    Act
	wait   time.Duration
	answer string // in the server's place
}

const (
	loadingError  = "-LOADING Redis is loading the dataset in memory\r\n"
	readOnlyError = "-READONLY You can't write against a read only replica.\r\n"
)

// count counts a call, and begins with the nth.
func (a *armed) count(words []string, now time.Time) {
	if !a.begun.IsZero() || !a.isCall(words) {
		return
	}
	if a.seen++; a.seen >= a.Nth {
		a.begun = now
	}
}

// expired reports whether a fault that goes on for a while has done so.
func (a *armed) expired(now time.Time) bool {
	return (a.Act == Loading || a.Act == ReadOnly) && !a.begun.IsZero() && a.For > 0 && now.Sub(a.begun) >= a.For
}

// strike says what happens to a request, where it is struck.
func (a *armed) strike(words []string) (v verdict, struck bool) {
	switch {
	case a.begun.IsZero():
		return verdict{}, false
	case a.Act == Loading:
		return verdict{act: a.Act, answer: loadingError}, !whileLoading(words[0])
	case a.Act == ReadOnly:
		return verdict{act: a.Act, answer: readOnlyError}, writes(words[0])
	case a.Act == Delay:
		return verdict{act: a.Act, wait: a.For}, a.isCall(words)
	}
	return verdict{act: a.Act}, a.isCall(words)
}

// over reports whether a fault has struck as often as it should.
func (a *armed) over() bool {
	bound := a.Calls
	if bound == 0 && (a.Act == Loading || a.Act == ReadOnly) && a.For > 0 {
		return false
	}
	return a.Act == Cut || a.done >= max(1, bound)
}

func (a *armed) isCall(words []string) bool {
	match := a.Match
	if match == "" {
		match = "EVALSHA"
	}
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, match) })
}

// whileLoading reports whether a server that reads its data from disk carries a command out.
func whileLoading(command string) bool {
	switch strings.ToUpper(command) {
	case "HELLO", "AUTH", "SELECT", "CLIENT", "INFO", "COMMAND", "CONFIG", "QUIT":
		return true
	}
	return false
}

// writes reports whether a replica refuses a command. A script that only reads would pass it; ours write.
func writes(command string) bool {
	switch strings.ToUpper(command) {
	case "EVAL", "EVALSHA", "SET", "MSET", "DEL", "UNLINK", "HSET", "HDEL", "EXPIRE", "PEXPIRE", "PERSIST", "INCR", "INCRBY", "RENAME", "FLUSHALL", "FLUSHDB":
		return true
	}
	return false
}
