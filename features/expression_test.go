package features_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/features"
	"highwater/windows"
)

// columns are the fields of all expressions in these tests; row has one value of each.
var columns = []features.Field{
	{Name: "i", Kind: windows.Int64}, {Name: "j", Kind: windows.Int64},
	{Name: "d", Kind: windows.Double}, {Name: "e", Kind: windows.Double},
	{Name: "s", Kind: windows.String}, {Name: "t", Kind: windows.String},
	{Name: "b", Kind: windows.Bool}, {Name: "c", Kind: windows.Bool},
	{Name: "at", Kind: windows.Timestamp}, {Name: "to", Kind: windows.Timestamp},
	{Name: "list", Kind: windows.Timestamps}, {Name: "user-id", Kind: windows.String},
}

// rowOf returns a row with the given columns, all others null.
func rowOf(values map[string]windows.Value) []windows.Value {
	row := make([]windows.Value, len(columns))
	for i, f := range columns {
		row[i] = values[f.Name]
	}
	return row
}

func compile(t testing.TB, text string) (features.Expression, windows.Kind) {
	t.Helper()
	eval, kind, mistakes := features.CompileExpression(text, columns)
	if len(mistakes) > 0 {
		t.Fatalf("%s: %v", text, mistakes)
	}
	return eval, kind
}

func compileFor(text string) (features.Expression, windows.Kind, []string) {
	return features.CompileExpression(text, columns)
}

// show is a value for messages: 1, 1.0, 'x', true, null.
func show(v windows.Value) string {
	switch v.Kind() {
	case windows.Null:
		return "null"
	case windows.Bool:
		return fmt.Sprint(v.Bool())
	case windows.Double:
		if s := fmt.Sprint(v.Double()); strings.ContainsAny(s, ".e") {
			return s
		} else {
			return s + ".0"
		}
	case windows.String:
		return "'" + v.Str() + "'"
	case windows.Timestamps:
		return fmt.Sprint(v.Times())
	}
	return fmt.Sprint(v.Int())
}

