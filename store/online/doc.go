// Package online keeps feature vectors in Redis, behind versioned upserts.
//
// The writing half is [Store]: it publishes a batch's vectors ([batch.Sink]) through one Lua script, upsert.lua, which compares versions on the server, so that a replay, a
// reordered call or a second owner never puts an older vector over a newer one (I7); and it moves the task key ([batch.TaskKey]) through another, taskkey.lua, under the same rule.
// The reading half is [Reader]: the task key first, the vectors after it, from primaries.
//
// What Redis holds, a project (docs/format/online.md fixes the bytes, store/keys the keys):
//
//	vector      a string: version, task, hash, payload
//	task key    a hash: what is planned, what is confirmed, and whose plan log that is
//	heartbeat   a string: what a task last told of itself, as JSON
//	catalogue   a hash: the catalogue, and every shape that a vector was ever written in
//
// Neither half retries for long: errors say whether retrying can help ([batch.IsPermanent]), and the caller decides. Errors are put into words in one place, errors.go.
package online
