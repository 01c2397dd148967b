package model

// The bounds of every world.
const (
	entities      = 2
	shards        = 2
	owners        = 2
	maxSequence   = 6
	maxGeneration = 4
	lastSequence  = 100 // above all sequences of a generation
)

// World is all there is at one moment: what is durable, what the processes have in memory, what calls are on their way. It is comparable, so that a world that was visited is known again.
type World struct {
	Available int8 // how many events the log has so far
	Clock     int8 // everybody's wall clock, Redis's TIME too

	Plans     [maxSequence + 1]Plan // the plan log that owners share, by sequence: the first plan written for each
	Owners    [owners]Owner
	Primaries [shards]Shard
	Replicas  [shards]Shard
	Doubted   bool // a primary has failed over, and nothing was republished since: the task key does not know its replication id
	Stray     Call // a call that a dead process has left behind

	Copy   Directory // a copy of owner A's directory
	Copied bool
	Reader Reader

	Left Budget // what may still go wrong
	Logs int8   // plan logs made so far

	// What no process can know: for the checks alone.
	Greatest [entities]Version // the greatest version ever stored of each entity, and not lost
	Lost     bool              // a shard has lost something, and nothing was republished since
	Excused  Version           // the task key's version when it did: up to there a reader may be told too much until then
}

// Version is what a vector is compared by (§1).
type Version struct{ Generation, Sequence int8 }

func (v Version) less(o Version) bool {
	return v.Generation < o.Generation || v.Generation == o.Generation && v.Sequence < o.Sequence
}

func newest(a, b Version) Version {
	if a.less(b) {
		return b
	}
	return a
}

// Plan is a batch's plan (§3). The zero value is none.
type Plan struct {
	Version     Version
	Start, End  int8 // events [Start, End) of the log
	Reading     int8 // the clock reading
	CaughtUp    bool // End was the log's end
	Definitions int8
}

// Directory is what is durable with an owner: the committed state, and in a plan log of its own the plan that is not committed yet.
type Directory struct {
	Log         int8 // names its plan log: random in truth, so that no two are alike
	Version     Version
	Position    int8  // the next event
	Events      uint8 // the events that the state has aggregated, a bit each
	Frontier    int8
	Reading     int8 // the last plan's
	Definitions int8
	Opening     int8 // the frontier at which the generation began
	Recorded    [entities]Record
	Plan        Plan // in hand
}

// Record is what the state records of a vector's publishing. The zero value means that there was none.
type Record struct {
	Version     Version
	Frontier    int8
	Definitions int8
}

// Owner is a process that runs the task, on its directory.
type Owner struct {
	Runs bool
	Directory
	Deployed int8 // the definitions that it was started with

	// In memory: gone when it dies.
	Told      bool  // the task key knows the plan in hand
	Confirmed uint8 // the vectors of the plan in hand that Redis has confirmed, a bit an entity
	Moved     bool  // the task key was moved, or withheld, after all of them
	Withheld  bool  // the task key does not move until everything is republished
	Pass      int8  // a republish: 0 none, else 1 + the next entity
}

// Shard is one Redis primary, or its replica.
type Shard struct {
	Vectors [entities]Vector
	Key     TaskKey
}

// Vector is one stored value. The zero value means that there is none.
type Vector struct {
	Version     Version
	Value       int8 // tombstone, or the count
	Frontier    int8
	Definitions int8
	Expires     int8 // a tombstone's
}

const tombstone = -1

func (v Vector) exists() bool { return v.Version != Version{} }
func (v Vector) live() bool   { return v.exists() && v.Value != tombstone }

// TaskKey is the record beside the vectors (§5).
type TaskKey struct {
	Planned  Version // claimed generation, planned sequence
	Version  Version // of the last batch whose vectors are confirmed
	Frontier int8
	Log      int8 // the plan log of who claimed it last
	Owner    int8 // who that was
	Swept    int8 // the newest generation below which nothing is left

	// What it says of every vector, for the checks: it holds for these events under these definitions.
	Events      uint8
	Definitions int8
}

// Call is one call of a script. The zero value is none.
type Call struct {
	Kind    callKind
	Entity  int8
	Vector  Vector
	Reading int8 // of the owner's newest plan
	Prev    Version
	Key     TaskKey
}

type callKind int8

const (
	noCall callKind = iota
	upsert
	confirm
)

// Reader is a reader between its two reads. It reads once in a trace, at any two moments of it.
type Reader struct {
	Began   bool
	Key     TaskKey          // read first
	Vectors [entities]Vector // read first, where that rule is left out
}

// Budget is how often each thing may happen.
type Budget struct{ Crashes, Losses, Restores, Copies, Redefinitions int8 }

// shardOf returns where an entity's vector lies. The task key is on the last shard.
func (s *Scenario) shardOf(entity int8) int {
	if s.Shards == 2 && entity == 0 {
		return 0
	}
	return s.keyShard()
}

func (s *Scenario) keyShard() int { return s.Shards - 1 }

func (m *machine) key(w *World) *TaskKey { return &w.Primaries[m.keyShard()].Key }

func (m *machine) vector(w *World, entity int8) *Vector {
	return &w.Primaries[m.shardOf(entity)].Vectors[entity]
}

// begin is the world in which a scenario begins: an owner, or two, has claimed the task and done nothing.
func (m *machine) begin() World {
	w := World{Left: m.Budget}
	if !m.Arriving {
		w.Available = int8(len(m.Log))
	}
	first := Version{Generation: 1}
	for i := range w.Owners {
		w.Owners[i].Directory = Directory{Version: first}
		w.Owners[i].Runs = i == 0 || m.SharedPlans
	}
	m.key(&w).Planned, m.key(&w).Version = first, first
	return w
}
