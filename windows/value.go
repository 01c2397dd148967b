package windows

import (
	"encoding/binary"
	"math"
)

// Kind is the type of a [Value].
type Kind uint8

// The kinds. Their numbers are stored (docs/format/state.md): append, never renumber.
const (
	Null       Kind = iota // no value; the zero Value
	Bool                   //
	Int64                  //
	Double                 // IEEE 754 binary64; never NaN nor infinite
	String                 //
	Timestamp              // microseconds since 1970-01-01T00:00:00Z
	Timestamps             // a list of Timestamp, ascending
)

// String returns the kind's name as definitions spell it.
func (k Kind) String() string {
	return [...]string{"null", "bool", "int64", "double", "string", "timestamp", "timestamps"}[k]
}

// Value is one field of an event, or one feature of a vector: a small tagged union, passed by value, without allocation.
// The zero Value is null. A string Value shares the bytes it was made from: whoever keeps it longer than those live clones it ([Value.Clone]).
type Value struct {
	str  string // String: the text. Timestamps: 8 big-endian bytes each
	num  uint64 // Bool, Int64, Timestamp: as int64. Double: its bits
	kind Kind
}

// BoolOf returns b as a Value.
func BoolOf(b bool) Value {
	if b {
		return Value{kind: Bool, num: 1}
	}
	return Value{kind: Bool}
}

// IntOf returns i as an Int64 Value.
func IntOf(i int64) Value { return Value{kind: Int64, num: uint64(i)} }

// DoubleOf returns f as a Double Value, and null for NaN and the infinities, which are never values.
func DoubleOf(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}
	}
	return Value{kind: Double, num: math.Float64bits(f)}
}

// StringOf returns s as a Value that shares its bytes.
func StringOf(s string) Value { return Value{kind: String, str: s} }

// TimeOf returns a Timestamp Value; us is in microseconds since the Unix epoch.
func TimeOf(us int64) Value { return Value{kind: Timestamp, num: uint64(us)} }

// TimesOf returns a Timestamps Value of times in microseconds, which must be ascending.
func TimesOf(times []int64) Value {
	b := make([]byte, 0, 8*len(times))
	for _, t := range times {
		b = binary.BigEndian.AppendUint64(b, uint64(t))
	}
	return Value{kind: Timestamps, str: string(b)}
}

// Kind returns the value's kind.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether there is no value.
func (v Value) IsNull() bool { return v.kind == Null }

// Bool returns the truth of a Bool.
func (v Value) Bool() bool { return v.num != 0 }

// Int returns an Int64, or the microseconds of a Timestamp.
func (v Value) Int() int64 { return int64(v.num) }

// Double returns a Double.
func (v Value) Double() float64 { return math.Float64frombits(v.num) }

// Str returns a String.
func (v Value) Str() string { return v.str }

// Times returns a Timestamps value as microseconds, ascending.
func (v Value) Times() []int64 {
	times := make([]int64, 0, len(v.str)/8)
	for s := v.str; len(s) >= 8; s = s[8:] {
		times = append(times, int64(binary.BigEndian.Uint64([]byte(s[:8]))))
	}
	return times
}

// Clone returns v with bytes of its own.
func (v Value) Clone() Value {
	v.str = string(append([]byte(nil), v.str...))
	return v
}
