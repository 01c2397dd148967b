package batch

import (
	"context"
	"errors"

	"highwater/features"
	"highwater/windows"
)

// Record is one Kafka record as fetched. Its bytes are the fetcher's: they live until the batch that took the record is done.
type Record struct {
	Offset  int64
	Time    int64 // µs: the record's own timestamp; 0 or less where it has none
	Key     []byte
	Value   []byte
	Headers []Header
}

// Header is one header of a record. Names may repeat: the last one counts.
type Header struct {
	Key   string
	Value []byte
}

// Source reads a task's partitions from Kafka. Fetching runs ahead of the plans, within a bound on memory; what a batch gets is exactly what its plan says.
// Its methods may be called from several goroutines; only one calls Take.
type Source interface {
	// Partitions returns the task's partitions in the task's order. It does not change while the source is open.
	Partitions() []Partition

	// TopicIDs returns the id of each partition's topic, in the same order: another one under the same name is another log. "" where the brokers are too old to have ids.
	TopicIDs() []string

	// OffsetsAt returns, by partition, the first offset whose record's own timestamp is at or after at (µs); the log's end where there is none.
	OffsetsAt(ctx context.Context, at int64) ([]int64, error)

	// Start begins to fetch, from places[i].Next in partition i; where that is Beginning it sets it to the log's start, and begins there. An offset below the log's start is a *LostError; one above its end, or in a part of the log
	// that was cut off since its leader epoch, is a *TruncatedError.
	Start(ctx context.Context, places []Place) error

	// Cut proposes the ends of the next plan: as much of what has been fetched and not yet planned as fits maxOffsets offsets and maxBytes bytes, at least one record of those there are, shared fairly between partitions.
	// It counts trailing offsets without a record (control records, aborted transactions) as fetched. Full says that a limit was reached, so that the batch need not wait for its interval.
	// An error is what fetching met and cannot get over by itself (a *LostError, a *TruncatedError, a deleted topic, a compacted one), or a *ChangedError.
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

// StalledSource is a Source that also says what keeps it from fetching, as far as time or somebody may mend it: it may answer Ends all the same. Stalled returns nil for nothing.
type StalledSource interface{ Stalled() error }

// Place is where in a partition's log a task goes on.
type Place struct {
	Next        int64 // the first offset to read
	LeaderEpoch int32 // of the partition's leader when Next was planned; -1 where not known
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

// TruncatedError is an end of a log that a position or a plan relies on and that is no longer there: an unclean leader election, or a restored broker, has cut it off, and other records may stand there one day.
type TruncatedError struct {
	Partition Partition
	Next      int64 // where the task stands
	End       int64 // where the log that it knew ends now
}

// ChangedError says that something which a task is started with has changed: a topic gained partitions, or was made again; a new generation was asked for. Opened and started again, the task goes on by itself.
type ChangedError struct {
	Why   string
	Raise bool // it is to begin a new generation, from where it stands: [FromHere]
}

// SupersededError says that another owner has the task. It is permanent.
type SupersededError struct {
	Ours, Theirs string // each says which directory, generation and process it is
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

// Kinds of a sink's errors, a small closed set, used as a metric's label. An error says its own by a method Kind() string; [KindOf] finds it.
const (
	KindUnreachable = "unreachable" // nothing answers, or the connection broke
	KindTimeout     = "timeout"     // no answer in time
	KindAuth        = "auth"        // wrong password, or TLS that does not verify
	KindDenied      = "denied"      // logged in, without the right to do this
	KindReadOnly    = "read_only"   // a replica, or a server that may not write now
	KindMemory      = "memory"      // out of memory
	KindLoading     = "loading"     // starting up
	KindMoving      = "moving"      // a cluster that moves slots, or is down in part
	KindDisk        = "disk"        // no room on the disk of the task's own state, or no file handles
	KindOther       = "other"
)

// KindOf returns the kind of a sink's error: what the first error in its chain with a method Kind() string says, else KindOther.
func KindOf(err error) string {
	if k, ok := errors.AsType[interface {
		error
		Kind() string
	}](err); ok {
		return k.Kind()
	}
	return KindOther
}

// DeadLetter is a record that no view takes.
type DeadLetter struct {
	Partition Partition
	Offset    int64
	Reason    Reason
	Detail    string
	Key       []byte
	Value     []byte   // nil for ReasonTooLarge
	Headers   []Header // the record's own; nil for ReasonTooLarge
}

// Plans is the durable log of plans. With one task it lives in the task's own directory.
type Plans interface {
	// ID names the log: it is made with it, random, and never changes.
	ID() string
	// Append makes the plan durable and returns the plan that won its sequence: p itself, or one that was there first (I2). Definitions' texts are kept before the first plan that names them.
	// A *FullError says that there is no room for it: it is tried again.
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

	// Scan calls each for every entity of a view whose text is beyond after, in the order of their texts, as committed. The entity is lent until each returns; an error of each ends the scan, and is returned as it is.
	Scan(ctx context.Context, view int, after string, each func(*Entity) error) error

	// Entities returns how many entities of a view the state holds, as committed.
	Entities(view int) int64

	// Raise begins a new generation in one synced write: the position becomes p, the plan log gets a new id, and whatever was published in a lower generation counts from now on as published at p.Version, under p.Opening.
	// With empty, all entities, timers and shapes are forgotten. No change may be open.
	Raise(ctx context.Context, p Position, empty bool) error
}

// Change is the changes of one batch: invisible until Commit, and gone with Discard (which does nothing after Commit). After a Discard the State must be closed and opened again: its cache has gone ahead.
type Change interface {
	// Load returns the entities of a view in the order of texts, which must ascend, call by call, within a view; those not in the state yet are new, their timers at windows.Never. They are lent until Commit; each must be given to Put before the next Load.
	Load(view int, texts []string) ([]*Entity, error)
	// Put records an entity's new state, and its timers where they moved.
	Put(e *Entity) error
	// Delete forgets an entity and its timers.
	Delete(e *Entity) error
	// Commit makes everything durable in one synced write, together with the position (I5). After a *FullError it is called again; after any other error the change is over.
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

// TaskKey is a task's small record beside the vectors (design.md §5). Once it is claimed, a call of any other owner that finds the claim is a *SupersededError.
type TaskKey interface {
	// Read returns the record; found is false where there is none (Key.Claimed may be known all the same).
	Read(ctx context.Context) (k Key, found bool, err error)
	// Owner returns the last heartbeat; found is false where there is none.
	Owner(ctx context.Context) (b Heartbeat, found bool, err error)
	// Claim makes the caller the record's owner, before anything else of its generation leaves the process; it makes the record where there is none. The last who claims a generation with its plan log owns it;
	// another log's claim of the same generation, or any of a higher one, is a *SupersededError.
	Claim(ctx context.Context, c Claim) error
	// Planned moves the planned sequence up to v, before v's batch publishes; it creates the record where there is none.
	Planned(ctx context.Context, v features.Version, log string) error
	// Confirmed moves the record from prev to k after k's vectors are confirmed. held is false, and nothing is moved, where the record is missing or its version is neither prev nor at least k's: vectors may have been lost with it;
	// and where the store can tell that it may have lost vectors but not the record (see Key.Lost).
	Confirmed(ctx context.Context, prev features.Version, k Key) (held bool, err error)
	// Restoring marks the record at the start of a republish; Restore ends it, and moves the record up to k whatever version it had below it. held is false, and nothing is moved, where the mark is gone: the record was lost once more, and vectors with it;
	// and where the store can tell that it may have lost more vectors since the loss that the republish mends was first seen.
	Restoring(ctx context.Context, k Key) error
	Restore(ctx context.Context, k Key) (held bool, err error)
	// Sweep writes a tombstone, of the last version below opening's generation, over every vector of a lower one, and says so in the record (Key.Swept). pace is called after each stretch of so many keys, and may wait. It may run beside everything else.
	Sweep(ctx context.Context, opening features.Version, clock, frontier int64, pace func(keys int) error) (swept int64, err error)
	// Beat sets the heartbeat and the status document beside the record, unversioned.
	Beat(ctx context.Context, b Heartbeat) error
}

// Claim is an owner's claim of a task.
type Claim struct {
	Version features.Version // where the owner stands; its generation is what is claimed
	Log     string           // the plan log's id
	Owner   string           // the owner, to people and to the other owner: no two processes have the same. "" for owners that share a plan log: they do not supersede each other
}

// Key is the task key's record.
type Key struct {
	Planned   features.Version // claimed generation, planned sequence
	Version   features.Version // of the last batch whose vectors are confirmed; zero for none
	Frontier  int64            // µs
	Watermark int64            // µs
	Log       string           // the plan log's id
	Owner     string           // who claimed it
	Claimed   uint32           // the greatest generation that was ever claimed, as far as the store remembers, also where the record is missing
	Swept     uint32           // the newest generation below which no vector is left
	Lost      string           // why vectors may have been lost although the record is there: what Read has found out, and no part of the record; "" for nothing
}

// Heartbeat is what a task tells of itself every few seconds.
type Heartbeat struct {
	Address string // HTTP address of the owner, "" for none
	Time    int64  // µs, the owner's wall clock
	Stopped bool   // the owner has ended, and said so
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
