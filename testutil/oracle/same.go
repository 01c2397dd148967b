package oracle

import (
	"fmt"
	"math"

	"highwater/windows"
)

// Rounding is how far two doubles may lie apart and still be the same, relative to the greater of them and 1.
const Rounding = 1e-9

// Same reports whether two values are equal: doubles to Rounding, all else exactly.
func Same(a, b windows.Value) bool {
	if a.Kind() != windows.Double || b.Kind() != windows.Double {
		return a == b
	}
	x, y := a.Double(), b.Double()
	return math.Abs(x-y) <= Rounding*max(1, math.Abs(x), math.Abs(y))
}

// Diff names the first feature in which got is not the same as want; "" where there is none.
func Diff(specs []windows.Spec, want, got []windows.Value) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d values, want %d", len(got), len(want))
	}
	for i, s := range specs {
		if !Same(want[i], got[i]) {
			return fmt.Sprintf("%s (%s over %s): got %s, want %s", s.Name, s.Aggregate, s.Window, Text(got[i]), Text(want[i]))
		}
	}
	return ""
}

// Text writes a value for people.
func Text(v windows.Value) string {
	switch v.Kind() {
	case windows.Null:
		return "null"
	case windows.Bool:
		return fmt.Sprint(v.Bool())
	case windows.Double:
		return fmt.Sprintf("%v (double)", v.Double())
	case windows.String:
		return fmt.Sprintf("%q", v.Str())
	case windows.Timestamps:
		return fmt.Sprint(v.Times())
	}
	return fmt.Sprintf("%d (%s)", v.Int(), v.Kind())
}
