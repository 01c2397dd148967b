package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
)

// sendStrays sends Redis what the round's workers have sent it once more, in any order: calls that were long under way. Of more than mostKept bytes of them, those that came first.
func (o *drillRound) sendStrays(ctx context.Context) error {
	if o.redis == nil {
		return nil
	}
	strays, leftOut := o.calls.take()
	o.bits.Shuffle(len(strays), func(i, j int) { strays[i], strays[j] = strays[j], strays[i] })
	client := redis.NewClient(&redis.Options{Addr: o.redis.Addr(), DisableIdentity: true})
	defer func() { _ = client.Close() }()
	for _, call := range strays {
		if err := client.Do(ctx, call...).Err(); err != nil {
			return fmt.Errorf("a stray call: %w", err)
		}
	}
	o.result.Strays, o.result.StraysLeft = int64(len(strays)), leftOut
	return nil
}

// scriptCalls hears of every script that is called in the embedded Redis, before it is carried out. It keeps them, for strays, and lets the process die at one.
type scriptCalls struct {
	strike atomic.Pointer[func(n int64) bool]
	number atomic.Int64 // of the process alive

	mu      sync.Mutex // guards what follows
	kept    [][]any
	bytes   int
	leftOut int64 // calls that were not kept
	taken   bool
}

// mostKept bounds the memory of strays.
const mostKept = 64 << 20

// hear is the hook of the embedded Redis.
func (c *scriptCalls) hear(peer *server.Peer, command string, args ...string) bool {
	if command != "EVALSHA" {
		return false
	}
	c.keep(args)
	if strike := c.strike.Load(); strike != nil && (*strike)(c.number.Add(1)) {
		peer.Close()
		return true
	}
	return false
}

func (c *scriptCalls) keep(args []string) {
	call, size := []any{"EVALSHA"}, 0
	for _, a := range args {
		call, size = append(call, a), size+len(a)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.taken:
	case c.bytes+size <= mostKept:
		c.kept, c.bytes = append(c.kept, call), c.bytes+size
	default:
		c.leftOut++
	}
}

// take returns the calls so far, and how many there were beside them. It keeps none of them, and none that come later.
func (c *scriptCalls) take() (kept [][]any, leftOut int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept, c.kept, c.taken = c.kept, nil, true
	return kept, c.leftOut
}

// expect says when the process dies that child gives; a life that dies of no call is not waited for.
func (c *scriptCalls) expect(l drillLife, child chan *drillProcess) {
	c.number.Store(0)
	if l.atCall == 0 {
		c.strike.Store(nil)
		return
	}
	strike := func(n int64) bool {
		if n != l.atCall {
			return n > l.atCall && l.after == 0 // nothing that it sent before it died comes later than its death, but as a stray
		}
		process := <-child
		child <- process
		if l.after > 0 {
			time.AfterFunc(l.after, process.kill)
			return false
		}
		process.kill()
		<-process.ended
		return l.swallow
	}
	c.strike.Store(&strike)
}