func TestExpression(t *testing.T) {
	row := rowOf(map[string]windows.Value{
		"i": windows.IntOf(7), "d": windows.DoubleOf(2.5), "s": windows.StringOf("click"), "b": windows.BoolOf(true), "at": windows.TimeOf(1000), "to": windows.TimeOf(2000),
		"list": windows.TimesOf([]int64{1, 2}),
	})
	for text, want := range map[string]string{
		// arithmetic
		"i + 1": "8", "i - 10": "-3", "i * i": "49", "i % 4": "3", "-i % 4": "-3", "-(i)": "-7", "--i": "7",
		"i / 2": "3.5", "6 / 3": "2.0", "i + d": "9.5", "d % 2": "0.5", "-d": "-2.5", "1 + 2 * 3": "7", "(1 + 2) * 3": "9", "8 - 2 - 1": "5", "2 * 7 / 2": "7.0",
		"0x1F + 0b11 + 0o7 + 010 + 1_000": "1051", "1e3": "1000.0", ".5 + 1.": "1.5",
		"9223372036854775807": "9223372036854775807", "-9223372036854775807 - 1": "-9223372036854775808",
		// what has no result is null
		"i / 0": "null", "i % 0": "null", "d / 0": "null", "d % 0": "null", "0.0 / 0.0": "null", "0 / 0": "null", "i / 0.0": "null",
		"9223372036854775807 + 1": "null", "-9223372036854775807 - 2": "null", "9223372036854775807 * 2": "null", "-(-9223372036854775807 - 1)": "null",
		"(-9223372036854775807 - 1) * -1": "null", "(-9223372036854775807 - 1) % -1": "0", "1e308 * 10": "null", "1e308 * 10 * 0": "null",
		"i + j": "null", "j / j": "null", "-j": "null", "d + e": "null",
		// comparisons
		"i == 7": "true", "i == 7.0": "true", "7.5 > i": "true", "i != 7": "false", "i < 7": "false", "i <= 7": "true", "s == 'click'": "true", "'click' != s": "false", "s == \"cl\\x69ck\"": "true",
		"s < 'd'": "true", "s >= 'click'": "true", "s == `click`": "true", "b == true": "true", "b != (1 < 2)": "false", "at < to": "true", "at == to": "false", "'a' == 'a'": "true",
		"9007199254740993 == 9007199254740992.0": "false", "9007199254740993 > 9007199254740992.0": "true", "9223372036854775807 < 9223372036854775808.0": "true",
		"j == j": "null", "j != 1": "null", "t == 'click'": "null", "t != 'click'": "null", "e < 1": "null", "at < is_at": "",
		// three-valued logic
		"b and true": "true", "b and c": "null", "c and b": "null", "false and c": "false", "c and false": "false", "c and c": "null",
		"b or c": "true", "c or b": "true", "false or c": "null", "c or false": "null", "not b": "false", "not c": "null", "!b": "false", "b && !c || false": "null",
		"not (i == 7)": "false", "not b == b": "false",
		// the rest
		"b ? i : 0": "7", "c ? 1 : 2": "2", "i > 5 ? 'many' : 'few'": "'many'", "b ? i : d": "7.0", "b ? j : 1": "null", "not b ? 1 : c ? 2 : 3": "3",
		"i in [1, 7]": "true", "i in [7.0]": "true", "i in [1, -7]": "false", "i not in [1, 7]": "false", "j in [1]": "null", "j not in [1]": "null", "s in ['view', 'click']": "true", "d in [2.5]": "true", "b in [false]": "false",
		"not (s in ['a'])": "true", "j ?? 3": "3", "i ?? 3": "7", "j ?? d": "2.5", "i ?? d": "7.0", "j ?? j ?? 1": "1", "(j ?? 0) + 1": "1", "j + 1 ?? 0": "null",
		"is_null(j)": "true", "is_null(i)": "false", "is_null(list)": "false", "is_null(i / 0)": "true", "list": "[1 2]", "at": "1000", "at ?? to": "1000",
		" i\n+ 1 ": "8",
	} {
		eval, _, mistakes := features.CompileExpression(text, columns)
		if want == "" {
			if len(mistakes) == 0 {
				t.Errorf("%s: want a mistake", text)
			}
			continue
		}
		if len(mistakes) > 0 {
			t.Errorf("%s: %v", text, mistakes)
			continue
		}
		if have := show(eval(row)); have != want {
			t.Errorf("%s: want %s, have %s", text, want, have)
		}
	}
}

