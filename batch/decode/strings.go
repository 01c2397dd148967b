package decode

import (
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"highwater/batch"
)

// view returns b as a string without a copy. It is how string values come to share their record's bytes: nobody may change those while a value is in use,
// and nobody does, for they are the fetcher's, who wrote them before the record was handed on.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// str reads the string whose quote is at i. Without escapes its value shares the record's bytes; with them it is built anew.
func (s *scanner) str(i int) (value string, next int) {
	end := plainEnd(s.text, i+1)
	if end < len(s.text) && s.text[end] == '"' {
		return s.text[i+1 : end], end + 1
	}
	end, escaped := s.checkString(end)
	if end == failed {
		return "", failed
	}
	if value = s.text[i+1 : end]; escaped {
		value = unescape(value)
	}
	return value, end + 1
}

// skipString reads the string whose quote is at i, and only checks it.
func (s *scanner) skipString(i int) int {
	end := plainEnd(s.text, i+1)
	if end < len(s.text) && s.text[end] == '"' {
		return end + 1
	}
	if end, _ = s.checkString(end); end == failed {
		return failed
	}
	return end + 1
}

// plainEnd returns the place of the first byte from i on that is not plain: a quote, a backslash, a control character, or not ASCII; the length of s where
// all are plain. It looks at eight bytes at a time. In special, each byte's highest bit is set where it is not plain; a borrow may set bits above the first
// such byte, but never below it.
func plainEnd(s string, i int) int {
	const (
		ones    = 0x0101010101010101
		quotes  = '"' * ones
		escapes = '\\' * ones
		blanks  = ' ' * ones
	)
	for ; i+8 <= len(s); i += 8 {
		w := load64(s, i)
		special := ((w ^ quotes) - ones) | ((w ^ escapes) - ones) | (w - blanks) | w
		if special &= 0x80 * ones; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for i < len(s) && s[i] >= ' ' && s[i] < utf8.RuneSelf && s[i] != '"' && s[i] != '\\' {
		i++
	}
	return i
}

// load64 returns the eight bytes of s at i, the first one lowest.
func load64(s string, i int) uint64 {
	b := s[i : i+8]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// checkString goes on from i, inside a string, to its closing quote, and returns that one's place; escaped says whether it came over an escape.
func (s *scanner) checkString(i int) (end int, escaped bool) {
	for {
		if i = plainEnd(s.text, i); i == len(s.text) {
			return s.malformed(i, "'\"' at the end of a string"), false
		}
		switch c := s.text[i]; {
		case c == '"':
			return i, escaped
		case c == '\\':
			escaped = true
			if i = s.checkEscape(i); i == failed {
				return failed, false
			}
		case c < ' ':
			return s.malformed(i, "control characters escaped in a string"), false
		default:
			r, size := utf8.DecodeRuneInString(s.text[i:])
			if r == utf8.RuneError && size <= 1 {
				s.reject(batch.ReasonMalformed, "bad UTF-8: 0x%02X at byte %d", c, i)
				return failed, false
			}
			i += size
		}
	}
}

// checkEscape reads the escape whose backslash is at i: for a surrogate, both halves.
func (s *scanner) checkEscape(i int) int {
	const plain, unicode = "one of \"\\/bfnrtu after a backslash", "four hexadecimal digits after \\u"
	if i+1 == len(s.text) {
		return s.malformed(i+1, plain)
	}
	switch s.text[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
	default:
		return s.malformed(i+1, plain)
	}
	unit, bad := hex4(s.text, i+2)
	if bad >= 0 {
		return s.malformed(bad, unicode)
	}
	if !utf16.IsSurrogate(unit) {
		return i + 6
	}
	if i+7 < len(s.text) && s.text[i+6] == '\\' && s.text[i+7] == 'u' {
		low, bad := hex4(s.text, i+8)
		if bad >= 0 {
			return s.malformed(bad, unicode)
		}
		if utf16.DecodeRune(unit, low) != utf8.RuneError {
			return i + 12
		}
	}
	s.reject(batch.ReasonMalformed, "half a surrogate pair, %s, which is no character, at byte %d", s.text[i:i+6], i)
	return failed
}

// hex4 reads the four hexadecimal digits at i; bad is the place of the first byte that is none, or negative.
func hex4(s string, i int) (unit rune, bad int) {
	for end := i + 4; i < end; i++ {
		if i == len(s) {
			return 0, i
		}
		c := s[i]
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = (c | 0x20) - 'a' + 10
		default:
			return 0, i
		}
		unit = unit<<4 | rune(c)
	}
	return unit, -1
}

// unescape returns the text that a checked string spells.
func unescape(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(s, i+1)
			i += 4
			if utf16.IsSurrogate(r) {
				low, _ := hex4(s, i+3)
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	return view(out)
}

// placeOfBadUTF8 returns the place of the first byte of s that is not UTF-8, or its length.
func placeOfBadUTF8(s string) int {
	for i, r := range s {
		if r != utf8.RuneError {
			continue
		}
		if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
			return i
		}
	}
	return len(s)
}
