package keys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"highwater/batch"
	"highwater/features"
)

// The keys of a task's directory (docs/format/state.md). The first byte names the space. What is ordered within a space is ordered by bytes, so one iterator walks it in order.
//
//	c                                  the committed position
//	m <name>                           what describes the directory itself
//	p <generation 4> <sequence 8>      plans, in the order of their versions
//	s <view> 00 <entity>               entities' state, by view name, then by entity text
//	t <clock 1> <time 8> <view> 00 <entity>   timers: the earliest of a clock first
//
// Integers are big-endian. A time has its sign bit flipped, so that times before 1970 sort first. A view's name holds no 00, so the first 00 ends it; the entity's text runs to the end of the key, whatever bytes it holds.
const (
	positionSpace = 'c'
	metaSpace     = 'm'
	planSpace     = 'p'
	stateSpace    = 's'
	timerSpace    = 't'

	viewEnd  = 0x00
	signBit  = 1 << 63
	planLen  = 1 + 4 + 8
	timerLen = 1 + 1 + 8
)

var errForeign = errors.New("not a key of this space")

// Position returns the key of the committed position.
func Position() []byte { return []byte{positionSpace} }

// Meta returns the key of one fact about the directory. Names are the caller's: bytes, distinct, in the order wanted.
func Meta(name string) []byte { return append([]byte{metaSpace}, name...) }

// AppendState appends the key of an entity's state to dst.
func AppendState(dst []byte, view, entity string) []byte {
	dst = append(dst, stateSpace)
	return appendEntity(dst, view, entity)
}

// ParseState reads what [AppendState] wrote; entity shares k's bytes, as view does.
func ParseState(k []byte) (view, entity []byte, err error) {
	if len(k) == 0 || k[0] != stateSpace {
		return nil, nil, fmt.Errorf("state key %x: %w", k, errForeign)
	}
	view, entity, ok := bytes.Cut(k[1:], []byte{viewEnd})
	if !ok {
		return nil, nil, fmt.Errorf("state key %x: the view's name does not end", k)
	}
	return view, entity, nil
}

// StateSpace returns the bounds [lower, upper) of all entities' state.
func StateSpace() (lower, upper []byte) { return []byte{stateSpace}, []byte{stateSpace + 1} }

// StateOf returns the bounds [lower, upper) of the state of one view's entities.
func StateOf(view string) (lower, upper []byte) {
	lower = AppendState(nil, view, "")
	upper = append(bytes.Clone(lower[:len(lower)-1]), viewEnd+1)
	return lower, upper
}

// AppendTimer appends the key of a timer to dst. at is in µs.
func AppendTimer(dst []byte, clock batch.TimerClock, at int64, view, entity string) []byte {
	dst = appendTimerTime(dst, clock, at)
	return appendEntity(dst, view, entity)
}

// ParseTimer reads what [AppendTimer] wrote; view and entity share k's bytes.
func ParseTimer(k []byte) (clock batch.TimerClock, at int64, view, entity []byte, err error) {
	if len(k) < timerLen || k[0] != timerSpace {
		return 0, 0, nil, nil, fmt.Errorf("timer key %x: %w", k, errForeign)
	}
	view, entity, ok := bytes.Cut(k[timerLen:], []byte{viewEnd})
	if !ok {
		return 0, 0, nil, nil, fmt.Errorf("timer key %x: the view's name does not end", k)
	}
	return batch.TimerClock(k[1]), int64(binary.BigEndian.Uint64(k[2:]) ^ signBit), view, entity, nil
}

// TimerSpace returns the bounds [lower, upper) of all timers.
func TimerSpace() (lower, upper []byte) { return []byte{timerSpace}, []byte{timerSpace + 1} }

// TimersOf returns the bounds [lower, upper) of one clock's timers from µs on.
func TimersOf(clock batch.TimerClock, from int64) (lower, upper []byte) {
	return appendTimerTime(nil, clock, from), []byte{timerSpace, byte(clock) + 1}
}

// AppendPlan appends the key of a plan to dst.
func AppendPlan(dst []byte, v features.Version) []byte {
	dst = append(dst, planSpace)
	dst = binary.BigEndian.AppendUint32(dst, v.Generation)
	return binary.BigEndian.AppendUint64(dst, v.Sequence)
}

// ParsePlan reads what [AppendPlan] wrote.
func ParsePlan(k []byte) (features.Version, error) {
	if len(k) != planLen || k[0] != planSpace {
		return features.Version{}, fmt.Errorf("plan key %x: %w", k, errForeign)
	}
	return features.Version{Generation: binary.BigEndian.Uint32(k[1:]), Sequence: binary.BigEndian.Uint64(k[5:])}, nil
}

// PlanSpace returns the bounds [lower, upper) of all plans.
func PlanSpace() (lower, upper []byte) { return []byte{planSpace}, []byte{planSpace + 1} }

func appendEntity(dst []byte, view, entity string) []byte {
	dst = append(dst, view...)
	dst = append(dst, viewEnd)
	return append(dst, entity...)
}

func appendTimerTime(dst []byte, clock batch.TimerClock, at int64) []byte {
	dst = append(dst, timerSpace, byte(clock))
	return binary.BigEndian.AppendUint64(dst, uint64(at)^signBit)
}
