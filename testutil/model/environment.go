package model

// environment takes every step of what is around the owners: records, the clock, Redis's failures.
func (m *machine) environment(w World, to emit) {
	if int(w.Available) < len(m.Log) {
		n := w
		n.Available++
		to(step("event %d arrives", w.Available), n)
	}
	if w.Clock < m.Hours {
		n := w
		n.Clock++
		n.expire()
		to(step("the clock moves to %d", n.Clock), n)
	}
	if w.Stray.Kind != noCall {
		n := w
		n.Stray = Call{}
		m.apply(&n, w.Stray)
		to(w.Stray.arrives(), n)
	}
	if w.Left.Losses > 0 {
		for s := range m.Shards {
			m.failOver(w, s, to)
		}
	}
}

// apply applies a stray call; nobody hears its answer.
func (m *machine) apply(w *World, c Call) {
	switch c.Kind {
	case upsert:
		m.upsert(w, c.Entity, c.Vector, c.Reading)
	case confirm:
		m.confirm(w, c.Prev, c.Key)
	}
}

func (c *Call) arrives() Step {
	if c.Kind == confirm {
		return step("the stray move of the task key to %d.%d is applied", c.Key.Version.Generation, c.Key.Version.Sequence)
	}
	return step("the stray call for %c at %d.%d is applied", entity(c.Entity), c.Vector.Version.Generation, c.Vector.Version.Sequence)
}

// failOver is what may become of a shard: its replica catches up, or takes over as it is. A replica that never caught up is empty.
func (m *machine) failOver(w World, s int, to emit) {
	if w.Replicas[s] == w.Primaries[s] {
		return
	}
	n := w
	n.Replicas[s] = w.Primaries[s]
	to(step("the replica of shard %d catches up", int8(s)), n)

	n = w
	n.Primaries[s] = w.Replicas[s]
	m.lose(&n, &w, s)
	to(step("shard %d fails over to its replica, which is behind", int8(s)), n)
}

// lose accounts for what a shard has lost.
func (m *machine) lose(w, before *World, s int) {
	w.Left.Losses--
	w.Lost = true
	w.Excused = newest(w.Excused, m.key(before).Version)
	for e := range int8(entities) {
		if m.shardOf(e) == s {
			w.Greatest[e] = w.Primaries[s].Vectors[e].Version
		}
	}
	if m.NoticesFailover || s == m.keyShard() && w.Primaries[s].Key != before.Primaries[s].Key {
		w.Doubted = true
	}
	if m.BeginsAgain {
		for i := range w.Owners {
			w.Owners[i].Pass = 0
		}
	}
}

// die takes the steps in which an owner's process, or its directory, comes to harm.
func (m *machine) die(w World, i int8, to emit) {
	o := &w.Owners[i]
	if w.Left.Crashes > 0 {
		n := w
		if m.crash(&n, i); n.Owners[i] != *o {
			to(step("owner %c dies, and starts again", who(i)), n)
		}
	}
	if w.Left.Redefinitions > 0 && o.Deployed == 0 {
		n := w
		n.Left.Redefinitions--
		n.Owners[i].Deployed = 1
		n.Left.Crashes++
		m.crash(&n, i)
		to(step("owner %c is started again with definitions that mean something else", who(i)), n)
	}
	if i == 0 && !w.Copied && (w.Left.Restores > 0 || w.Left.Copies > 0) && (o.Version.Sequence > 0 || o.Plan != (Plan{})) {
		n := w
		n.Copy, n.Copied = o.Directory, true
		to(step("the directory of owner %c is copied", who(i)), n)
	}
	if w.Left.Restores > 0 {
		w.Logs++
		m.restore(w, i, Directory{Log: w.Logs, Version: Version{Generation: 1}}, "owner %c is started on an empty directory", to)
		if w.Copied {
			m.restore(w, i, w.Copy, "owner %c is started on the copy of its directory", to)
		}
	}
	if i == 0 && w.Left.Copies > 0 && w.Copied && !w.Owners[1].Runs {
		n := w
		n.Left.Copies--
		n.Owners[1] = Owner{Runs: true, Directory: w.Copy, Deployed: o.Deployed}
		if m.start(&n, 1) {
			to(step("owner B is started on the copy, beside owner A, in generation %d", n.Owners[1].Version.Generation), n)
		}
	}
}

// restore puts another directory in place of an owner's.
func (m *machine) restore(w World, i int8, d Directory, what string, to emit) {
	o := &w.Owners[i]
	if d.Version == o.Version && d.Plan == o.Plan {
		return
	}
	w.Left.Restores--
	*o = Owner{Runs: true, Directory: d, Deployed: o.Deployed}
	if m.start(&w, i) {
		to(step(what+": it goes on in generation %d, at sequence %d", who(i), o.Version.Generation, o.Version.Sequence), w)
	}
}

// crash is a process that dies and starts again. Of a plan that is not in its directory it knows nothing any more.
func (m *machine) crash(w *World, i int8) {
	w.Left.Crashes--
	o := &w.Owners[i]
	if m.SharedPlans || !m.PlanFirst {
		o.Plan = Plan{}
	}
	m.start(w, i)
}