func TestExpression_RefusesWithPlaceAndReason(t *testing.T) {
	for text, want := range map[string]string{
		"s + 1":               "0: + takes numbers, and this is a string; it takes int64 and double",
		"i +  s":              "5: + takes numbers, and this is a string; it takes int64 and double",
		"i + nope":            "4: source events has no field nope; want one of i, j, d, e, s, t, b, c, at, to, list, user-id",
		"(i + 1) == s":        "8: == compares an int64 with a string; compare what is of one type, or int64 with double",
		"at > 5":              "3: > compares a timestamp with an int64; compare what is of one type, or int64 with double",
		"at + 1":              "0: + takes numbers, and this is a timestamp; it takes int64 and double",
		"i // 2":              "2: a comment in an expression; division is a single /; comments are YAML's, after #",
		"i /* x */ + 1":       "2: a comment in an expression; division is a single /; comments are YAML's, after #",
		"i + 1 // and so":     "6: a comment in an expression; division is a single /; comments are YAML's, after #",
		"1 < i < 3":           "6: comparisons in a row; write a < b and b < c",
		"1 < i < j < 3":       "10: comparisons in a row; write a < b and b < c",
		"i ?: 1":              "0: no ?: without a middle; write a ? b : c, or a ?? b",
		"9223372036854775808": "0: 9223372036854775808 is no int64; the greatest is 9223372036854775807; a double has a decimal point",
		"0xFFFFFFFFFFFFFFFFF": "0: 0xFFFFFFFFFFFFFFFFF is no int64; the greatest is 9223372036854775807; a double has a decimal point",
		"list == list":        "5: == compares a list of timestamps with a list of timestamps; compare what is of one type, or int64 with double",
		"i == 1 i":            "7: unexpected i; an operator or a parenthesis is missing or too many",
		"(i == 1":             "7: the expression ends too early; something is missing here",
		"i +":                 "3: the expression ends too early; something is missing here",
		"user-id":             "0: source events has no field user; want one of i, j, d, e, s, t, b, c, at, to, list, user-id|5: source events has no field id; did you mean i?",
		"float(i)":            "0: there is no function float; the only one is is_null(x)",
		"s.upper()":           "1: no . in expressions; fields are flat: name a declared field",
		"max(i, j)":           "0: there is no function max; the only one is is_null(x)",
		"i > 1 ? 1 : true":    "12: an int64 or a bool, by the condition; both are of one type, or int64 and double",
		strings.Repeat("(", 3000) + "i" + strings.Repeat(")", 3000): "0: an expression of 6001 characters; at most 4096 are allowed",
	} {
		_, _, mistakes := features.CompileExpression(text, columns)
		if diff := cmp.Diff(strings.Split(want, "|"), mistakes); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

func TestExpression_DoesNotAllocate(t *testing.T) {
	row := rowOf(map[string]windows.Value{"i": windows.IntOf(7), "d": windows.DoubleOf(2.5), "s": windows.StringOf("click"), "at": windows.TimeOf(1)})
	for _, text := range []string{
		"s == 'click'", "s in ['view', 'click', 'buy'] and not is_null(d)", "(i + 1) * 3 % 4 - i", "i / d > 2.5 ? 'a' : s", "(j ?? i) >= 7 or d < 1", "at != to",
	} {
		eval, _ := compile(t, text)
		if n := testing.AllocsPerRun(100, func() { eval(row) }); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

func TestExpression_ManyAtOnce(t *testing.T) {
	eval, _ := compile(t, "s in ['b', 'a'] and i % 2 == 1")
	done := make(chan bool)
	for n := range 4 {
		go func() {
			odd := true
			for i := range 1000 {
				row := rowOf(map[string]windows.Value{"s": windows.StringOf("a"), "i": windows.IntOf(int64(i + n))})
				odd = odd && eval(row).Bool() == ((i+n)%2 == 1)
			}
			done <- odd
		}()
	}
	for range 4 {
		if !<-done {
			t.Error("a wrong result")
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, text := range []string{"i + 1", "s == 'click' and not (d > 1)", "i in [1, -2.5]", "(j ?? 0) / 2 > 1 ? is_null(at) : b", "let x = 1; x", "s matches 'a'", "all([1], {# > 0})", "1..2", "i // 2"} {
		f.Add(text)
	}
	rows := [][]windows.Value{
		make([]windows.Value, len(columns)),
		rowOf(map[string]windows.Value{
			"i": windows.IntOf(math.MinInt64), "j": windows.IntOf(-1), "d": windows.DoubleOf(math.MaxFloat64), "e": windows.DoubleOf(0), "s": windows.StringOf("a"), "t": windows.StringOf(""),
			"b": windows.BoolOf(true), "c": windows.BoolOf(false), "at": windows.TimeOf(math.MaxInt64), "to": windows.TimeOf(math.MinInt64), "list": windows.TimesOf([]int64{1}),
		}),
	}
	f.Fuzz(func(t *testing.T, text string) {
		eval, kind, mistakes := features.CompileExpression(text, columns)
		if (eval == nil) != (len(mistakes) > 0) {
			t.Fatalf("%q: both or neither of a closure and %v", text, mistakes)
		}
		if eval == nil {
			return
		}
		for _, row := range rows {
			v := eval(row)
			if !v.IsNull() && v.Kind() != kind {
				t.Fatalf("%q is of kind %v, and gives %v", text, kind, v.Kind())
			}
			if v.Kind() == windows.Double && (math.IsNaN(v.Double()) || math.IsInf(v.Double(), 0)) {
				t.Fatalf("%q gives %v", text, v.Double())
			}
		}
	})
}

func BenchmarkExpression(b *testing.B) {
	row := rowOf(map[string]windows.Value{"i": windows.IntOf(7), "d": windows.DoubleOf(2.5), "s": windows.StringOf("click")})
	for _, text := range []string{"s == 'click'", "s in ['view', 'click']", "i / d", "s == 'click' and d > 1 or is_null(i)"} {
		b.Run(text, func(b *testing.B) {
			eval, _ := compile(b, text)
			b.ReportAllocs()
			for b.Loop() {
				eval(row)
			}
		})
	}
}
