package model

// Rules are the rules of the protocol, each with its own switch. A rule that is false is left out: what happens then is said beside it.
type Rules struct {
	// PlanFirst: a plan is durable before any output leaves its batch, and is executed by whoever runs its sequence (§3, I1, I2). Without: it is kept in memory, and a process that dies has forgotten it.
	PlanFirst bool
	// FirstPlanWins: of several plans for a sequence the first that was written is executed (§3, I2). Without: each owner executes its own.
	FirstPlanWins bool
	// DefinitionsInPlan: a plan is executed under the definitions that made it (§6). Without: under those of the process.
	DefinitionsInPlan bool
	// ReadingInPlan: a batch takes the time from its plan (§3, I3). Without: it looks at the clock.
	ReadingInPlan bool
	// CaughtUpInPlan: whether the task has caught up is in the plan (§3, I3). Without: it is asked when the batch runs.
	CaughtUpInPlan bool

	// CommitAfterSinks: a batch is committed after all its vectors are confirmed (§3, I5). Without: it may be committed before.
	CommitAfterSinks bool
	// OneCommit: state and position are committed in one write (§3, I5). Without: the position is written first.
	OneCommit bool

	// NewerOnly: the script writes over older versions alone (§5, I7). Without: over any but an equal one.
	NewerOnly bool
	// EqualStays: an equal version is never rewritten, and other bytes under it are told (§5, I7). Without: it is written over.
	EqualStays bool
	// RefusesLate: the script refuses a call whose clock reading is older than tombstones live (§5). Without: it takes any call.
	RefusesLate bool

	// KeyByVersion: the task key only ever moves up (§5). Without: it moves to what the last call says.
	KeyByVersion bool
	// KeyFirst: a reader takes the task key first, and the vectors after (§5). Without: the vectors first.
	KeyFirst bool
	// SameGeneration: a vector holds at the task key's frontier only where their generations are equal (§5). Without: whenever that is the later one.
	SameGeneration bool
	// BlindToLower: a vector of a lower generation than the task key's is absent (§5). Without: it is shown.
	BlindToLower bool
	// Withhold: while something must be republished the task key does not move (§5). Without: it does.
	Withhold bool

	// NoticesFailover: a primary with another replication id has to be given everything again (§5). Without: only a task key that is missing or behind gives a loss away.
	NoticesFailover bool
	// MendsBehind: a start that finds the task key behind its directory republishes (§5). Without: only what the process remembers, or Redis tells, makes it.
	MendsBehind bool
	// FromNewest: a republish is made from a committed state no older than anything published, and goes on between batches (§5). Without: at any moment.
	FromNewest bool
	// BeginsAgain: a republish during which something was lost once more begins again (§5). Without: it ends as if nothing had been.
	BeginsAgain bool
	// RecordedVersion: a republish writes each vector under the version that it was published under (§5). Without: under the state's.
	RecordedVersion bool
	// RecordedFrontier: a republish writes each vector with the frontier that it was published with (§5). Without: with the state's.
	RecordedFrontier bool

	// PlannedFirst: the task key knows a planned sequence before its batch publishes (§5). Without: it learns of it when it moves to it.
	PlannedFirst bool
	// Rises: a directory behind what is planned begins a new generation (§5). Without: it goes on in its own.
	Rises bool
	// LooksAtKey: a new generation is one more than the directory's, the task key's and its claim (§5). Without: one more than the directory's.
	LooksAtKey bool
	// ClaimsFirst: a new generation is claimed in the task key before its first vector (§5). Without: when the task key moves to it.
	ClaimsFirst bool
	// LastClaimOwns: of two plan logs the one whose owner claimed last owns the task, and the other owner stops (§5). Without: both go on.
	LastClaimOwns bool
	// Sweeps: what lower generations have left is swept away (§5). Without: it stays.
	Sweeps bool
}

// AllRules is the protocol as it is.
func AllRules() Rules {
	var r Rules
	for _, rule := range Table() {
		*rule.In(&r) = true
	}
	return r
}

// Without returns the rules but for those named.
func (r Rules) Without(names ...string) (Rules, error) {
	for _, name := range names {
		rule, err := Find(name)
		if err != nil {
			return r, err
		}
		*rule.In(&r) = false
	}
	return r, nil
}
