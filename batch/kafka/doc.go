// Package kafka is the edge between a task and Kafka: it reads a task's partitions ([Source]), writes what no view takes ([DeadLetters]), and loads files of events into a topic ([Load]).
//
// A Source fetches ahead of the plans and keeps what it fetched in one queue a partition. Three offsets of a queue say where its records stand:
//
//	taken ≤ planned, taken ≤ fetched
//
//	taken    what Take has handed out: the batches have it, the queue forgot it
//	planned  what Take has been asked for: Cut proposes what lies beyond
//	fetched  what the broker has answered so far, offsets without a record included
//
// One goroutine polls and fills the queues, and one watches that the topics are still the ones that were opened; the caller's goroutines cut and take. Kafka is read as follows:
//
//   - Partitions are consumed directly at exact offsets, in no consumer group; a group gets offsets committed to it for lag tools, and nothing is ever read from there.
//   - Isolation is read_committed: a log ends at its last stable offset. Records of aborted transactions are left out. Control records are asked for and dropped here, so that a queue's end passes over them: without them a log that ends in a transaction's marker would never be caught up.
//   - No offset is ever reset. One that the broker does not have is a [batch.LostError] with the exact range, or, with Options.AcceptLoss, a stretch without records.
//   - What is fetched and not taken is bounded by Options.MemoryBytes, beyond which only the partitions that a Take waits for are fetched; at most one fetch a broker is in flight beyond the bound.
//   - Brokers that are down are waited for, with a message in the log. What waiting cannot mend (a deleted topic, a truncated log, a batch that does not decode) is an error of Cut and Take, once everything fetched before it has been planned.
package kafka
