package decode_test

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// verdict is what a decoder says of a record.
type verdict struct {
	fields []windows.Value // nil unless accepted
	time   int64
	reason batch.Reason
}

// oracleJSON decides as the decoder should, slowly: encoding/json says what is well-formed and hands out tokens, math/big does the arithmetic.
func oracleJSON(s *features.Source, value []byte) verdict {
	names, values, ok := topLevel(value)
	if !ok {
		return verdict{reason: batch.ReasonMalformed}
	}
	byName := map[string]any{}
	for i, name := range names {
		if _, twice := byName[name]; twice {
			return verdict{reason: batch.ReasonDuplicate}
		}
		byName[name] = values[i]
	}
	eventTime, timeReason := oracleTime(s.Timestamp, byName[s.Timestamp.Field])
	v := verdict{time: eventTime, reason: timeReason}
	for _, f := range s.Fields {
		field, ok := oracleField(f, byName[f.Name])
		if f.Name == s.Timestamp.Field && f.Kind == windows.Timestamp {
			field, ok = windows.TimeOf(eventTime), true // read once, by the event time's unit
		}
		if !ok {
			return verdict{reason: batch.ReasonType}
		}
		v.fields = append(v.fields, field)
	}
	if v.reason != "" {
		return verdict{reason: v.reason}
	}
	return v
}

// topLevel returns the names and values of a record's object; ok is false where the record is malformed. A value that is an object or an array is given as
// its json.Delim.
func topLevel(value []byte) (names []string, values []any, ok bool) {
	if !utf8.Valid(value) || !json.Valid(value) || halfSurrogate(value) {
		return nil, nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	if t, _ := dec.Token(); t != json.Delim('{') {
		return nil, nil, false
	}
	depth := 1
	for depth > 0 {
		t, err := dec.Token()
		if err != nil {
			return nil, nil, false
		}
		delim, isDelim := t.(json.Delim)
		opens := isDelim && (delim == '{' || delim == '[')
		switch {
		case isDelim && !opens:
			depth--
		case depth == 1 && len(names) == len(values):
			names = append(names, t.(string))
		case depth == 1:
			values = append(values, t)
		}
		if opens {
			if depth++; depth > 128 {
				return nil, nil, false
			}
		}
	}
	return names, values, true
}

var escapeRuns = regexp.MustCompile(`(\\u[0-9a-fA-F]{4})+|\\.`)

// halfSurrogate looks through the runs of \u escapes of a valid record for a surrogate without its other half.
func halfSurrogate(value []byte) bool {
	for _, run := range escapeRuns.FindAllString(string(value), -1) {
		if !strings.HasPrefix(run, `\u`) {
			continue
		}
		var units []uint16
		for _, digits := range strings.Split(run, `\u`)[1:] {
			u, _ := strconv.ParseUint(digits, 16, 16)
			units = append(units, uint16(u))
		}
		for i := 0; i < len(units); i++ {
			if !utf16.IsSurrogate(rune(units[i])) {
				continue
			}
			if i+1 == len(units) || utf16.DecodeRune(rune(units[i]), rune(units[i+1])) == utf8.RuneError {
				return true
			}
			i++
		}
	}
	return false
}

// oracleField reads a declared field.
func oracleField(f features.Field, value any) (v windows.Value, ok bool) {
	if value == nil {
		return windows.Value{}, true
	}
	switch x := value.(type) {
	case bool:
		return windows.BoolOf(x), f.Kind == windows.Bool
	case string:
		if f.Kind == windows.Timestamp {
			us, ok := oracleRFC3339(x)
			return windows.TimeOf(us), ok && sane(us)
		}
		return windows.StringOf(x), f.Kind == windows.String
	case json.Number:
		switch f.Kind {
		case windows.Double:
			d, err := strconv.ParseFloat(string(x), 64)
			return windows.DoubleOf(d), err == nil
		case windows.Int64:
			i, whole := oracleInteger(string(x))
			if !whole || !i.IsInt64() {
				return windows.Value{}, false
			}
			return windows.IntOf(i.Int64()), true
		case windows.Timestamp:
			i, whole := oracleInteger(string(x))
			us := new(big.Int).Mul(i, big.NewInt(1000))
			return windows.TimeOf(us.Int64()), whole && us.IsInt64() && sane(us.Int64())
		}
	}
	return windows.Value{}, false
}

// oracleTime reads the event time.
func oracleTime(t features.Timestamp, value any) (us int64, reason batch.Reason) {
	text, isText := value.(string)
	number, isNumber := value.(json.Number)
	switch {
	case value == nil:
		return 0, batch.ReasonNoTime
	case isText != (t.Unit == features.RFC3339), !isText && !isNumber:
		return 0, batch.ReasonType
	case isText:
		us, ok := oracleRFC3339(text)
		switch {
		case !ok:
			return 0, batch.ReasonNoTime
		case !sane(us):
			return 0, batch.ReasonAbsurd
		}
		return us, ""
	}
	i, whole := oracleInteger(string(number))
	if !whole {
		return 0, batch.ReasonType
	}
	nanos := new(big.Int).Mul(i, map[features.Unit]*big.Int{
		features.Seconds: big.NewInt(1e9), features.Milliseconds: big.NewInt(1e6), features.Microseconds: big.NewInt(1e3), features.Nanoseconds: big.NewInt(1),
	}[t.Unit])
	micros := new(big.Int).Div(nanos, big.NewInt(1000)) // Euclidean, so it rounds down
	if t.Unit == features.Nanoseconds && !i.IsInt64() || !micros.IsInt64() || !sane(micros.Int64()) {
		return 0, batch.ReasonAbsurd
	}
	return micros.Int64(), ""
}

// oracleInteger returns the whole number that a JSON number spells. An exponent beyond a thousand digits is cut there: it cannot fit anyway.
func oracleInteger(text string) (i *big.Int, whole bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	e, err := strconv.Atoi(exponent)
	if exponent == "" {
		e = 0
	} else if limit := 1000 + len(text); err != nil || e > limit || e < -limit {
		e = limit
		if strings.HasPrefix(exponent, "-") {
			e = -limit
		}
	}
	r, _ := new(big.Rat).SetString(mantissa)
	power := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, -e))), nil))
	if e < 0 {
		power.Inv(power)
	}
	r.Mul(r, power)
	return new(big.Int).Set(r.Num()), r.IsInt()
}

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// oracleRFC3339 lets the time package read what the grammar allows.
func oracleRFC3339(s string) (us int64, ok bool) {
	if !rfc3339.MatchString(s) {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s[:10]+"T"+s[11:]))
	if err != nil {
		return 0, false
	}
	return t.Unix()*1e6 + int64(t.Nanosecond()/1000), true
}

var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	endOfTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
)

func sane(us int64) bool { return us >= firstTime && us < endOfTime && us != math.MinInt64 }
