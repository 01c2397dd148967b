// Package batch drives a task: it cuts the log into batches, and takes each through five stages.
//
//	plan       exact offsets and a clock reading, durable before anything else happens
//	read       exactly those offsets, decoded and judged: late, absurd, dead letters
//	transform  events into windows, windows into vectors
//	publish    every sink its part, retried until it confirms
//	commit     state, timers, position: one synced write
//
// While one batch publishes, the next is planned, fetched and decoded. The driver only routes: Kafka, Pebble and Redis stand behind [Source], [Plans],
// [State], [Sink] and [TaskKey]; windows/ does the arithmetic; cmd/ wires.
//
// # Invariants
//
// Code and tests cite them by number.
//
//   - I1 No output leaves a batch before its plan is durable.
//   - I2 A plan, once written, is executed by every owner that ever runs that sequence, never discarded and never changed. The first plan written for a sequence wins.
//   - I3 Time, within a batch, comes from the plan and the records alone. No wall clock, no map order, no goroutine order shows in the output.
//   - I4 Same plan and same prior state give the same bytes, to every sink.
//   - I5 State and position move together, in one atomic synced write, after all sinks have confirmed.
//   - I6 Cut invariance: with the event clock, however the log is cut into batches, the features after the same prefix are equal (floating-point sums to rounding).
//     With the wall clock, two cuts agree at the same frontier and watermark, provided that they judged the same events absurd or too late.
//     Under either clock, a clean execution of the recorded plans in an empty directory leaves the same vectors, byte for byte.
//   - I7 At most one version of a vector wins, and it is the newest; an equal version is never rewritten.
//
// # Order of writes, and what a crash leaves
//
//	plan n durable → task key: planned n → vectors of n, dead letters of n → task key: n → commit n → group offsets
//
// Whatever a crash cuts off, the next owner finds plan n without its commit and runs it again from the state of n−1: the vectors that were written are found
// equal, the rest are written, and nothing is counted twice, because counters are part of the position.
package batch
