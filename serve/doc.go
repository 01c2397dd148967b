// Package serve is the read path: it takes names and keys from a caller, fetches stored vectors, assembles the values that were asked for, and says how fresh they are.
// It writes nothing, keeps no vector, and needs of the world only a [Store] and a clock; api puts it on HTTP.
//
// # Words
//
//   - A selection is a feature service, a list of references, or a whole view, resolved against one catalogue: which features, from which views, by which join keys.
//   - A table is the answer to a selection: one row an entity asked for, in that order, one column a feature.
//   - A catalogue is the project's names and shapes, as its writer left them beside the vectors. It is cached, read again every few seconds, and at once when a name is unknown or a
//     vector has a shape that it does not know.
//
// # Freshness (design.md §5)
//
// A vector that was not rewritten still holds at its task's mark. So the store reads the mark first and the vectors after, and as_of is the later of the two frontiers where their
// generations are equal, else the vector's own. A vector of a lower generation than its task's mark is left over from before a restore, and absent. A mark says nothing of another
// task's vectors.
//
// A vector is past its age when it is a tombstone, or when its newest event's time + ttl ≤ now. Now is the wall clock; with `clock: event` it is the vector's as_of, so that
// history reads the same whenever it is read. What is past its age is shown without values.
package serve
