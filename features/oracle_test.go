package features_test

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"highwater/windows"
)

// The oracle draws a typed tree, prints it as an expression, and walks it: numbers are exact rationals that are rounded where int64 or double would round, logic is a table of three values.

// tree is an expression, and what the oracle makes of it.
type tree struct {
	text string
	kind windows.Kind
	walk func(row []windows.Value) truth
}

// truth is a value of the oracle's: nil for null, else bool, *big.Int, *big.Rat (a double), string or int64 (a timestamp).
type truth any

// of reads a column's value.
func of(v windows.Value) truth {
	switch v.Kind() {
	case windows.Bool:
		return v.Bool()
	case windows.Int64:
		return big.NewInt(v.Int())
	case windows.Double:
		return new(big.Rat).SetFloat64(v.Double())
	case windows.String:
		return v.Str()
	case windows.Timestamp:
		return v.Int()
	}
	return nil
}

// rounded is the double nearest to r; null beyond a double's range.
func rounded(r *big.Rat) truth {
	f, _ := r.Float64()
	if math.IsInf(f, 0) {
		return nil
	}
	return new(big.Rat).SetFloat64(f)
}

// exact is a number, whatever its kind.
func exact(v truth) *big.Rat {
	if i, ok := v.(*big.Int); ok {
		return new(big.Rat).SetInt(i)
	}
	return v.(*big.Rat)
}

// double is a number as a double.
func double(v truth) *big.Rat { return rounded(exact(v)).(*big.Rat) }

// truncatedQuotient is a/b without its fraction.
func truncatedQuotient(a, b *big.Rat) *big.Int {
	q := new(big.Rat).Quo(a, b)
	return new(big.Int).Quo(q.Num(), q.Denom())
}

func arithmetic(operator string, a, b truth) truth {
	if a == nil || b == nil {
		return nil
	}
	_, intA := a.(*big.Int)
	_, intB := b.(*big.Int)
	integers := intA && intB && operator != "/"
	x, y := exact(a), exact(b)
	if !integers {
		x, y = double(a), double(b)
	}
	r := new(big.Rat)
	switch operator {
	case "+":
		r.Add(x, y)
	case "-":
		r.Sub(x, y)
	case "*":
		r.Mul(x, y)
	case "/", "%":
		if y.Sign() == 0 {
			return nil
		}
		if r.Quo(x, y); operator == "%" {
			whole := new(big.Rat).SetInt(truncatedQuotient(x, y))
			r.Sub(x, whole.Mul(whole, y))
		}
	}
	if !integers {
		return rounded(r)
	}
	if !r.Num().IsInt64() {
		return nil
	}
	return new(big.Int).Set(r.Num())
}

func order(a, b truth) int {
	switch a := a.(type) {
	case string:
		return strings.Compare(a, b.(string))
	case bool:
		if a == b.(bool) {
			return 0
		}
		return 1
	case int64:
		return big.NewInt(a).Cmp(big.NewInt(b.(int64)))
	}
	return exact(a).Cmp(exact(b))
}

func compared(operator string, a, b truth) truth {
	if a == nil || b == nil {
		return nil
	}
	o := order(a, b)
	return map[string]bool{"==": o == 0, "!=": o != 0, "<": o < 0, "<=": o <= 0, ">": o > 0, ">=": o >= 0}[operator]
}

// logic is the truth tables of SQL: rows and columns are false, null, true.
func logic(operator string, a, b truth) truth {
	at := map[truth]int{false: 0, nil: 1, true: 2}
	tables := map[string][3][3]truth{
		"and": {{false, false, false}, {false, nil, nil}, {false, nil, true}},
		"or":  {{false, nil, true}, {nil, nil, true}, {true, true, true}},
	}
	return tables[operator][at[a]][at[b]]
}

// drawer draws trees of a kind, no deeper than depth.
type drawer struct{ t *rapid.T }

func (d drawer) pick(label string, of ...string) string {
	return rapid.SampledFrom(of).Draw(d.t, label)
}

