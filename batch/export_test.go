package batch

// NewLag returns a lag histogram's observe.
func NewLag() func(view string, now int64, eventTimes []int64) {
	return newLagHistogram("lag", "").observe
}
