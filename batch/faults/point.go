package faults

import "fmt"

// Point is a place in the protocol: a call's name, and "before" or "after", as in "publish.before".
type Point string

// The calls, by the goroutine that makes them. The five stages come first, under their own names: plan is Plans.Append, read is Source.Take, transform is Change.Load (once a chunk of entities),
// publish is Sink.Publish (once a chunk of vectors and sink, and for dead letters), commit is Change.Commit.
const (
	callPlan      = "plan"
	callRead      = "read"
	callTransform = "transform"
	callPublish   = "publish"
	callCommit    = "commit"

	// The planner's.
	callCut  = "cut"  // Source.Cut
	callEnds = "ends" // Source.Ends

	// The start's.
	callSourceStart = "source_start" // Source.Start
	callPending     = "pending"      // Plans.After
	callOwner       = "owner"        // TaskKey.Owner
	callClaim       = "claim"        // TaskKey.Claim
	callRaise       = "raise"        // State.Raise
	callAnnounce    = "announce"     // Options.Announce

	// A batch's, beside its stages.
	callPlanned   = "planned"   // TaskKey.Planned
	callBegin     = "begin"     // State.Begin
	callDue       = "due"       // State.Due
	callConfirmed = "confirmed" // TaskKey.Confirmed

	// A republish's, and a new generation's.
	callRestoring = "restoring" // TaskKey.Restoring
	callScan      = "scan"      // State.Scan
	callRestore   = "restore"   // TaskKey.Restore
	callSweep     = "sweep"     // TaskKey.Sweep

	// The heartbeat's, and the start's.
	callKeyRead = "key_read" // TaskKey.Read
	callBeat    = "beat"     // TaskKey.Beat
)

var calls = [...]string{callPlan, callRead, callTransform, callPublish, callCommit, callCut, callEnds, callSourceStart, callPending, callOwner, callClaim, callRaise, callAnnounce,
	callPlanned, callBegin, callDue, callConfirmed, callRestoring, callScan, callRestore, callSweep, callKeyRead, callBeat}

func before(call string) Point { return Point(call + ".before") }
func after(call string) Point  { return Point(call + ".after") }

// Points returns all points, the five stages' first.
func Points() []Point { return pointsOf(calls[:]) }

// Stages returns the points of the five stages: plan, read, transform, publish, commit.
func Stages() []Point { return pointsOf(calls[:5]) }

func pointsOf(calls []string) []Point {
	var points []Point
	for _, c := range calls {
		points = append(points, before(c), after(c))
	}
	return points
}

// Retried returns the points at which a failure is retried by the task, for as long as it lasts. At every other one a failure ends the run, as it would with a broken disk; started again, it goes on.
func Retried() []Point {
	return pointsOf([]string{callPublish, callOwner, callClaim, callAnnounce, callPlanned, callConfirmed, callRestoring, callRestore, callSweep, callKeyRead, callBeat})
}

// UnmarshalText refuses what is not a point.
func (p *Point) UnmarshalText(text []byte) error {
	for _, known := range Points() {
		if known == Point(text) {
			*p = known
			return nil
		}
	}
	return fmt.Errorf("no point %q: want one of %v", text, Points())
}
