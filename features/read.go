package features

import "highwater/windows"

// VectorKey names one stored vector: a view, and an entity's canonical text (see [AppendEntity]).
type VectorKey struct {
	View   string
	Entity string
}

// StoredVector is a vector as a reader finds it in the online store.
type StoredVector struct {
	Found     bool // false where the store has no vector under this key: all but View and Entity are zero then
	View      string
	Entity    string
	Version   Version
	Task      int             // the task that wrote it
	SchemaID  string          // Schema.ID of the shape it was written in
	Schema    Schema          // that shape: it may be older than the catalogue's, so look features up by name. Shared: do not change it
	Frontier  int64           // µs: the instant as of which the values were computed
	EventTime int64           // µs: the entity's newest event
	Tombstone bool            // the vector outlived its ttl
	Values    []windows.Value // one a feature of Schema, in its order; nil for a tombstone
}

// TaskMark is the part of a task key that readers need: up to where all vectors are confirmed.
type TaskMark struct {
	Found     bool // false where there is no task key; the rest is zero then
	Task      int
	Version   Version // of the last batch whose vectors are confirmed; zero before the first
	Frontier  int64   // µs; windows.NoTime before the first
	Watermark int64   // µs; windows.NoTime before the first
	Log       string  // the plan log's id
}

// Fetched is one answer of the online store. Mark was read before any of Vectors, so that it understates and never overstates what they hold (design.md §5).
type Fetched struct {
	Mark    TaskMark
	Vectors []StoredVector // one a key, in the order asked
}

// Heartbeat is what a task last told of itself.
type Heartbeat struct {
	Task    int
	Address string // HTTP address of the owner, "" for none
	Time    int64  // µs, the owner's wall clock
	Status  []byte // JSON document, see GET /v1/status
}
