package batch

import "fmt"

// Error names the lost range and the way out.
func (e *LostError) Error() string {
	return fmt.Sprintf("topic %s, partition %d: offsets %d to %d are gone (retention, or a deletion, took them before they were read); "+
		"nothing was skipped: to go on without those %d offsets, start again with --accept-loss",
		e.Partition.Topic, e.Partition.Number, e.Start, e.End-1, e.End-e.Start)
}

// Error names the place, and the way out.
func (e *TruncatedError) Error() string {
	return fmt.Sprintf("topic %s, partition %d: this task stands at offset %d, but the log that it read ends at %d: its end was cut off (an unclean leader election, a restored broker); "+
		"nothing was read: bring the log back, or begin a new generation from what is there (highwater reset --from here)",
		e.Partition.Topic, e.Partition.Number, e.Next, e.End)
}

// Error says what changed.
func (e *ChangedError) Error() string { return e.Why }

// Error names both.
func (e *SupersededError) Error() string {
	return fmt.Sprintf("superseded: this is %s, and the task now belongs to %s; nothing was overwritten: stop one of them; to go on with this one instead, start it with --take-over: it then begins a new generation", e.Ours, e.Theirs)
}

// FullError refuses a write because the disk has no room for it, or too little to spare. Nothing was written: the same write may be tried again, and will be, until there is room.
type FullError struct {
	Dir        string
	Free, Need int64 // bytes
}

// Error says where, how much is missing, and what to do.
func (e *FullError) Error() string {
	return fmt.Sprintf("the disk under %s is full: %.1f MiB are free, and %.1f MiB are wanted before anything more is written; free some space or enlarge the volume, and the task goes on by itself",
		e.Dir, float64(e.Free)/(1<<20), float64(e.Need)/(1<<20))
}

// Kind is the error's kind, as a metric's label.
func (e *FullError) Kind() string { return KindDisk }
