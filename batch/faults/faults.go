// Package faults makes a task fail, wait, or die, at stated points of the batch protocol: before and after each of its five stages, and before and after every other call that the driver makes.
//
// An [Injector] is made of a list of [Fault]s and wraps what a task is wired with; whatever is not listed passes through untouched. Each point is counted by itself, so that the same list meets the same calls in every run,
// however the driver's goroutines take turns. [Draw] makes such lists from a seed, and [Injector.Counts] says how often each point was passed, so that a test can die at every one of them.
//
// "before" is before the call has any effect. "after" is when it has taken effect and its caller has not heard of it: the one case that retrying must get right.
package faults

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"highwater/batch"
)

// Fault is something that goes wrong. Its JSON form is how it is handed to a child process.
type Fault struct {
	At  Point         `json:"at"`
	Nth int           `json:"nth"` // which passage of the point, from 1; 0 for every one
	Act Act           `json:"act"`
	For time.Duration `json:"for_ns,omitempty"` // how long Delay waits; how long Fail goes on failing at the point from the nth passage on: 0 for that one alone
}

// String names a fault to people.
func (f Fault) String() string {
	s := fmt.Sprintf("%s at %s #%d", f.Act, f.At, f.Nth)
	if f.For > 0 {
		s += " for " + f.For.String()
	}
	return s
}

// Act is what a fault does.
type Act string

// The acts.
const (
	Fail  Act = "fail"  // the call returns an *Error
	Delay Act = "delay" // the call takes longer
	Kill  Act = "kill"  // the process dies

	dead Act = "dead" // it has died
)

// Acts returns all acts.
func Acts() []Act { return []Act{Fail, Delay, Kill} }

// UnmarshalText refuses what is not an act.
func (a *Act) UnmarshalText(text []byte) error {
	for _, known := range Acts() {
		if known == Act(text) {
			*a = known
			return nil
		}
	}
	return fmt.Errorf("no act %q: want one of %v", text, Acts())
}

// Error is what a call returns that a fault made fail.
type Error struct{ At Point }

// Error names the point.
func (e *Error) Error() string { return "injected fault: " + string(e.At) }

// killed is what everything returns once the process is dead, where dying is only played.
type killed struct{}

func (killed) Error() string { return "the process was killed" }

// ErrKilled is what every call returns after a kill, where the kill function given to [New] returns: nothing that a dead process does has an effect. It is permanent (see [batch.Permanent]).
var ErrKilled error = batch.Permanent(killed{})

// Injector carries out faults. It is made by [New], belongs to one run of one task, and is safe for concurrent use.
type Injector struct {
	kill func()

	mu     sync.Mutex // guards what follows
	faults []Fault
	counts map[Point]int
	until  map[Point]time.Time // until when a point fails
	fired  []Fault
	dead   bool
}

// New returns an injector of the faults listed. kill ends the process; nil for kill -9 of its own. Where kill returns (a test that only plays death), every call from then on is [ErrKilled].
func New(list []Fault, kill func()) *Injector {
	if kill == nil {
		kill = killSelf
	}
	return &Injector{kill: kill, faults: list, counts: map[Point]int{}, until: map[Point]time.Time{}}
}

// killSelf is kill -9: no deferred call runs, no buffer is flushed.
func killSelf() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	os.Exit(137) // where the signal is slow
}

// Fired returns the faults that have struck, in order. A fault that strikes at every passage is named each time, with the passage.
func (i *Injector) Fired() []Fault {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]Fault(nil), i.fired...)
}

// Counts returns how often each point was passed.
func (i *Injector) Counts() map[Point]int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return maps.Clone(i.counts)
}

// pass is called at a point. It does what the faults say, and returns the error that the call is to fail with.
func (i *Injector) pass(ctx context.Context, at Point) error {
	act, wait := i.meet(at)
	switch act {
	case Kill:
		i.kill()
		return ErrKilled
	case dead:
		return ErrKilled
	case Fail:
		return &Error{At: at}
	case Delay:
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done(): // what was called will notice
		case <-timer.C:
		}
	}
	return nil
}

// meet counts a passage, and returns the act that it meets; "" for none. Of several, a kill comes first, and a failure before a delay.
func (i *Injector) meet(at Point) (act Act, wait time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dead {
		return dead, 0
	}
	i.counts[at]++
	n := i.counts[at]
	if time.Now().Before(i.until[at]) {
		act = Fail
	}
	for _, f := range i.faults {
		if f.At != at || f.Nth != n && f.Nth != 0 {
			continue
		}
		switch f.Act {
		case Kill:
			i.dead, act = true, Kill
		case Fail:
			i.until[at] = time.Now().Add(f.For)
			if act != Kill {
				act = Fail
			}
		case Delay:
			wait += f.For
			if act == "" {
				act = Delay
			}
		}
		f.Nth = n
		i.fired = append(i.fired, f)
	}
	return act, wait
}

// call runs do between a call's two points. Where the first says so, do is not run; where the second does, its outcome is lost.
func (i *Injector) call(ctx context.Context, name string, do func() error) error {
	if err := i.pass(ctx, before(name)); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return i.pass(ctx, after(name))
}
