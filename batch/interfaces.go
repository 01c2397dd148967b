package batch

import (
	"context"
	"errors"

	"highwater/features"
	"highwater/windows"
)

// Record is one Kafka record as fetched. Its bytes are the fetcher's: they live until the batch that took the record is done.
type Record struct {
	Offset int64
	Time   int64 // µs: the record's own timestamp; 0 or less where it has none
	Key    []byte
	Value  []byte
}

// Source reads a task's partitions from Kafka. Fetching runs ahead of the plans, within a bound on memory; what a batch gets is exactly what its plan says.
// Its methods may be called from several goroutines; only one calls Take.
type Source interface {
	// Partitions returns the task's partitions in the task's order. It does not change after Start.
	Partitions() []Partition

	// Start begins to fetch, from next[i] in partition i; where that is Beginning it sets it to the log's start, and begins there. An offset below the log's start is a *LostError; one above its end is an error that names both.
	Start(ctx context.Context, next []int64) error

	// Cut proposes the ends of the next plan: as much of what has been fetched and not yet planned as fits maxOffsets offsets and maxBytes bytes, at least one record of those there are, shared fairly between partitions.
	// It counts trailing offsets without a record (control records, aborted transactions) as fetched. Full says that a limit was reached, so that the batch need not wait for its interval.
	// An error is what fetching met and cannot get over by itself (a *LostError, a deleted topic, a compacted one).
	Cut(maxOffsets, maxBytes int64) (c Cut, err error)

	// Arrived returns a channel that receives, without blocking the fetcher, after more has been fetched, or after fetching met an error: a hint to look at Cut again.
	Arrived() <-chan struct{}

	// Ends asks the broker for every partition's log end (the last stable offset) and leader epoch.
	Ends(ctx context.Context) ([]End, error)

	// Take returns the records of exactly [Start, End) of each slice, in offset order, and forgets them; it waits for what has not been fetched. Slices follow on from each other, call by call. Retention that took some is a *LostError.
	// Brokers that are down are waited for; ctx ends the wait.
	Take(ctx context.Context, slices []Slice) ([][]Record, error)

	// Committed tells the broker the positions, for lag tools alone: best effort, never blocks long, never an error of the task.
	Committed(ctx context.Context, next []int64)
}

// Beginning stands for the start of a partition's log, wherever that is: see [Source].
const Beginning = -1

// Cut is a proposal for a plan's ends.
type Cut struct {
	Ends    []int64 // by partition; equal to the last plan's end where nothing is waiting
	Offsets int64   // how many offsets that is
	Bytes   int64
	Full    bool
}

// End is the end of a partition's log.
type End struct {
	LogEnd      int64
	LeaderEpoch int32 // -1 where not known
}

// LostError is a range of offsets that a plan or a position needs and the broker no longer has.
type LostError struct {
	Partition  Partition
	Start, End int64 // what is lost: [Start, End)
}

// Decoder turns the records of one source into fields. Safe for concurrent use.
type Decoder interface {
	// Decode reads r's declared fields into fields (one a declared field of the source, in order; absent ones null), and returns its event time in µs.
	// Strings share r's bytes. A reject other than "" says why the record is a dead letter, and detail what exactly was wrong, for people.
	Decode(r *Record, fields []windows.Value) (eventTime int64, reject Reason, detail string)
}

// Reason is why a record is a dead letter: a small closed set, used as a metric's label.
type Reason string

// The reasons.
const (
	ReasonMalformed Reason = "malformed" // not JSON, not a row of the declared cells, bad UTF-8
	ReasonDuplicate Reason = "duplicate" // a name twice in one object
	ReasonType      Reason = "type"      // a field of another type than declared
	ReasonNoTime    Reason = "no_time"   // no event time, or one that cannot be read
	ReasonTooLarge  Reason = "too_large" // beyond max_record_bytes
	ReasonAbsurd    Reason = "absurd"    // more than max_future ahead, or outside the years 1 to 9999
	ReasonLate      Reason = "late"      // behind its partition's watermark
)

// DeadLetter is a record that no view takes.
type DeadLetter struct {
	Partition Partition
	Offset    int64
	Reason    Reason
	Detail    string
	Key       []byte
	Value     []byte // nil for ReasonTooLarge
}

// Plans is the durable log of plans. With one task it lives in the task's own directory.
type Plans interface {
	// ID names the log: it is made with it, random, and never changes.
	ID() string
	// Append makes the plan durable and returns the plan that won its sequence: p itself, or one that was there first (I2). Definitions' texts are kept before the first plan that names them.
	Append(ctx context.Context, p *Plan) (*Plan, error)
	// After returns the plans of sequences beyond v, in order.
	After(ctx context.Context, v features.Version) ([]*Plan, error)
}

// TimerClock is what a timer waits for.
type TimerClock uint8

// The clocks of timers. Their numbers are stored.
const (
	ByFrontier TimerClock = iota
	ByWatermark
	ByReading // the clock readings of plans: a tombstone's end
	TimerClocks
)