func (d drawer) tree(kind windows.Kind, depth int) tree {
	if depth == 0 {
		return d.leaf(kind)
	}
	switch form := d.pick("form", "leaf", "own", "own", "own", "choice", "coalesce"); form {
	case "choice":
		c, a, b := d.tree(windows.Bool, depth-1), d.tree(kind, depth-1), d.tree(kind, depth-1)
		return tree{fmt.Sprintf("(%s ? %s : %s)", c.text, a.text, b.text), kind, func(row []windows.Value) truth {
			if c.walk(row) == true {
				return a.walk(row)
			}
			return b.walk(row)
		}}
	case "coalesce":
		a, b := d.tree(kind, depth-1), d.tree(kind, depth-1)
		return tree{fmt.Sprintf("(%s ?? %s)", a.text, b.text), kind, func(row []windows.Value) truth {
			if v := a.walk(row); v != nil {
				return v
			}
			return b.walk(row)
		}}
	case "own":
		switch kind {
		case windows.Bool:
			return d.condition(depth)
		case windows.Int64, windows.Double:
			return d.number(kind, depth)
		}
	}
	return d.leaf(kind)
}

func (d drawer) leaf(kind windows.Kind) tree {
	var names []string
	for _, f := range columns {
		if f.Kind == kind && f.Name != "user-id" {
			names = append(names, f.Name)
		}
	}
	if kind == windows.Timestamp || rapid.Bool().Draw(d.t, "a column") {
		name := d.pick("column", names...)
		return tree{name, kind, func(row []windows.Value) truth {
			for i, f := range columns {
				if f.Name == name {
					return of(row[i])
				}
			}
			return nil
		}}
	}
	v := d.value(kind)
	return tree{literalText(v), kind, func([]windows.Value) truth { return of(v) }}
}

// literalText writes a literal as the grammar has it; of the least int64 it has none.
func literalText(v windows.Value) string {
	switch v.Kind() {
	case windows.String:
		return strconv.Quote(v.Str())
	case windows.Double:
		return "(" + strconv.FormatFloat(v.Double(), 'e', -1, 64) + ")"
	case windows.Int64:
		if v.Int() == math.MinInt64 {
			return "(-9223372036854775807 - 1)"
		}
		return "(" + show(v) + ")"
	}
	return show(v)
}

func (d drawer) value(kind windows.Kind) windows.Value {
	switch kind {
	case windows.Bool:
		return windows.BoolOf(rapid.Bool().Draw(d.t, "bool"))
	case windows.Int64:
		edge := rapid.SampledFrom([]int64{0, 1, -1, 2, 3, math.MaxInt64, math.MinInt64, math.MinInt64 + 1, 1 << 53, 1<<53 + 1, -1<<53 - 1, 1 << 31, 1 << 62})
		return windows.IntOf(rapid.OneOf(edge, rapid.Int64()).Draw(d.t, "int64"))
	case windows.Double:
		edge := rapid.SampledFrom([]float64{0, 1, -1, 0.5, 0.1, 3, 1 << 53, 1 << 63, -1 << 63, 9223372036854774784, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e308, 1e-308})
		return windows.DoubleOf(rapid.OneOf(edge, rapid.Float64Range(-1e6, 1e6)).Draw(d.t, "double"))
	case windows.String:
		return windows.StringOf(rapid.SampledFrom([]string{"", "a", "b", "ab", "é", "a'\"\\"}).Draw(d.t, "string"))
	}
	return windows.TimeOf(rapid.SampledFrom([]int64{math.MinInt64, -1, 0, 1, math.MaxInt64}).Draw(d.t, "timestamp"))
}

func (d drawer) condition(depth int) tree {
	form := d.pick("condition", "and", "or", "not", "is_null", "in", "compare", "compare")
	switch form {
	case "and", "or":
		a, b := d.tree(windows.Bool, depth-1), d.tree(windows.Bool, depth-1)
		return tree{fmt.Sprintf("(%s %s %s)", a.text, form, b.text), windows.Bool, func(row []windows.Value) truth { return logic(form, a.walk(row), b.walk(row)) }}
	case "not":
		a := d.tree(windows.Bool, depth-1)
		return tree{fmt.Sprintf("(not %s)", a.text), windows.Bool, func(row []windows.Value) truth {
			if v, ok := a.walk(row).(bool); ok {
				return !v
			}
			return nil
		}}
	}
	kind := rapid.SampledFrom([]windows.Kind{windows.Bool, windows.Int64, windows.Double, windows.String, windows.Timestamp}).Draw(d.t, "kind")
	a := d.tree(kind, depth-1)
	switch {
	case form == "is_null":
		return tree{fmt.Sprintf("is_null(%s)", a.text), windows.Bool, func(row []windows.Value) truth { return a.walk(row) == nil }}
	case form == "in" && kind != windows.Timestamp:
		return d.membership(a)
	}
	b := d.tree(d.partner(kind), depth-1)
	operator := d.pick("operator", "==", "!=")
	if kind != windows.Bool {
		operator = d.pick("operator", "==", "!=", "<", "<=", ">", ">=")
	}
	return tree{fmt.Sprintf("(%s %s %s)", a.text, operator, b.text), windows.Bool, func(row []windows.Value) truth { return compared(operator, a.walk(row), b.walk(row)) }}
}

