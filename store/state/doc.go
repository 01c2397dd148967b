// Package state keeps a task's durable state in one Pebble directory: what batch.State, batch.Change and batch.Plans promise (design.md §6, docs/format/state.md).
//
// Words:
//
//   - directory: one Pebble store, owned by one process at a time, for one task of one project
//   - entity: the state of one entity of one view, and what was last published of it
//   - timer: an entry of an index by (clock, fire time, view, entity); an entity has at most one a clock, and keeps a copy of it, so that a move deletes exactly what stood there
//   - position: where the last commit left the task
//   - shape: what a view's bytes mean (its windows, its schema). Shapes are numbered by view in the order in which they came into force; a value names the one that wrote it
//   - binding: the project in force: which view [batch.Entity.View] means, and which shape Put writes
//   - plan log: the plans, and the definitions that they name
//
// What it rests on:
//
//   - I1, I2: a plan is synced before Append returns, in one write with its definitions, and the first one of a version wins.
//   - I4: bytes depend on what was committed alone. Neither the cache nor a reopen, a discard or a crash between shows in them.
//   - I5: entities, timers, shapes and the position of a batch are one synced Pebble batch.
//
// An entity that an older shape wrote is carried through every shape since, in order, when it is loaded: a feature that was removed and came back starts empty for all entities alike, whenever each was last written.
// A view that left the project loses its state with the first commit under the new definitions, because events passed meanwhile that it never saw.
package state

import (
	"highwater/batch"
)

var (
	_ batch.State  = (*Store)(nil)
	_ batch.Change = (*change)(nil)
	_ batch.Plans  = planLog{}
)
