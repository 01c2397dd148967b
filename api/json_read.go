package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"

	"highwater/serve"
)

// A request's body is checked by encoding/json first, in one pass that allocates nothing. What walks it afterwards may rely on its being well-formed, and needs no errors of its own:
// it yields the texts of members and elements, which share the body's bytes.

// checkJSON returns the body as text if it is one JSON value in UTF-8.
func checkJSON(body []byte) (string, error) {
	if !json.Valid(body) {
		return "", invalid("the body is not JSON: " + syntaxError(body))
	}
	if !utf8.Valid(body) {
		return "", invalid("the body is not valid UTF-8")
	}
	return strings.Trim(string(body), " \t\r\n"), nil
}

// syntaxError says what is wrong with a body that is not valid.
func syntaxError(body []byte) string {
	if len(bytes.TrimSpace(body)) == 0 {
		return "it is empty"
	}
	var value json.RawMessage
	err := json.Unmarshal(body, &value)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("%s, at byte %d", syntax, syntax.Offset)
	}
	return fmt.Sprint(err)
}

// members yields an object's members: names unquoted, values as their texts.
func members(object string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		at := skipSpace(object, 1)
		for object[at] != '}' {
			end := skipValue(object, at)
			name := unquote(object[at:end])
			at = skipSpace(object, skipSpace(object, end)+1) // past the colon
			end = skipValue(object, at)
			if !yield(name, object[at:end]) {
				return
			}
			if at = skipSpace(object, end); object[at] == ',' {
				at = skipSpace(object, at+1)
			}
		}
	}
}

// elements yields the texts of an array's elements.
func elements(array string) iter.Seq[string] {
	return func(yield func(value string) bool) {
		at := skipSpace(array, 1)
		for array[at] != ']' {
			end := skipValue(array, at)
			if !yield(array[at:end]) {
				return
			}
			if at = skipSpace(array, end); array[at] == ',' {
				at = skipSpace(array, at+1)
			}
		}
	}
}

func skipSpace(text string, at int) int {
	for text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r' {
		at++
	}
	return at
}

// skipValue returns where the value that begins at text[at] ends.
func skipValue(text string, at int) int {
	switch text[at] {
	case '"':
		return skipString(text, at)
	case '{', '[':
		return skipNested(text, at)
	}
	for at < len(text) {
		switch text[at] {
		case ' ', '\t', '\n', '\r', ',', ']', '}':
			return at
		}
		at++
	}
	return at
}

func skipString(text string, at int) int {
	for at++; text[at] != '"'; at++ {
		if text[at] == '\\' {
			at++
		}
	}
	return at + 1
}

func skipNested(text string, at int) int {
	for depth := 0; ; {
		switch text[at] {
		case '"':
			at = skipString(text, at)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
		}
		at++
	}
}

// unquote returns what a JSON string says.
func unquote(quoted string) string {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	_ = json.Unmarshal([]byte(quoted), &s) // it is known to be a string
	return s
}

// typeOf names the type of a JSON value, with its article.
func typeOf(value string) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// integer reads a JSON number whose value is an int64, however it is written: 7, 7.0, 0.7e1.
func integer(number string) (int64, error) {
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		return n, nil
	}
	digits, exponent, ok := decimal(number)
	negative := strings.HasPrefix(number, "-")
	switch {
	case digits == "":
		return 0, nil
	case ok && exponent < 0:
		return 0, fmt.Errorf("%s is not an integer", cut(number))
	case !ok || len(digits)+exponent > 19:
		return 0, fmt.Errorf("%s is beyond an int64", cut(number))
	}
	digits += strings.Repeat("0", exponent)
	if negative {
		digits = "-" + digits
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is beyond an int64", cut(number))
	}
	return n, nil
}

// decimal splits a JSON number into its significant digits, without zeros at either end, and the power of ten they are multiplied by: its value is ±digits × 10^exponent.
// ok is false where the exponent is out of all reason.
func decimal(number string) (digits string, exponent int, ok bool) {
	mantissa, power := strings.TrimPrefix(number, "-"), ""
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		mantissa, power = mantissa[:i], mantissa[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	all := whole + fraction
	digits = strings.TrimRight(all, "0")
	exponent = len(all) - len(digits) - len(fraction)
	digits = strings.TrimLeft(digits, "0")
	if power == "" {
		return digits, exponent, true
	}
	n, err := strconv.ParseInt(power, 10, 32)
	return digits, exponent + int(n), err == nil || n < 0
}

// cut shortens what an error repeats of a request.
func cut(text string) string {
	if len(text) <= 40 {
		return text
	}
	return strings.ToValidUTF8(text[:40], "") + "…"
}

// quote is how an error repeats a caller's text.
func quote(text string) string { return serve.Quote(text) }
