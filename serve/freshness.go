package serve

import (
	"highwater/features"
	"highwater/windows"
)

// Status says what a value is worth.
type Status uint8

// The statuses.
const (
	Present       Status = iota // there is a value
	NullValue                   // there is a vector, and it holds null for the feature
	NotFound                    // there is no vector, or it was written before its view had the feature
	OutsideMaxAge               // there is a vector, older than its view's ttl: its values are not shown
	Statuses      = iota        // how many there are
)

// String returns the status as callers see it.
func (s Status) String() string {
	return [...]string{"PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"}[s]
}

// verdict is what holds for all features of one stored vector.
type verdict struct {
	status    Status // Present where the vector's values speak for themselves
	asOf      int64  // µs; windows.NoTime where the status is NotFound
	eventTime int64  // µs; windows.NoTime where the status is NotFound
}

// judge says how fresh v is; now is the wall clock in µs, nil with `clock: event`.
func judge(v *features.StoredVector, mark *features.TaskMark, ttl int64, now *int64) verdict {
	asOf, ok := heldAt(v, mark)
	if !ok {
		return verdict{status: NotFound, asOf: windows.NoTime, eventTime: windows.NoTime}
	}
	found := verdict{status: Present, asOf: asOf, eventTime: v.EventTime}
	if now == nil {
		now = &asOf
	}
	if v.Tombstone || expired(v.EventTime, ttl, *now) {
		found.status = OutsideMaxAge
	}
	return found
}

// heldAt returns the instant as of which v holds; ok is false where v is absent, or left over from a lower generation than its task's.
func heldAt(v *features.StoredVector, mark *features.TaskMark) (asOf int64, ok bool) {
	switch {
	case !v.Found:
		return windows.NoTime, false
	case !mark.Found || mark.Task != v.Task || mark.Version.Generation < v.Version.Generation:
		return v.Frontier, true
	case mark.Version.Generation > v.Version.Generation:
		return windows.NoTime, false
	default:
		return max(mark.Frontier, v.Frontier), true
	}
}

// expired reports whether event time + ttl ≤ now, without a ttl never.
func expired(eventTime, ttl, now int64) bool {
	return ttl > 0 && eventTime != windows.NoTime && now != windows.NoTime && eventTime <= now-ttl
}
