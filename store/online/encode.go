package online

import (
	"fmt"

	"highwater/features"
	"highwater/windows"

	"github.com/cespare/xxhash/v2"
	"github.com/tinylib/msgp/msgp"
)

// The header of a stored value. upsert.lua knows these places too.
const (
	taskStart    = features.VersionLen
	taskLen      = 5
	hashStart    = taskStart + taskLen
	hashLen      = 16
	payloadStart = hashStart + hashLen
)

// What a stored value is. The numbers are stored.
const (
	kindLive      = 0
	kindTombstone = 1
)

// fixedFields is how many elements of the payload stand before the features: schema id, kind, frontier, event time.
const fixedFields = 4

// appendVector appends v's stored value, as written by that task, to dst. On an error dst may have grown.
func appendVector(dst []byte, v *features.Vector, task int) ([]byte, error) {
	if v.Version.Generation > maxGeneration || v.Version.Sequence > maxSequence {
		return dst, fmt.Errorf("version (%d, %d) has more digits than the format", v.Version.Generation, v.Version.Sequence)
	}
	if !v.Tombstone && len(v.Values) != len(v.View.Schema.Features) {
		return dst, fmt.Errorf("%d values for the %d features of schema %s", len(v.Values), len(v.View.Schema.Features), v.View.Schema.ID)
	}
	start := len(dst)
	dst = appendVersion(dst, v.Version)
	dst = appendDigits(dst, uint64(task), taskLen)
	dst = append(dst, "0000000000000000"...)
	dst = appendPayload(dst, v)
	rehash(dst[start:])
	return dst, nil
}

// rehash puts the hash of a stored value's payload into its header.
func rehash(value []byte) {
	putHash(value[hashStart:payloadStart], xxhash.Sum64(value[payloadStart:]))
}

func appendPayload(dst []byte, v *features.Vector) []byte {
	kind, values := int64(kindLive), v.Values
	if v.Tombstone {
		kind, values = kindTombstone, nil
	}
	dst = msgp.AppendArrayHeader(dst, uint32(fixedFields+len(values)))
	dst = msgp.AppendString(dst, v.View.Schema.ID)
	dst = msgp.AppendInt64(dst, kind)
	dst = msgp.AppendInt64(dst, v.Frontier)
	dst = msgp.AppendInt64(dst, v.EventTime)
	for _, value := range values {
		dst = appendValue(dst, value)
	}
	return dst
}

func appendValue(dst []byte, v windows.Value) []byte {
	switch v.Kind() {
	case windows.Bool:
		return msgp.AppendBool(dst, v.Bool())
	case windows.Int64, windows.Timestamp:
		return msgp.AppendInt64(dst, v.Int())
	case windows.Double:
		return msgp.AppendFloat64(dst, v.Double())
	case windows.String:
		return msgp.AppendString(dst, v.Str())
	case windows.Timestamps:
		times := v.Times()
		dst = msgp.AppendArrayHeader(dst, uint32(len(times)))
		for _, t := range times {
			dst = msgp.AppendInt64(dst, t)
		}
		return dst
	default:
		return msgp.AppendNil(dst)
	}
}

// appendVersion appends what [features.Version.String] returns.
func appendVersion(dst []byte, v features.Version) []byte {
	return appendDigits(appendDigits(dst, uint64(v.Generation), 5), v.Sequence, 15)
}

// appendDigits appends the last width decimal digits of n, zero-padded.
func appendDigits(dst []byte, n uint64, width int) []byte {
	start := len(dst)
	dst = append(dst, "00000000000000000000"[:width]...)
	for i := start + width - 1; i >= start && n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// putHash writes sum into dst as 16 lower-case hex digits.
func putHash(dst []byte, sum uint64) {
	for i := hashLen - 1; i >= 0; i-- {
		dst[i] = "0123456789abcdef"[sum&15]
		sum >>= 4
	}
}
