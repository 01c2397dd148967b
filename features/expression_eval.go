package features

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"

	"highwater/windows"
)

// The closures that expressions are made of. Kinds were checked when they were made, so each reads its operands as what they are; what is left to ask is whether one is null. None allocates.
//
// No result is kept in a wider form than a Value between two operations, so a compiler cannot fuse a product with a sum (which would round otherwise on another processor): equal rows give equal bits everywhere (I4).

// null is the null value.
func null() windows.Value { return windows.Value{} }

func negation(t term) Expression {
	eval := t.eval
	if t.kind == windows.Double {
		return func(row []windows.Value) windows.Value {
			v := eval(row)
			if v.IsNull() {
				return v
			}
			return windows.DoubleOf(-v.Double())
		}
	}
	return func(row []windows.Value) windows.Value {
		v := eval(row)
		if v.IsNull() || v.Int() == math.MinInt64 {
			return null()
		}
		return windows.IntOf(-v.Int())
	}
}

// not is SQL's: not null is null.
func not(x Expression) Expression {
	return func(row []windows.Value) windows.Value {
		v := x(row)
		if v.IsNull() {
			return v
		}
		return windows.BoolOf(!v.Bool())
	}
}

// and is SQL's: false beats null, null beats true.
func and(l, r Expression) Expression {
	return func(row []windows.Value) windows.Value {
		a := l(row)
		if !a.IsNull() && !a.Bool() {
			return a
		}
		b := r(row)
		if !a.IsNull() || !b.IsNull() && !b.Bool() {
			return b
		}
		return a
	}
}

// or is SQL's: true beats null, null beats false.
func or(l, r Expression) Expression {
	return func(row []windows.Value) windows.Value {
		a := l(row)
		if !a.IsNull() && a.Bool() {
			return a
		}
		b := r(row)
		if !a.IsNull() || !b.IsNull() && b.Bool() {
			return b
		}
		return a
	}
}

func isNull(x Expression) Expression {
	return func(row []windows.Value) windows.Value { return windows.BoolOf(x(row).IsNull()) }
}

func coalesce(l, r Expression) Expression {
	return func(row []windows.Value) windows.Value {
		if v := l(row); !v.IsNull() {
			return v
		}
		return r(row)
	}
}

// choice is cond ? yes : no, where a null condition is false.
func choice(cond, yes, no Expression) Expression {
	return func(row []windows.Value) windows.Value {
		if v := cond(row); !v.IsNull() && v.Bool() {
			return yes(row)
		}
		return no(row)
	}
}

// member is x in values, null for a null x. values are literals, never null.
func member(x Expression, values []windows.Value) Expression {
	slices.SortFunc(values, compare)
	if values[0].Kind() == windows.String && len(values) <= shortList {
		return memberOfTexts(x, values)
	}
	return func(row []windows.Value) windows.Value {
		v := x(row)
		if v.IsNull() {
			return v
		}
		_, found := slices.BinarySearchFunc(values, v, compare)
		return windows.BoolOf(found)
	}
}

// shortList is up to how many texts comparing with each of them is faster than looking one up.
const shortList = 12

func memberOfTexts(x Expression, values []windows.Value) Expression {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.Str()
	}
	return func(row []windows.Value) windows.Value {
		v := x(row)
		if v.IsNull() {
			return v
		}
		return windows.BoolOf(slices.Contains(texts, v.Str()))
	}
}

// promote returns a numeric term as a double: the one nearest to an int64.
func promote(t term) Expression {
	eval := t.eval
	if t.kind == windows.Double {
		return eval
	}
	return func(row []windows.Value) windows.Value {
		v := eval(row)
		if v.IsNull() {
			return v
		}
		return windows.DoubleOf(float64(v.Int()))
	}
}

// as returns a term as a value of a kind that its own unifies with.
func as(t term, kind windows.Kind) Expression {
	if t.kind == kind {
		return t.eval
	}
	return promote(t)
}

func integerArithmetic(operator string, l, r Expression) Expression {
	compute := map[string]func(a, b int64) (int64, bool){"+": add, "-": subtract, "*": multiply, "%": remainder}[operator]
	return func(row []windows.Value) windows.Value {
		a, b := l(row), r(row)
		if a.IsNull() || b.IsNull() {
			return null()
		}
		if v, ok := compute(a.Int(), b.Int()); ok {
			return windows.IntOf(v)
		}
		return null()
	}
}

