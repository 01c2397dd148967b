package features

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"highwater/windows"
)

// The patterns of what people write, for the decoder and the JSON Schema alike.
var (
	namePattern     = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	fieldPattern    = regexp.MustCompile(`^[^\x00-\x1f\x7f]+$`)
	topicPattern    = regexp.MustCompile(`^([a-zA-Z0-9_-][a-zA-Z0-9._-]{0,248}|[.][a-zA-Z0-9_-][a-zA-Z0-9._-]{0,247}|[.][.][a-zA-Z0-9._-]{1,247})$`) // not . nor ..
	memberPattern   = regexp.MustCompile(`^[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)?$`)
	durationPattern = regexp.MustCompile(`^[0-9]+(ms|s|m|h|d)$`)
	positivePattern = regexp.MustCompile(`^0*[1-9][0-9]*(ms|s|m|h|d)$`)
	bytesPattern    = regexp.MustCompile(`^[1-9][0-9]* ?(KiB|MiB|GiB)$`)
)

// maxDuration bounds every duration of the file: nobody means more, and sums of times and lengths stay far from overflow.
const maxDuration = 36500 * 24 * time.Hour

// plainNames is what projects, entities, sources, views, features and services may be called.
func plainNames() names {
	return names{what: "lower-case letters, digits and _, a letter first", pattern: namePattern}
}

// fieldNames is what fields may be called: the records' own names.
func fieldNames() names {
	return names{what: "the field's name in the records, not empty", pattern: fieldPattern}
}

// text makes the shape of a text that parse accepts; what parse says is wrong is reported as it stands, followed by what is wanted.
func text[T any](what string, schema map[string]any, parse func(text string) (T, error)) shape[T] {
	schema["type"] = "string"
	read := func(d *decoder, n ast.Node) (value T, ok bool) {
		s, isText := textOf(n)
		if !isText {
			what, fix := fmt.Sprintf("%s where a text belongs", nodeWords(n)), "want "+what
			if scalar, isScalar := n.(ast.ScalarNode); isScalar {
				if _, err := parse(scalar.GetToken().Value); err == nil {
					fix = fmt.Sprintf("put it between quotes: '%s'", scalar.GetToken().Value)
				}
			}
			d.report(placeOf(n), what, fix)
			return value, false
		}
		value, err := parse(s)
		if err != nil {
			d.report(placeOf(n), err.Error(), "want "+what)
			return value, false
		}
		return value, true
	}
	return shape[T]{description: description{what: what, schema: schema}, read: read}
}

// textOf returns a text's value. (The nodes' own String methods print YAML, and panic on folded texts.)
func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// matching makes the shape of a text that a pattern accepts.
func matching(what string, pattern *regexp.Regexp) shape[string] {
	return text(what, map[string]any{"pattern": pattern.String()}, func(s string) (string, error) {
		if !pattern.MatchString(s) {
			return "", fmt.Errorf("%q will not do", shorten(s))
		}
		return s, nil
	})
}

// oneOf makes the shape of a word out of a few.
func oneOf[T ~string](noun string, words ...T) shape[T] {
	spelt := make([]string, len(words))
	for i, w := range words {
		spelt[i] = string(w)
	}
	what := "one of " + strings.Join(spelt, ", ")
	s := text(what, map[string]any{"enum": spelt}, func(s string) (T, error) { return T(s), nil })
	readText := s.read
	s.read = func(d *decoder, n ast.Node) (value T, ok bool) {
		if value, ok = readText(d, n); ok && !slices.Contains(spelt, string(value)) {
			d.report(placeOf(n), fmt.Sprintf("there is no %s %q", noun, shorten(string(value))), suggest(noun, string(value), spelt))
			return value, false
		}
		return value, ok
	}
	return s
}

// kinds makes the shape of a type's name.
func kinds(allowed ...windows.Kind) shape[windows.Kind] {
	spelt := make([]string, len(allowed))
	for i, k := range allowed {
		spelt[i] = k.String()
	}
	word := oneOf("type", spelt...)
	read := func(d *decoder, n ast.Node) (windows.Kind, bool) {
		s, ok := word.read(d, n)
		if !ok {
			return windows.Null, false
		}
		return allowed[slices.Index(spelt, s)], true
	}
	return shape[windows.Kind]{description: word.description, read: read}
}

