package features

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"highwater/windows"
)

// An entity is known by one canonical text, the same in the state, in Redis and in memory: a string key's own bytes, an int64 key in decimal.
// With several join keys the parts stand in declared order, parted by 0x00 0x01, and a 0x00 within a part is written 0x00 0xFF, so that no two entities share a text.
const (
	entityEscape    = 0x00
	entitySeparator = 0x01
	entityZero      = 0xFF
)

// AppendEntity appends the canonical text of an entity to dst. It returns ok == false, and dst as it was, where a key is null or empty: such an event does not enter the view.
// values must be of the kinds of the entity's join keys, String or Int64.
func AppendEntity(dst []byte, values ...windows.Value) (text []byte, ok bool) {
	start := len(dst)
	for i, v := range values {
		if v.IsNull() || v.Kind() == windows.String && v.Str() == "" {
			return dst[:start], false
		}
		if i > 0 {
			dst = append(dst, entityEscape, entitySeparator)
		}
		dst = appendEntityPart(dst, v, len(values) > 1)
	}
	return dst, true
}

func appendEntityPart(dst []byte, v windows.Value, escape bool) []byte {
	if v.Kind() == windows.Int64 {
		return strconv.AppendInt(dst, v.Int(), 10)
	}
	s := v.Str()
	if !escape {
		return append(dst, s...)
	}
	for {
		i := strings.IndexByte(s, entityEscape)
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(append(dst, s[:i]...), entityEscape, entityZero)
		s = s[i+1:]
	}
}

// EntityValues reads a canonical text back into the values of the entity's join keys. It refuses a text that [AppendEntity] does not write.
func (e *Entity) EntityValues(text string) ([]windows.Value, error) {
	parts := []string{text}
	if len(e.JoinKeys) > 1 {
		parts = splitEntity(text)
	}
	if len(parts) != len(e.JoinKeys) {
		return nil, fmt.Errorf("entity %q: %d join keys, the text has %d", e.Name, len(e.JoinKeys), len(parts))
	}
	values := make([]windows.Value, len(parts))
	for i, p := range parts {
		v, err := e.JoinKeys[i].Parse(p)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	if own, ok := AppendEntity(nil, values...); !ok || string(own) != text {
		return nil, fmt.Errorf("entity %q: %q is not its own text", e.Name, text)
	}
	return values, nil
}

// Parse reads one join key's value from its text, as it stands in a URL or a canonical entity.
func (k JoinKey) Parse(text string) (windows.Value, error) {
	if k.Kind == windows.String {
		return windows.StringOf(text), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return windows.Value{}, fmt.Errorf("%s is an int64; %q is not one", k.Name, text)
	}
	return windows.IntOf(n), nil
}

func splitEntity(text string) []string {
	var parts []string
	var part []byte
	for b := []byte(text); ; {
		i := bytes.IndexByte(b, entityEscape)
		if i < 0 || i+1 == len(b) {
			return append(parts, string(append(part, b...)))
		}
		part = append(part, b[:i]...)
		if b[i+1] == entityZero {
			part = append(part, entityEscape)
		} else {
			parts, part = append(parts, string(part)), nil
		}
		b = b[i+2:]
	}
}
