package model

// Event is one event of a scenario's log.
type Event struct{ Entity, Time int8 }

// Scenario is a small world: its log, what it has, and what may go wrong how often.
type Scenario struct {
	Name  string
	About string

	Log         []Event
	Arriving    bool // events come one by one; else all are there from the start
	SharedPlans bool // two owners share a plan log, each with a directory of its own (§7)
	Wall        bool // clock: wall; else clock: event
	Hours       int8 // how far the clock moves
	Window      int8 // of the sliding count
	TTL         int8 // of the view; 0 for none
	Expiry      int8 // how long tombstones live; 0 for ever
	Shards      int
	Orphans     bool // changed definitions no longer know entity b; else they change every value
	Unanswered  bool // a call may be applied and its answer lost
	Strays      bool // a process may leave a call behind when it dies
	Readers     bool
	Budget
}

// Scenarios are the worlds that are searched whole, in a few seconds.
func Scenarios() []Scenario {
	short := []Event{{0, 1}, {1, 4}}
	log := []Event{{0, 1}, {1, 2}, {0, 4}}
	return []Scenario{
		{Name: "crash", About: "one owner dies at any moment, and its last call is applied late", Log: log, Window: 2, Shards: 1, Unanswered: true, Strays: true, Readers: true, Budget: Budget{Crashes: 2}},
		{Name: "wall", About: "records arrive and the clock moves, under clock: wall", Log: []Event{{0, 1}, {1, 2}}, Arriving: true, Wall: true, Hours: 3, Window: 2, Shards: 1, Unanswered: true, Readers: true, Budget: Budget{Crashes: 1}},
		{Name: "expiry", About: "a vector's ttl passes, its tombstone expires, and a call comes later than that", Log: []Event{{0, 1}, {1, 2}, {1, 4}}, Hours: 3, Window: 2, TTL: 2, Expiry: 2, Shards: 1, Strays: true, Readers: true, Budget: Budget{Crashes: 1}},
		{Name: "two-owners", About: "two owners share a plan log, by mistake", Log: short, Window: 2, Shards: 1, SharedPlans: true, Strays: true, Readers: true, Budget: Budget{Crashes: 1}},
		{Name: "replay", About: "two owners share a plan log, and one loses its directory", Log: short, Window: 2, Shards: 1, SharedPlans: true, Readers: true, Budget: Budget{Restores: 1}},
		{Name: "failover", About: "Redis fails over, and loses writes that it had acknowledged", Log: log, Window: 2, Shards: 1, Unanswered: true, Readers: true, Budget: Budget{Crashes: 1, Losses: 1}},
		{Name: "failover-twice", About: "Redis fails over again while vectors are republished", Log: short, Window: 2, Shards: 1, Readers: true, Budget: Budget{Losses: 2}},
		{Name: "half-lost", About: "one of two shards fails over: the one with the task key, or the other", Log: log, Window: 2, Shards: 2, Readers: true, Budget: Budget{Crashes: 1, Losses: 1}},
		{Name: "restore", About: "the directory is put back from a copy, or emptied, twice", Log: short, Window: 2, Shards: 1, Readers: true, Budget: Budget{Restores: 2}},
		{Name: "restore-stray", About: "the directory is put back from a copy, and a call from before comes late", Log: short, Window: 2, Shards: 1, Strays: true, Readers: true, Budget: Budget{Crashes: 1, Restores: 1}},
		{Name: "copy", About: "a second owner is started on a copy of the directory, beside the first", Log: short, Window: 2, Shards: 1, Readers: true, Budget: Budget{Crashes: 1, Copies: 1}},
		{Name: "redefined", About: "the definitions change every value", Log: log, Window: 2, Shards: 1, Readers: true, Budget: Budget{Crashes: 1, Redefinitions: 1}},
		{Name: "orphans", About: "the definitions no longer know an entity", Log: log, Window: 2, Shards: 1, Orphans: true, Readers: true, Budget: Budget{Crashes: 1, Redefinitions: 1}},
	}
}

// Larger are the same worlds with a longer log, stray calls in all of them, and more that may go wrong: too large to be searched whole in a test's time, so they are searched breadth first for as long as there is.
func Larger() []Scenario {
	var larger []Scenario
	for _, s := range Scenarios() {
		s.Name, s.About = "larger-"+s.Name, s.About+"; with more of everything"
		s.Log = append(s.Log[:len(s.Log):len(s.Log)], Event{Entity: 1, Time: 6})
		s.Unanswered, s.Strays = true, true
		s.Crashes++
		for _, n := range []*int8{&s.Losses, &s.Restores, &s.Redefinitions} {
			if *n > 0 {
				*n++
			}
		}
		larger = append(larger, s)
	}
	return larger
}
