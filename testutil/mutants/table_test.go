package mutants

// mutant is one deliberate bug.
type mutant struct {
	name   string // what the code does wrong
	breaks string // the invariant, or the section of design.md
	edits  []edit
	in     string // the package of the test
	test   string // the test that fails: a name, or Test/subtest
}

// edit replaces a text that stands once in a file.
type edit struct{ file, old, new string }

func one(file, old, new string) []edit { return []edit{{file, old, new}} }

// mutants are the bugs, in the order of a batch's stages.
var mutants = []mutant{
	// plan
	{"a plan is not synced", "I1",
		one("store/state/plans.go", "err = s.apply(ctx, b)", "err = s.db.Apply(b, pebble.NoSync)"),
		"store/state", "TestCrash_PositionAndStateMoveTogether"},
	{"a plan that was found without its commit is discarded", "I2",
		one("batch/task.go", "t.pending, t.recovering = pending, t.position.Version", "pending = nil\n\tt.pending, t.recovering = pending, t.position.Version"),
		"batch", "TestTask_DiesAtEveryCall"},
	{"the last plan of a sequence wins, not the first", "I2",
		one("store/state/plans.go", "if won != nil || err != nil {", "if err != nil {"),
		"store/state", "TestPlans_FirstWins"},
	{"the version is the wall clock's", "§5",
		one("batch/planner.go", "Sequence: p.version.Sequence + 1}", "Sequence: max(p.version.Sequence+1, uint64(time.Now().UnixMilli())-1_700_000_000_000)}"),
		"batch", "TestTask_EqualsTheOracleHoweverTheLogIsCut"},
	{"a clock that is set back is believed", "§3.1",
		one("batch/planner.go", "max(now.UnixMicro(), p.reading)", "now.UnixMicro()"),
		"batch", "TestClock_JumpsBackAndForth"},
	// read
	{"lateness is judged once a batch, not record by record", "§4, I6",
		one("batch/read.go", "r.marks.watermarkOf(slice, p.lateness); t < w", "in.before.watermarkOf(slice, p.lateness); t < w"),
		"batch", "TestTask_EqualsTheOracleHoweverTheLogIsCut"},
	{"the frontier follows the clock though the plan is not caught up", "§4, I6",
		one("batch/marks.go", "clock == features.WallClock && p.CaughtUp()", "clock == features.WallClock"),
		"batch", "TestFrontier_FollowsTheClockOnlyWhereThePlanIsCaughtUp"},
	{"the watermark is the greatest of the partitions', not the least", "§4",
		one("batch/marks.go", "least = min(least, m.watermarkOf(i, partitions[i].lateness))", "least = m.watermarkOf(i, partitions[i].lateness)"),
		"batch", "TestTask_EqualsTheOracleHoweverTheLogIsCut"},
	{"an idle partition holds the watermark", "§4",
		one("batch/marks.go", "case clock == features.WallClock && p.Slices[i].Idle:\n\t\t\tcontinue\n", ""),
		"batch", "TestWatermark_IdlePartitionsAreLeftOutUnderTheWallClock"},
	// transform
	{"a tile counts one instant too long", "§4",
		one("windows/span.go", "s.hides(tiles[n]) <= now", "s.hides(tiles[n]) < now"),
		"windows", "TestMachine_IsWhatTheDefinitionsSay"},
	{"tiles are summed in the order of a map", "I3, I4",
		[]edit{{"windows/tiles.go", "for i := lo*columns + column; i < hi*columns; i += columns {", "rows := map[int]bool{}\n\t\tfor i := lo*columns + column; i < hi*columns; i += columns {\n\t\t\trows[i] = true\n\t\t}\n\t\tfor i := range rows {"}},
		"batch", "TestTask_LeavesTheSameBytesEachTime"},
	{"first and last go by arrival", "§4",
		one("windows/edge.go", "if p.n == 0 || x.wins(k, p.more.key) {", "if p.n == 0 || k.offset >= 0 {"),
		"windows", "TestMachine_OrderOfArrivalDoesNotShow"},
	{"a sum of integers wraps", "§4",
		one("windows/sum.go", "if !ok {\n\t\treturn Value{}, overflowed", "if !ok {\n\t\treturn IntOf(v), sound"),
		"windows", "TestAggregates_WorkedByHand"},
	{"timers are not written, and so lost at a restart", "§4, I5",
		one("store/state/change.go", "err = c.batch.Set(c.key, nil, nil)", "err = nil"),
		"store/state", "TestStore_BehavesAsTheModel"},
	{"a vector that has expired wakes nobody when its tombstone ends", "§5",
		one("batch/transform.go", "e.Published.Until = plan.Clock + t.tomb\n\t\te.Timers[ByReading] = e.Published.Until", "e.Published.Until = plan.Clock + t.tomb"),
		"batch", "TestTombstone_TheStateForgetsWhenItEnds"},
	{"what a batch that failed has changed stays in the cache", "I5",
		one("store/state/change.go", "c.settle()\n\tc.s.cache.forget(c.id)\n", "c.settle()\n"),
		"store/state", "TestStore_BehavesAsTheModel"},
	// publish
	{"a sink that does not confirm is passed over", "I5",
		one("batch/publish.go", "outcome, err = sink.Publish(ctx, out)\n\t\t\treturn err\n", "outcome, err = sink.Publish(ctx, out)\n\t\t\t_ = err\n\t\t\treturn nil\n"),
		"batch", "TestTask_OutageOfASinkStallsAndLosesNothing"},
	{"the planned sequence is not told before a batch publishes", "§5",
		one("batch/taskkey.go", "err := t.retryKey(ctx)(func() error { return t.o.Key.Planned(ctx, v, t.o.Plans.ID()) })", "var err error"),
		"batch", "TestModel_AnOwnerWakesBesideAnother"},
	{"an equal version is written again", "I7",
		one("store/online/upsert.lua", "if was < is then", "if was <= is then"),
		"store/online", "TestUpsert_Miniredis/Upsert_ReportsDivergence"},
	{"an older version is written", "I7",
		one("store/online/upsert.lua", "if was < is then", "if was ~= is then"),
		"store/online", "TestUpsert_Miniredis/Upsert_KeepsTheNewest"},
	{"a tombstone deletes, and forgets the version", "§5",
		one("store/online/upsert.lua", "redis.call('SET', keys[i], new, 'PX', ARGV[4])", "redis.call('DEL', keys[i])"),
		"store/online", "TestUpsert_Miniredis/Upsert_TombstonesExpireAndLiveVectorsDoNot"},
	{"a call older than tombstones live is let in", "§5",
		one("store/online/upsert.lua", "if tonumber(redis.call('TIME')[1]) > tonumber(ARGV[1]) then", "if false then"),
		"store/online", "TestUpsert_Miniredis/Upsert_BringsBackNothingThatHasExpired"},
	// commit
	{"the batch is committed before it is published", "I5",
		[]edit{
			{"batch/task.go", "\tcounters, refused, err := t.transformAndPublish(ctx, in, change, &stats)\n", "\tlater := make(chan func() error, 10_000)\n\tcounters, refused, err := t.transformAndPublish(context.WithValue(ctx, \"later\", later), in, change, &stats)\n"},
			{"batch/task.go", "\tstats.Stages.Commit, stats.Finished = time.Since(start), t.o.Now()\n", "\tclose(later)\n\tfor publish := range later {\n\t\tif err := publish(); err != nil {\n\t\t\treturn err\n\t\t}\n\t}\n\tstats.Stages.Commit, stats.Finished = time.Since(start), t.o.Now()\n"},
			{"batch/publish.go", "\treturn p.publish(ctx, &Output{Version: p.version, Clock: p.clock, Vectors: vectors})\n", `	out := &Output{Version: p.version, Clock: p.clock}
	for _, v := range vectors {
		v.Values = append(v.Values[:0:0], v.Values...)
		out.Vectors = append(out.Vectors, v)
	}
	if later, ok := ctx.Value("later").(chan func() error); ok {
		later <- func() error { return p.publish(context.WithoutCancel(ctx), out) }
		return nil
	}
	return p.publish(ctx, out)
`},
		},
		"batch", "TestTask_DiesAtEveryCall"},
	{"the position is written before the state", "I5",
		one("store/state/change.go", "if err := errors.Join(c.batch.Set(keys.Position(), value, nil), ctx.Err()); err != nil {", "if err := errors.Join(s.db.Set(keys.Position(), value, pebble.Sync), ctx.Err()); err != nil {"),
		"store/state", "TestCrash_PositionAndStateMoveTogether"},
	{"a commit is not synced", "I5",
		one("store/state/change.go", "if err := s.apply(ctx, c.batch); err != nil {", "if err := s.db.Apply(c.batch, pebble.NoSync); err != nil {"),
		"store/state", "TestCrash_PositionAndStateMoveTogether"},
	{"the task key moves while a republish is owed", "§5",
		one("batch/taskkey.go", "if t.mustRestore {\n\t\treturn nil\n\t}\n", ""),
		"batch", "TestTask_RepublishesWhatTheStoreLost"},
	// generations, republish, reading
	{"a republish writes under the current version", "§5",
		one("batch/republish.go", "if p.out.add(view, e); len(p.out.vectors) < chunkEntities {", "p.out.add(view, e)\n\t\tp.out.vectors[len(p.out.vectors)-1].Version = t.position.Published()\n\t\tif len(p.out.vectors) < chunkEntities {"),
		"batch", "TestModel_LostAgainDuringARepublish"},
	{"a republish does not wait for the plans that were found", "§5",
		one("batch/republish.go", "case t.position.Version.Less(t.recovering), t.redefined():", "case t.redefined():"),
		"batch", "TestModel_AFailoverWhileTheOwnerIsDead"},
	{"a co-owner republishes before it has caught up with the plan log", "§5",
		one("batch/republish.go", "if t.lookedOn || t.o.Owner != \"\" {", "if true {"),
		"batch", "TestOwners_ALossWhileOneIsBehind"},
	{"readers see vectors of lower generations", "§5",
		one("serve/freshness.go", "case mark.Version.Generation > v.Version.Generation:\n\t\treturn windows.NoTime, false\n", "case mark.Version.Generation > v.Version.Generation:\n\t\treturn v.Frontier, true\n"),
		"serve", "TestLookup_Freshness"},
	{"as_of is the task key's whatever the generation", "§5",
		one("serve/freshness.go", "case !mark.Found || mark.Task != v.Task || mark.Version.Generation < v.Version.Generation:", "case !mark.Found || mark.Task != v.Task:"),
		"serve", "TestLookup_Freshness"},
}
