package model

import "fmt"

// Rule is one rule: its name, its switch, where it matters, and which tests show that the real code keeps it.
type Rule struct {
	Name     string // as -without takes it
	In       func(*Rules) *bool
	Section  string   // of design.md
	Scenario string   // in which its absence breaks a promise
	Besides  []string // rules left out with it: it is a second line of defence behind them
	Breaks   Kind     // what its absence breaks
	Tests    []string // folder.Test, or folder.Case of a suite: against the real code, the same trace
}

// Table is every rule, in the order of [Rules].
func Table() []Rule {
	return []Rule{
		{Name: "plan-first", In: func(r *Rules) *bool { return &r.PlanFirst }, Section: "§3, I1, I2", Scenario: "two-owners", Breaks: Left, Tests: []string{"batch.TestModel_APlanIsNeverMadeAnew"}},
		{Name: "first-plan-wins", In: func(r *Rules) *bool { return &r.FirstPlanWins }, Section: "§3, I2", Scenario: "two-owners", Breaks: Divergent, Tests: []string{"store/state.TestPlans_FirstWins", "batch.TestOwners_OneSleepsThroughTheOthersWork"}},
		{Name: "definitions-in-plan", In: func(r *Rules) *bool { return &r.DefinitionsInPlan }, Section: "§6", Scenario: "redefined", Breaks: Divergent, Tests: []string{"batch.TestGeneration_DefinitionsThatChangedTheirMeaning"}},
		{Name: "reading-in-plan", In: func(r *Rules) *bool { return &r.ReadingInPlan }, Section: "§3, I3", Scenario: "wall", Breaks: Divergent, Tests: []string{"batch.TestModel_TheWorldGoesOnWhileTheOwnerIsDead"}},
		{Name: "caught-up-in-plan", In: func(r *Rules) *bool { return &r.CaughtUpInPlan }, Section: "§3, I3", Scenario: "wall", Breaks: Divergent, Tests: []string{"batch.TestModel_TheWorldGoesOnWhileTheOwnerIsDead"}},
		{Name: "commit-after-sinks", In: func(r *Rules) *bool { return &r.CommitAfterSinks }, Section: "§3, I5", Scenario: "crash", Besides: []string{"mends-behind"}, Breaks: End, Tests: []string{"batch.TestModel_CommitsNothingThatIsNotConfirmed", "batch.TestTask_OutageOfASinkStallsAndLosesNothing"}},
		{Name: "one-commit", In: func(r *Rules) *bool { return &r.OneCommit }, Section: "§3, I5", Scenario: "crash", Breaks: End, Tests: []string{"store/state.TestCrash_PositionAndStateMoveTogether"}},
		{Name: "newer-only", In: func(r *Rules) *bool { return &r.NewerOnly }, Section: "§5, I7", Scenario: "crash", Breaks: Backward, Tests: []string{"batch.TestModel_StrayCallsAreAppliedLate", "store/online.Upsert_KeepsTheNewest", "store/online.Upsert_RandomSchedules"}},
		{Name: "equal-stays", In: func(r *Rules) *bool { return &r.EqualStays }, Section: "§5, I7", Scenario: "two-owners", Besides: []string{"first-plan-wins"}, Breaks: Rewritten, Tests: []string{"store/online.Upsert_ReportsDivergence"}},
		{Name: "refuses-late", In: func(r *Rules) *bool { return &r.RefusesLate }, Section: "§5", Scenario: "expiry", Breaks: Resurrected, Tests: []string{"batch.TestModel_AnOwnerSleepsForLongerThanTombstonesLive", "store/online.Upsert_RefusesLateCalls", "store/online.Upsert_BringsBackNothingThatHasExpired"}},
		{Name: "key-by-version", In: func(r *Rules) *bool { return &r.KeyByVersion }, Section: "§5", Scenario: "crash", Breaks: AsOfBack, Tests: []string{"store/online.TaskKey_OnlyEverMovesUp", "store/online.TaskKey_RandomMoves"}},
		{Name: "key-first", In: func(r *Rules) *bool { return &r.KeyFirst }, Section: "§5", Scenario: "crash", Breaks: AsOf, Tests: []string{"store/online.TestFetch_TakesTheTaskKeyFirst"}},
		{Name: "same-generation", In: func(r *Rules) *bool { return &r.SameGeneration }, Section: "§5", Scenario: "restore", Breaks: AsOf, Tests: []string{"serve.TestLookup_Freshness"}},
		{Name: "blind-to-lower", In: func(r *Rules) *bool { return &r.BlindToLower }, Section: "§5", Scenario: "orphans", Breaks: Unknown, Tests: []string{"serve.TestLookup_Freshness"}},
		{Name: "withhold", In: func(r *Rules) *bool { return &r.Withhold }, Section: "§5", Scenario: "half-lost", Breaks: AsOf, Tests: []string{"batch.TestModel_TheTaskKeyPromisesNothingThatIsLost"}},
		{Name: "notices-failover", In: func(r *Rules) *bool { return &r.NoticesFailover }, Section: "§5", Scenario: "half-lost", Breaks: End, Tests: []string{"batch.TestModel_AFailoverAtEveryCall", "batch.TestModel_AnIdleOwnerSeesAFailover", "store/online.TestRedis_FailsOverBesideTheTaskKey"}},
		{Name: "mends-behind", In: func(r *Rules) *bool { return &r.MendsBehind }, Section: "§5", Scenario: "redefined", Breaks: End, Tests: []string{"batch.TestModel_AStartFindsOutWhatWasLost"}},
		{Name: "from-newest", In: func(r *Rules) *bool { return &r.FromNewest }, Section: "§5", Scenario: "failover", Breaks: End, Tests: []string{"batch.TestModel_AFailoverWhileTheOwnerIsDead"}},
		{Name: "begins-again", In: func(r *Rules) *bool { return &r.BeginsAgain }, Section: "§5", Scenario: "failover-twice", Breaks: End, Tests: []string{"batch.TestModel_ALossIsSeenWithoutTheHeartbeat", "store/online.TestRedis_FailsOverBesideTheTaskKey"}},
		{Name: "recorded-version", In: func(r *Rules) *bool { return &r.RecordedVersion }, Section: "§5", Scenario: "failover", Breaks: Recorded, Tests: []string{"batch.TestTask_RepublishesWhatTheStoreLost", "batch.TestModel_LostAgainDuringARepublish"}},
		{Name: "recorded-frontier", In: func(r *Rules) *bool { return &r.RecordedFrontier }, Section: "§5", Scenario: "failover", Breaks: Divergent, Tests: []string{"batch.TestTask_RepublishesWhatTheStoreLost", "batch.TestModel_LostAgainDuringARepublish"}},
		{Name: "planned-first", In: func(r *Rules) *bool { return &r.PlannedFirst }, Section: "§5", Scenario: "restore", Breaks: End, Tests: []string{"batch.TestModel_RestoredBeforeAnythingWasConfirmed"}},
		{Name: "rises", In: func(r *Rules) *bool { return &r.Rises }, Section: "§5", Scenario: "restore", Breaks: Left, Tests: []string{"batch.TestGeneration_ARestoredDirectoryBeginsANewOneByItself", "batch.TestGeneration_AnEmptyDirectory"}},
		{Name: "looks-at-key", In: func(r *Rules) *bool { return &r.LooksAtKey }, Section: "§5", Scenario: "restore", Breaks: Divergent, Tests: []string{"batch.TestModel_RestoredTwice"}},
		{Name: "claims-first", In: func(r *Rules) *bool { return &r.ClaimsFirst }, Section: "§5", Scenario: "restore", Breaks: Divergent, Tests: []string{"batch.TestModel_RestoredTwice"}},
		{Name: "last-claim-owns", In: func(r *Rules) *bool { return &r.LastClaimOwns }, Section: "§5", Scenario: "copy", Breaks: End, Tests: []string{"batch.TestModel_AnOwnerWakesBesideAnother", "store/online.TaskKey_BelongsToWhoClaimedLast"}},
		{Name: "sweeps", In: func(r *Rules) *bool { return &r.Sweeps }, Section: "§5", Scenario: "orphans", Breaks: Left, Tests: []string{"batch.TestGeneration_AnEmptyDirectory", "store/online.Sweep_TakesOrphansAlone"}},
	}
}

// Find returns the rule of a name.
func Find(name string) (Rule, error) {
	for _, r := range Table() {
		if r.Name == name {
			return r, nil
		}
	}
	return Rule{}, fmt.Errorf("no rule %q; -list names them", name)
}