// partner draws a kind that compares with another.
func (d drawer) partner(kind windows.Kind) windows.Kind {
	if kind == windows.Int64 || kind == windows.Double {
		return rapid.SampledFrom([]windows.Kind{windows.Int64, windows.Double}).Draw(d.t, "partner")
	}
	return kind
}

func (d drawer) membership(a tree) tree {
	var texts []string
	var values []windows.Value
	for range rapid.IntRange(1, 20).Draw(d.t, "list") {
		v := d.value(d.partner(a.kind))
		if v.Kind() == windows.Int64 && v.Int() == math.MinInt64 {
			v = windows.IntOf(math.MinInt64 + 1)
		}
		values, texts = append(values, v), append(texts, strings.Trim(literalText(v), "()"))
	}
	return tree{fmt.Sprintf("(%s in [%s])", a.text, strings.Join(texts, ", ")), windows.Bool, func(row []windows.Value) truth {
		x := a.walk(row)
		if x == nil {
			return nil
		}
		for _, v := range values {
			if order(x, of(v)) == 0 {
				return true
			}
		}
		return false
	}}
}

func (d drawer) number(kind windows.Kind, depth int) tree {
	if d.pick("number", "minus", "binary", "binary", "binary") == "minus" {
		a := d.tree(kind, depth-1)
		return tree{fmt.Sprintf("(-(%s))", a.text), kind, func(row []windows.Value) truth {
			zero := truth(new(big.Rat))
			if kind == windows.Int64 {
				zero = new(big.Int)
			}
			return arithmetic("-", zero, a.walk(row))
		}}
	}
	left, right, operators := kind, kind, []string{"+", "-", "*", "%"}
	if kind == windows.Double {
		operators = append(operators, "/")
	}
	operator := d.pick("operator", operators...)
	if kind == windows.Double {
		left = d.partner(kind)
		if left == windows.Double || operator == "/" {
			right = d.partner(kind)
		}
	}
	a, b := d.tree(left, depth-1), d.tree(right, depth-1)
	return tree{fmt.Sprintf("(%s %s %s)", a.text, operator, b.text), kind, func(row []windows.Value) truth { return arithmetic(operator, a.walk(row), b.walk(row)) }}
}

func TestExpression_AgreesWithOracle(t *testing.T) { rapid.Check(t, checkAgainstOracle) }

// FuzzOracle draws the trees from the fuzzer's bytes: what covers more of the compiler is kept.
func FuzzOracle(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkAgainstOracle)) }

func checkAgainstOracle(t *rapid.T) {
	d := drawer{t}
	kind := rapid.SampledFrom([]windows.Kind{windows.Bool, windows.Int64, windows.Double, windows.String}).Draw(t, "kind")
	x := d.tree(kind, rapid.IntRange(0, 4).Draw(t, "depth"))
	if len([]rune(x.text)) > 4096 {
		t.Skip("longer than an expression may be")
	}
	eval, have, mistakes := compileFor(x.text)
	if len(mistakes) > 0 || have != kind {
		t.Fatalf("%s: want a %v, have a %v, %v", x.text, kind, have, mistakes)
	}
	for range 3 {
		row := make([]windows.Value, len(columns))
		for i, f := range columns {
			if f.Kind != windows.Timestamps && rapid.IntRange(0, 3).Draw(t, "null") > 0 {
				row[i] = d.value(f.Kind)
			}
		}
		if want, have := x.walk(row), eval(row); !same(want, have) {
			t.Fatalf("%s\nof %v\nwant %v, have %s", x.text, row, want, show(have))
		}
	}
}

// same reports whether a value is what the oracle says. The oracle's zero has no sign.
func same(want truth, have windows.Value) bool {
	if want == nil || have.IsNull() {
		return want == nil && have.IsNull()
	}
	return order(want, of(have)) == 0
}