// The arithmetic of int64; ok is false where an int64 cannot hold the result.

func add(a, b int64) (sum int64, ok bool) {
	sum = a + b
	return sum, (sum > a) == (b > 0)
}

func subtract(a, b int64) (difference int64, ok bool) {
	difference = a - b
	return difference, (difference < a) == (b > 0)
}

func multiply(a, b int64) (product int64, ok bool) {
	high, low := bits.Mul64(uint64(a), uint64(b))
	// Mul64 took negative operands for 2⁶⁴ more than they are; what that added to the high word comes off again.
	signed := int64(high) - a>>63&b - b>>63&a
	return int64(low), signed == int64(low)>>63
}

// remainder has the sign of a, as in Go and SQL.
func remainder(a, b int64) (int64, bool) {
	if b == 0 {
		return 0, false
	}
	return a % b, true
}

func doubleArithmetic(operator string, l, r Expression) Expression {
	compute := map[string]func(a, b float64) float64{
		"+": func(a, b float64) float64 { return a + b },
		"-": func(a, b float64) float64 { return a - b },
		"*": func(a, b float64) float64 { return a * b },
		"/": func(a, b float64) float64 { return a / b },
		"%": math.Mod,
	}[operator]
	return func(row []windows.Value) windows.Value {
		a, b := l(row), r(row)
		if a.IsNull() || b.IsNull() {
			return null()
		}
		return windows.DoubleOf(compute(a.Double(), b.Double())) // null for NaN and infinities, so for any division by 0
	}
}

func comparison(operator string, l, r term) Expression {
	if eval, ok := equalsText(operator, l, r); ok {
		return eval
	}
	holds := map[string]func(order int) bool{
		"==": func(order int) bool { return order == 0 },
		"!=": func(order int) bool { return order != 0 },
		"<":  func(order int) bool { return order < 0 },
		"<=": func(order int) bool { return order <= 0 },
		">":  func(order int) bool { return order > 0 },
		">=": func(order int) bool { return order >= 0 },
	}[operator]
	left, right := l.eval, r.eval
	return func(row []windows.Value) windows.Value {
		a, b := left(row), right(row)
		if a.IsNull() || b.IsNull() {
			return null()
		}
		return windows.BoolOf(holds(compare(a, b)))
	}
}

// equalsText is the comparison that most filters are: a field's text with a constant.
func equalsText(operator string, l, r term) (Expression, bool) {
	if l.constant {
		l, r = r, l
	}
	if l.kind != windows.String || l.column < 0 || !r.constant || operator != "==" && operator != "!=" {
		return nil, false
	}
	want := r.eval(nil)
	if want.IsNull() {
		return nil, false
	}
	column, text, equal := l.column, want.Str(), operator == "=="
	return func(row []windows.Value) windows.Value {
		v := row[column]
		if v.IsNull() {
			return v
		}
		return windows.BoolOf((v.Str() == text) == equal)
	}, true
}

// compare orders two values that are not null and of comparable kinds: numbers exactly, strings by their bytes.
func compare(a, b windows.Value) int {
	switch a.Kind() {
	case windows.String:
		return strings.Compare(a.Str(), b.Str())
	case windows.Double:
		if b.Kind() == windows.Int64 {
			return -compareExactly(b.Int(), a.Double())
		}
		return cmp.Compare(a.Double(), b.Double())
	case windows.Int64:
		if b.Kind() == windows.Double {
			return compareExactly(a.Int(), b.Double())
		}
	}
	return cmp.Compare(a.Int(), b.Int())
}

// compareExactly orders an int64 and a double as the numbers they are: a double near 2⁶³ is no exact int64, and an int64 beyond 2⁵³ no exact double.
func compareExactly(i int64, f float64) int {
	if f >= 1<<63 {
		return -1
	}
	if f < -1<<63 {
		return +1
	}
	whole, fraction := math.Modf(f)
	return cmp.Or(cmp.Compare(i, int64(whole)), cmp.Compare(0, fraction))
}
