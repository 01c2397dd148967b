package features

import (
	"fmt"
	"strconv"

	"highwater/windows"
)

// Version is what a stored vector is compared by: the generation first, then the sequence. The zero Version is older than any that was published.
type Version struct {
	Generation uint32 // 1 to 99,999
	Sequence   uint64 // 1 to 10^15 − 1, within a task and generation
}

// VersionLen is the length of a version's text in bytes.
const VersionLen = 20

// String returns the version as it goes over the wire: 20 decimal digits, five of the generation and fifteen of the sequence, zero-padded, so that texts sort as versions do.
func (v Version) String() string { return fmt.Sprintf("%05d%015d", v.Generation, v.Sequence) }

// ParseVersion reads what [Version.String] wrote.
func ParseVersion(s string) (Version, error) {
	if len(s) != VersionLen {
		return Version{}, fmt.Errorf("version %q: want %d digits, have %d bytes", s, VersionLen, len(s))
	}
	g, err := strconv.ParseUint(s[:5], 10, 32)
	if err != nil {
		return Version{}, fmt.Errorf("version %q: generation is not a number", s)
	}
	n, err := strconv.ParseUint(s[5:], 10, 64)
	if err != nil {
		return Version{}, fmt.Errorf("version %q: sequence is not a number", s)
	}
	return Version{Generation: uint32(g), Sequence: n}, nil
}

// Less reports whether v is older than o.
func (v Version) Less(o Version) bool {
	if v.Generation != o.Generation {
		return v.Generation < o.Generation
	}
	return v.Sequence < o.Sequence
}

// Vector is the features of one entity in one view, as published: what a sink gets and what a reader finds.
type Vector struct {
	View      *View
	Entity    string // canonical entity text, see [AppendEntity]
	Version   Version
	Frontier  int64           // µs: the instant as of which the values hold
	EventTime int64           // µs: the entity's newest event
	Values    []windows.Value // one a feature of View, in declared order; nil for a tombstone
	Tombstone bool            // the vector outlived its ttl: readers see OUTSIDE_MAX_AGE
}
