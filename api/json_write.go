package api

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"highwater/serve"
	"highwater/windows"
)

// The first and last instants, in µs, that RFC 3339 can write: the years 0 to 9999.
const (
	firstTime = -62167219200_000000
	lastTime  = 253402300799_999999
)

// AppendVector appends one entity's vector as GET /v1/features/{view}/{entity} answers it, without a newline. A row whose status is NotFound has null in place of its version and times.
func AppendVector(dst []byte, r *serve.Row) []byte {
	dst = appendString(append(dst, `{"feature_view":`...), r.View)
	dst = append(dst, `,"entity":{`...)
	for i, k := range r.JoinKeys {
		dst = appendName(dst, i, k.Name)
		dst = AppendValue(dst, r.Keys[i])
	}
	dst = append(dst, `},"version":`...)
	if r.Status == serve.NotFound {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendUint(append(dst, `{"generation":`...), uint64(r.Version.Generation), 10)
		dst = strconv.AppendUint(append(dst, `,"sequence":`...), r.Version.Sequence, 10)
		dst = append(dst, '}')
	}
	dst = AppendTime(append(dst, `,"as_of":`...), r.AsOf)
	dst = AppendTime(append(dst, `,"event_time":`...), r.EventTime)
	dst = appendString(append(dst, `,"status":`...), r.Status.String())
	dst = append(dst, `,"features":{`...)
	for i, f := range r.Features {
		dst = appendName(dst, i, f.Name)
		dst = AppendValue(dst, r.Values[i])
	}
	return append(dst, "}}"...)
}

// appendName appends the name of an object's i-th member, with what parts it from the one before.
func appendName(dst []byte, i int, name string) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	return append(appendString(dst, name), ':')
}

// AppendValue appends v as JSON: a double with a decimal point, an int64 with all its digits, times as [AppendTime] does.
func AppendValue(dst []byte, v windows.Value) []byte {
	switch v.Kind() {
	case windows.Bool:
		return strconv.AppendBool(dst, v.Bool())
	case windows.Int64:
		return strconv.AppendInt(dst, v.Int(), 10)
	case windows.Double:
		return appendDouble(dst, v.Double())
	case windows.String:
		return appendString(dst, v.Str())
	case windows.Timestamp:
		return AppendTime(dst, v.Int())
	case windows.Timestamps:
		return appendTimes(dst, v.Times())
	default:
		return append(dst, "null"...)
	}
}

// appendDouble appends the shortest digits that read back as f, always with a decimal point: with an exponent below 1e-6 and from 1e21 on.
func appendDouble(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...) // never a value; and no JSON
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	for i := start; i < len(dst); i++ {
		switch dst[i] {
		case '.':
			return dst
		case 'e':
			dst = append(dst, 0, 0)
			copy(dst[i+2:], dst[i:])
			dst[i], dst[i+1] = '.', '0'
			return dst
		}
	}
	return append(dst, ".0"...)
}

// AppendTime appends an instant in µs as a JSON string: RFC 3339, UTC, milliseconds, rounded down. What has no such form (windows.NoTime, and beyond the years 0 to 9999) is null.
func AppendTime(dst []byte, us int64) []byte {
	if us < firstTime || us > lastTime {
		return append(dst, "null"...)
	}
	dst = time.UnixMicro(us).UTC().AppendFormat(append(dst, '"'), "2006-01-02T15:04:05.000Z")
	return append(dst, '"')
}

func appendTimes(dst []byte, times []int64) []byte {
	dst = append(dst, '[')
	for i, us := range times {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendTime(dst, us)
	}
	return append(dst, ']')
}

// plain marks the bytes that stand for themselves in a JSON string.
var plain = func() (p [utf8.RuneSelf]bool) {
	for c := range p {
		p[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return p
}()

// appendString appends s as a JSON string. Only what JSON demands is escaped; bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0 // s[start:i] waits to be appended as it is
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if plain[c] {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, `\n`...)
			case '\r':
				dst = append(dst, `\r`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(append(dst, s[start:i]...), "\uFFFD"...)
			start = i + 1
		}
		i += size
	}
	return append(append(dst, s[start:]...), '"')
}
