package decode

import (
	"fmt"
	"sync"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// maxDepth bounds how deep objects and arrays may nest, the record's own object counted.
const maxDepth = 128

// jsonDecoder reads one JSON object a record, in a single pass that knows the names it looks for. Safe for concurrent use.
type jsonDecoder struct {
	source *features.Source
	names  nameTable
	apart  []target
	shapes shapes
	many   sync.Pool // of map[string]struct{}: see nameSet
}

func newJSON(s *features.Source) *jsonDecoder {
	inValue, apart := targets(s)
	return &jsonDecoder{source: s, names: newNameTable(inValue), apart: apart}
}

// Decode implements [batch.Decoder].
func (d *jsonDecoder) Decode(rec *batch.Record, fields []windows.Value) (int64, batch.Reason, string) {
	r := d.read(rec, fields)
	return r.end(rec, d.source)
}

// read reads the whole record, but for what it says of the event time where there is none.
func (d *jsonDecoder) read(rec *batch.Record, fields []windows.Value) reading {
	s := scanner{text: view(rec.Value)}
	s.fields = fields[:len(d.source.Fields)]
	if s.begin(rec, d.source); s.reason == "" {
		d.object(&s)
	}
	s.reading.apart(rec, d.apart)
	return s.reading
}

// object reads the record's object, and the white space around it.
func (d *jsonDecoder) object(s *scanner) {
	i := s.space(0)
	if i == len(s.text) || s.text[i] != '{' {
		s.malformed(i, "a JSON object")
		return
	}
	known := d.shapes.load()
	i, met, ended := s.follow(s.space(i+1), known)
	if !ended && i != failed {
		i = d.members(s, i, known[:met])
	}
	if i == failed {
		return
	}
	if i = s.space(i); i < len(s.text) {
		s.malformed(i, "nothing after the object")
	}
}

// members reads the record's names and values from i on, and the brace that ends them, after the known ones.
func (d *jsonDecoder) members(s *scanner, i int, known shape) int {
	var seen nameSet
	defer seen.release(&d.many)
	for k := range known {
		seen.add(known[k].name(), known[k].hash, &d.many)
	}
	if len(known) == 0 && i < len(s.text) && s.text[i] == '}' {
		return i + 1
	}
	for ended := false; !ended; {
		at := i
		name, next := s.name(at)
		if next == failed {
			return failed
		}
		if i = s.colon(next); i == failed {
			return failed
		}
		hash := hashName(name)
		t := d.names.find(name, hash)
		if !seen.add(name, hash, &d.many) {
			s.reject(batch.ReasonDuplicate, "name %s: a second time in one object, at byte %d", excerpt(name), at)
			t = nil
		}
		if i = s.member(t, i); i == failed {
			return failed
		}
		if i, ended = s.separator(i, '}'); i == failed {
			return failed
		}
	}
	if s.reason == "" {
		d.shapes.depart(s.text, &d.names)
	}
	return i
}

// scanner goes over one record. Its methods take the place of what they read and return the place after it, or failed once they have called the record malformed.
type scanner struct {
	reading
	text string // the record, without a copy
}

const failed = -1

// malformed calls the record malformed; at is the place of the byte that should have been another.
func (s *scanner) malformed(at int, want string) int {
	have := "the end of the record"
	if at < len(s.text) {
		have = fmt.Sprintf("%q", s.text[at])
		if s.text[at] >= 0x80 {
			have = fmt.Sprintf("0x%02X", s.text[at])
		}
	}
	s.reject(batch.ReasonMalformed, "want %s, have %s at byte %d", want, have, at)
	return failed
}

// name reads a member's name.
func (s *scanner) name(i int) (name string, next int) {
	if i == len(s.text) || s.text[i] != '"' {
		return "", s.malformed(i, "a name in quotes")
	}
	return s.str(i)
}

// member reads the value of a name: t is what it is for, nil where nobody asks for it.
func (s *scanner) member(t *target, i int) int {
	if t == nil {
		return s.skip(i, 1)
	}
	return s.value(t, i)
}

// value reads the value of a name that is wanted.
func (s *scanner) value(t *target, i int) int {
	if i == len(s.text) {
		return s.malformed(i, "a value")
	}
	switch c := s.text[i]; c {
	case '"':
		text, next := s.str(i)
		if next == failed {
			return failed
		}
		s.setText(t, text, i)
		return next
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		var n number
		length, ok := scanNumber(s.text[i:], &n)
		if !ok {
			return s.malformed(i+length, "a digit of a number, without leading zeros")
		}
		s.setNumber(t, &n, i)
		return i + length
	case 't', 'f':
		next := s.literal(i)
		if next != failed {
			s.setBool(t, c == 't', i)
		}
		return next
	case '{', '[':
		end := s.skip(i, 1)
		if end != failed {
			s.setNested(t, s.text[i:end], i)
		}
		return end
	}
	return s.skip(i, 1) // null stays null; what is no value at all is refused there
}

// skip reads a value of any type that nobody wants; it must be well-formed all the same. depth is how many objects and arrays it stands in.
func (s *scanner) skip(i, depth int) int {
	if i == len(s.text) {
		return s.malformed(i, "a value")
	}
	switch s.text[i] {
	case '"':
		return s.skipString(i)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		var n number
		length, ok := scanNumber(s.text[i:], &n)
		if !ok {
			return s.malformed(i+length, "a digit of a number, without leading zeros")
		}
		return i + length
	case 't', 'f', 'n':
		return s.literal(i)
	case '{', '[':
		if depth == maxDepth {
			s.reject(batch.ReasonMalformed, "objects and arrays nest deeper than %d at byte %d", maxDepth, i)
			return failed
		}
		if s.text[i] == '{' {
			return s.skipObject(i, depth+1)
		}
		return s.skipArray(i, depth+1)
	}
	return s.malformed(i, "a value")
}

func (s *scanner) skipObject(i, depth int) int {
	if i = s.space(i + 1); i < len(s.text) && s.text[i] == '}' {
		return i + 1
	}
	for {
		if i == len(s.text) || s.text[i] != '"' {
			return s.malformed(i, "a name in quotes")
		}
		if i = s.skipString(i); i == failed {
			return failed
		}
		if i = s.colon(i); i == failed {
			return failed
		}
		if i = s.skip(i, depth); i == failed {
			return failed
		}
		var ended bool
		if i, ended = s.separator(i, '}'); ended || i == failed {
			return i
		}
	}
}

func (s *scanner) skipArray(i, depth int) int {
	if i = s.space(i + 1); i < len(s.text) && s.text[i] == ']' {
		return i + 1
	}
	for {
		if i = s.skip(i, depth); i == failed {
			return failed
		}
		var ended bool
		if i, ended = s.separator(i, ']'); ended || i == failed {
			return i
		}
	}
}

// separator reads what follows a member or an element: a comma, and the space before the next one, or the bracket that ends the object or array.
func (s *scanner) separator(i int, end byte) (next int, ended bool) {
	if i = s.space(i); i < len(s.text) {
		switch s.text[i] {
		case ',':
			return s.space(i + 1), false
		case end:
			return i + 1, true
		}
	}
	return s.malformed(i, fmt.Sprintf("',' or %q after a value", end)), false
}

// literal reads true, false or null, by its first letter.
func (s *scanner) literal(i int) int {
	word := "null"
	switch s.text[i] {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	}
	for j := range len(word) {
		if i+j == len(s.text) || s.text[i+j] != word[j] {
			return s.malformed(i+j, "the word "+word)
		}
	}
	return i + len(word)
}

// colon reads the colon after a name, and the white space around it.
func (s *scanner) colon(i int) int {
	if i = s.space(i); i == len(s.text) || s.text[i] != ':' {
		return s.malformed(i, "':' after a name")
	}
	return s.space(i + 1)
}

// space returns the place of the first byte from i on that is not white space, or the record's length.
func (s *scanner) space(i int) int {
	for i < len(s.text) && s.text[i] <= ' ' && (s.text[i] == ' ' || s.text[i] == '\n' || s.text[i] == '\t' || s.text[i] == '\r') {
		i++
	}
	return i
}