// duration makes the shape of a duration, which may be 0 only where the file's reader can do with none.
func duration(example string, positive bool) shape[time.Duration] {
	what, pattern := "a duration such as "+example, durationPattern
	if positive {
		what, pattern = "a positive duration such as "+example, positivePattern
	}
	s := text(what, map[string]any{"pattern": pattern.String()}, func(s string) (time.Duration, error) {
		length, err := parseDuration(s)
		if err == nil && positive && length == 0 {
			err = fmt.Errorf("%s is no length of time", s)
		}
		return length, err
	})
	readText := s.read
	s.read = func(d *decoder, n ast.Node) (time.Duration, bool) {
		if number, isNumber := n.(*ast.IntegerNode); isNumber {
			v := number.GetToken().Value
			d.report(placeOf(n), v+" has no unit", fmt.Sprintf("want %sms, %ss, %sm, %sh or %sd", v, v, v, v, v))
			return 0, false
		}
		return readText(d, n)
	}
	return s
}

func parseDuration(s string) (time.Duration, error) {
	if !durationPattern.MatchString(s) {
		return 0, fmt.Errorf("%q is no duration", shorten(s))
	}
	digits := strings.TrimRight(s, "mshd")
	unit := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > int64(maxDuration/unit) {
		return 0, fmt.Errorf("%s is longer than %s", shorten(s), durationText(maxDuration))
	}
	return time.Duration(n) * unit, nil
}

// durationText writes a duration as a definitions file does, in the largest unit that leaves a whole number.
func durationText(length time.Duration) string {
	for _, u := range []struct {
		name   string
		length time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if length > 0 && length%u.length == 0 {
			return fmt.Sprintf("%d%s", length/u.length, u.name)
		}
	}
	return fmt.Sprintf("%dms", length.Milliseconds())
}

// count makes the shape of an integer within bounds.
func count(least, most int64) shape[int64] {
	what := fmt.Sprintf("an integer from %d", least)
	schema := map[string]any{"type": "integer", "minimum": least}
	if most < math.MaxInt64 {
		what += fmt.Sprintf(" to %d", most)
		schema["maximum"] = most
	}
	read := func(d *decoder, n ast.Node) (int64, bool) {
		number, isNumber := n.(*ast.IntegerNode)
		if !isNumber {
			d.report(placeOf(n), fmt.Sprintf("%s where an integer belongs", nodeWords(n)), "want "+what)
			return 0, false
		}
		v, fits := integerOf(number)
		if !fits || v < least || v > most {
			d.report(placeOf(n), number.GetToken().Value+" is out of bounds", "want "+what)
			return 0, false
		}
		return v, true
	}
	return shape[int64]{description: description{what: what, schema: schema}, read: read}
}

func integerOf(n *ast.IntegerNode) (int64, bool) {
	switch v := n.Value.(type) {
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	}
	return 0, false
}

// bytesOf makes the shape of a size in bytes: an integer, or one with a unit.
func bytesOf(most int64) shape[int64] {
	number := count(1, most)
	what := "a number of bytes, or such as 64 MiB"
	read := func(d *decoder, n ast.Node) (int64, bool) {
		s, isText := textOf(n)
		if !isText {
			return number.read(d, n)
		}
		if !bytesPattern.MatchString(s) {
			d.report(placeOf(n), fmt.Sprintf("%q is no size", shorten(s)), "want "+what)
			return 0, false
		}
		digits := strings.TrimRight(s, " KMGiB")
		unit := map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[s[len(s)-3:]]
		v, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || v > most/unit {
			d.report(placeOf(n), s+" is out of bounds", fmt.Sprintf("want at most %d bytes", most))
			return 0, false
		}
		return v * unit, true
	}
	withUnit := &description{what: "such as 64 MiB", schema: map[string]any{"type": "string", "pattern": bytesPattern.String()}}
	return shape[int64]{description: description{what: what, either: []*description{&number.description, withUnit}}, read: read}
}

// expressionOf makes the shape of an expression; it is checked when its names are known.
func expressionOf(example string) shape[formula] {
	what := "an expression such as " + example
	s := text(what, map[string]any{"minLength": 1}, func(s string) (string, error) {
		if strings.TrimSpace(s) == "" {
			return "", fmt.Errorf("an empty expression")
		}
		return s, nil
	})
	read := func(d *decoder, n ast.Node) (formula, bool) {
		text, ok := s.read(d, n)
		return formula{text: text, node: n}, ok
	}
	return shape[formula]{description: s.description, read: read}
}
