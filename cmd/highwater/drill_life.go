package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"highwater/batch/faults"
	"highwater/batch/faults/disk"
	"highwater/batch/faults/resp"
	"highwater/batch/kafka/embedded"
)

// drillLife is what befalls one process, as drawn.
type drillLife struct {
	faults []faults.Fault         // within it, by itself
	redis  []resp.Fault           // on its way to Redis
	kafka  []embedded.Disturbance // of the broker, from its start on
	disk   []disk.Fault           // of its state
	unsync bool                   // its death is a power cut to its state: what was not synced is lost
	lose   string                 // what Redis loses: "" nothing, "writes" the last, "all"
	loseAt int                    // when it has committed so many batches
	cut    *embedded.Disturbance  // of the broker, which loses the ends of its logs for a while; nil for none
	cutAt  int                    // when it has committed so many batches

	// It is killed when the first of these has come; zero is never.
	atCall  int64         // this call of a script in Redis
	swallow bool          // which is lost with it
	atBatch int           // so many batches are committed
	atOnce  bool          // it starts
	after   time.Duration // and so much later
}

func (l drillLife) String() string {
	text := ""
	for _, f := range l.faults {
		text += f.String() + ", "
	}
	for _, f := range l.redis {
		text += fmt.Sprintf("redis %s at call %d for %s, ", f.Act, f.Nth, f.For)
	}
	for _, f := range l.kafka {
		text += fmt.Sprintf("kafka %s, %d requests, for %s, ", f.Act, f.Requests, f.For)
	}
	for _, f := range l.disk {
		text += fmt.Sprintf("%s at sync %d, %d times, for %s, ", f.Act, f.Nth, f.Syncs, f.For)
	}
	if l.unsync {
		text += "unsynced writes lost, "
	}
	if l.lose != "" {
		text += fmt.Sprintf("redis loses %s at batch %d, ", l.lose, l.loseAt)
	}
	if l.cut != nil {
		text += fmt.Sprintf("kafka %s to %d %% at batch %d, for %s, ", l.cut.Act, l.cut.Keep, l.cutAt, l.cut.For)
	}
	switch {
	case l.atOnce:
		text += fmt.Sprintf("killed %s after its start", l.after)
	case l.atCall > 0:
		text += fmt.Sprintf("killed %s after call %d (swallowed: %v), or batch %d", l.after, l.atCall, l.swallow, l.atBatch)
	case l.atBatch > 0:
		text += fmt.Sprintf("killed %s after batch %d", l.after, l.atBatch)
	default:
		text += "left to its end"
	}
	return text
}

// life is the n-th life.
func (o *drillRound) life(n int) drillLife {
	if o.fate != nil {
		return o.fate(n)
	}
	return o.drawLife(n)
}

// drawLife draws the n-th life.
func (o *drillRound) drawLife(n int) (l drillLife) {
	seed := randomOf(o.seed)
	seed[0], seed[1] = seed[0]^byte(n), seed[1]^byte(n>>8)^1
	r := rand.New(rand.NewChaCha8(seed))
	doomed := n < o.kills
	if doomed {
		o.drawDeath(r, &l)
	}
	const longest = 100 * time.Millisecond
	some := faults.Schedule{Faults: r.IntN(4), Acts: []faults.Act{faults.Fail, faults.Delay}, Nth: 5, Longest: longest}
	if !doomed {
		some.Points = faults.Retried() // it must come to its end
	}
	if some.Faults > 0 {
		l.faults = append(l.faults, faults.Draw(r, some)...)
	}
	if o.relay != nil && r.IntN(2) == 0 {
		l.redis = resp.Draw(r, 1+r.IntN(2), 25, longest)
	}
	if acts := embedded.Passing(); o.broker != nil && r.IntN(3) == 0 {
		l.kafka = []embedded.Disturbance{{Act: acts[r.IntN(len(acts))], Requests: 1 + r.IntN(5), For: time.Duration(1 + r.Int64N(int64(longest)))}}
	}
	l.unsync = r.IntN(2) == 0
	if r.IntN(3) == 0 {
		l.disk = []disk.Fault{drawDisk(r, doomed)}
	}
	if n == o.loseIn {
		l.lose, l.loseAt = []string{"writes", "all"}[r.IntN(2)], 1+r.IntN(3)
		if doomed { // of nothing that comes before the loss
			l.faults, l.atOnce, l.atCall, l.swallow, l.atBatch = nil, false, 0, false, l.loseAt+r.IntN(3)
		}
	}
	if o.broker != nil && r.IntN(8) == 0 {
		l.cut, l.cutAt = &embedded.Disturbance{Act: embedded.Truncate, Keep: r.IntN(100), For: time.Duration(1 + r.Int64N(int64(5*longest)))}, 1+r.IntN(3)
	}
	return l
}

// drawDisk draws what a disk does: it is slow or full for a while, or, where the life is to end anyway, fails to sync, which ends it.
func drawDisk(r *rand.Rand, doomed bool) disk.Fault {
	const longest = 50 * time.Millisecond
	f := disk.Fault{Act: disk.SlowSync, Nth: 1 + r.IntN(10), Syncs: 1 + r.IntN(5), For: time.Duration(1 + r.Int64N(int64(longest)))}
	switch kind := r.IntN(3); {
	case kind == 0:
		f.Act, f.For = disk.Full, 5*f.For
	case kind == 1 && doomed:
		f.Act, f.Syncs, f.For = disk.FailSync, 1, 0
	}
	return f
}

// drawDeath draws when a process dies: as it starts, at a step of its own, at a call to Redis, or at any moment. It commits a few batches at most before that, so that there are batches left for the next.
func (o *drillRound) drawDeath(r *rand.Rand, l *drillLife) {
	l.atBatch = 1 + r.IntN(4)
	l.after = time.Duration(r.IntN(20_000)) * time.Microsecond
	switch way := r.IntN(10); {
	case way == 0:
		l.atOnce, l.after = true, time.Duration(r.IntN(400_000))*time.Microsecond
	case way < 6:
		points := faults.Stages()
		if r.IntN(2) == 0 {
			points = faults.Points()
		}
		l.faults = faults.Draw(r, faults.Schedule{Points: points, Acts: []faults.Act{faults.Kill}, Nth: 4})
	case way < 9 && o.redis != nil:
		l.atCall, l.swallow = 1+r.Int64N(20), r.IntN(2) == 0
		if r.IntN(3) > 0 {
			l.after = 0
		} else {
			l.swallow = false
		}
	}
}