// Entity is what a task's state holds of one entity of one view.
type Entity struct {
	View      int    // index into Project.Views
	Text      string // canonical entity text
	Windows   *windows.Entity
	Published Published
	Timers    [TimerClocks]int64 // when each is to fire, windows.Never for none; State keeps the index in step with them
}

// Published is what was last published of an entity. The zero value means nothing was.
type Published struct {
	Version   features.Version
	Frontier  int64 // µs: with Watermark, what the vector's values were computed at, and can be again
	Watermark int64
	Tombstone bool
	Until     int64  // µs by the plans' clock readings: when a tombstone has expired in the sinks, and need not be remembered
	Schema    string // features.Schema.ID
}

// State is the durable state of a task. One goroutine uses it at a time, but for Plans, which may be used beside it.
type State interface {
	// Position returns where the last commit left the task; found is false in an empty directory.
	Position() (p Position, found bool)

	// Due calls each for every entity with a timer of that clock due at or before until, in the timers' order. text is each's to keep.
	Due(clock TimerClock, until int64, each func(view int, text string) error) error

	// Next returns the earliest timer of a clock, windows.Never for none.
	Next(clock TimerClock) (int64, error)

	// Begin opens the changes of one batch.
	Begin() Change

	// Scan calls each for every entity of a view, in the order of their texts, as committed. The entity is lent until each returns.
	Scan(ctx context.Context, view int, each func(*Entity) error) error
}

// Change is the changes of one batch: invisible until Commit, and gone with Discard (which does nothing after Commit). After a Discard the State must be closed and opened again: its cache has gone ahead.
type Change interface {
	// Load returns the entities of a view in the order of texts, which must ascend, call by call, within a view; those not in the state yet are new, their timers at windows.Never. They are lent until Commit; each must be given to Put before the next Load.
	Load(view int, texts []string) ([]*Entity, error)
	// Put records an entity's new state, and its timers where they moved.
	Put(e *Entity) error
	// Delete forgets an entity and its timers.
	Delete(e *Entity) error
	// Commit makes everything durable in one synced write, together with the position (I5).
	Commit(ctx context.Context, p Position) error
	Discard()
}

// Sink is where a batch's output goes. Publish is retried until it confirms, with the same output, so it must be idempotent; it may be called again after a crash by another process.
type Sink interface {
	Name() string
	// Publish returns once everything is confirmed. It is called from several goroutines at a time, never twice at a time for one vector. An error that [Permanent] marks stops the task; any other is retried, for as long as it lasts.
	Publish(ctx context.Context, out *Output) (Outcome, error)
}

// Output is one part of what a batch publishes.
type Output struct {
	Version     features.Version // of the batch
	Clock       int64            // µs: the clock reading of the owner's newest plan
	Vectors     []features.Vector
	DeadLetters []DeadLetter
}

// Outcome counts what became of vectors.
type Outcome struct {
	Written   int
	Equal     int          // the same version and bytes were there: a replay
	Stale     int          // a newer version was there
	Divergent []Divergence // the same version with other bytes was there: a broken I4
	Refused   int          // refused because the call's clock reading is older than a tombstone lives: confirmed, but the owner must republish
}

// Divergence is one vector whose version was stored with other bytes.
type Divergence struct {
	View    string
	Entity  string
	Version features.Version
}

// TaskKey is a task's small record beside the vectors (design.md §5).
type TaskKey interface {
	// Read returns the record; found is false where there is none.
	Read(ctx context.Context) (k Key, found bool, err error)
	// Planned moves the claimed generation and planned sequence up to v, before v's batch publishes; it creates the record where there is none.
	Planned(ctx context.Context, v features.Version, log string) error
	// Confirmed moves the record from prev to k after k's vectors are confirmed. held is false, and nothing is moved, where the record is missing or its version is neither prev nor at least k's: vectors may have been lost with it;
	// and where the store can tell that it may have lost vectors but not the record (see Key.Lost).
	Confirmed(ctx context.Context, prev features.Version, k Key) (held bool, err error)
	// Restore moves the record up to k whatever version it had below it: after a republish.
	Restore(ctx context.Context, k Key) error
	// Beat sets the heartbeat and the status document beside the record, unversioned.
	Beat(ctx context.Context, b Heartbeat) error
}

// Key is the task key's record.
type Key struct {
	Planned   features.Version // claimed generation, planned sequence
	Version   features.Version // of the last batch whose vectors are confirmed; zero for none
	Frontier  int64            // µs
	Watermark int64            // µs
	Log       string           // the plan log's id
	Lost      string           // why vectors may have been lost although the record is there: what Read has found out, and no part of the record; "" for nothing
}

// Heartbeat is what a task tells of itself every few seconds.
type Heartbeat struct {
	Address string // HTTP address of the owner, "" for none
	Time    int64  // µs, the owner's wall clock
	Status  []byte // JSON document, see GET /v1/status
}

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error that retrying cannot mend: the task stops with it.
func Permanent(err error) error { return permanentError{err} }

// IsPermanent reports whether err is marked by [Permanent].
func IsPermanent(err error) bool {
	var p permanentError
	return errors.As(err, &p)
}
