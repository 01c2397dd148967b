// Package model is the protocol of design.md §3 to §7, as small as it can be, with every interleaving of it searched.
//
// # What it explores
//
// One task over one partition of 2 to 4 events of two entities; a sliding count a vector. One owner; two owners that share a plan log; or an owner and a second one on a copy of its directory. One Redis, or two shards: one with entity a, the other with entity b and the task key.
// Steps are taken in every order, one at a time:
//
//   - an owner plans any cut, tells the task key what is planned, sends each vector, moves the task key, commits, republishes entity by entity, sweeps;
//   - a call is answered; or applied without its answer coming back, and sent again; or left behind by a process that dies, and applied at any later moment (a stray call);
//   - a process dies and starts again; its directory is put back from a copy, emptied, or copied to a second owner; definitions are deployed that mean something else;
//   - records arrive, the clock moves, tombstones expire;
//   - a primary fails over to a replica that is behind, or a shard comes back empty;
//   - a reader takes the task key, and the vectors at any later moment.
//
// A [Scenario] says which of these there are and how often, so that its worlds are finite and can all be visited.
//
// # What it checks
//
// In every world: no version has two contents; no stored version goes back, also not behind a tombstone that has expired; a reader's as_of overstates nothing and does not go back, but for what Redis lost and has not been given again;
// a reader sees no vector that the state does not know, and misses none that it knows. Wherever everything is at rest: the store holds exactly the oracle's vectors, under the versions and frontiers that the state has recorded. And no world is stuck short of that. See [Kind].
//
// # What it shows
//
// With all [Rules] no scenario has a violation. Without any one of them a scenario has one, and [Search] returns a shortest trace to it. [Table] names, for each rule, that scenario and the tests which show that the same trace cannot happen to the real code.
//
// # What is not in it
//
// Several partitions, sources and views; tiles, lateness and tumbling windows; dead letters; floats; plans made one ahead of the batch in hand; several entities in one call; shuffle, lineage between tasks and snapshots (§7); replicas that are read.
// A changed primary is noticed at the next move of the task key, never between two halves of one. The generation that is remembered beside the task key for when that is lost is not in it: where a directory is restored, Redis loses nothing.
// A republish writes every tombstone again; the real one leaves out those that are over, and where one was refused, because its owner had slept for longer than tombstones live, the task begins a new generation, as with a reset from where it stands.
// A start is one step: what another owner does in the middle of one is tested against the real code alone (TestModel_ACopySleepsWhileTheFirstGoesOn).
package model
