package batch

import "fmt"

// Error names the lost range and the way out.
func (e *LostError) Error() string {
	return fmt.Sprintf("topic %s, partition %d: offsets %d to %d are gone (retention, or a deletion, took them before they were read); "+
		"nothing was skipped: to go on without those %d offsets, start again with --accept-loss",
		e.Partition.Topic, e.Partition.Number, e.Start, e.End-1, e.End-e.Start)
}
