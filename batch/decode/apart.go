package decode

import (
	"fmt"
	"unicode/utf8"

	"highwater/batch"
	"highwater/features"
)

// This file reads the fields that stand apart from a record's value: in its key, or in a header.

// apart fills the fields of targets from rec's key and headers. A key or a header that is not there, or null, leaves its field null.
func (r *reading) apart(rec *batch.Record, targets []target) {
	for i := range targets {
		t := &targets[i]
		text := rec.Key
		if t.from == features.FromHeader {
			text = lastHeader(rec.Headers, t.header)
		}
		if text != nil {
			r.setBytes(t, text)
		}
	}
}

// lastHeader returns the value of the last header of that name, nil where there is none.
func lastHeader(headers []batch.Header, name string) []byte {
	for i := len(headers) - 1; i >= 0; i-- {
		if headers[i].Key == name {
			return headers[i].Value
		}
	}
	return nil
}

// setBytes fills t from the whole of a key or a header: a text that is read as a CSV cell is, except that one of no bytes is the empty string, and no other type's.
func (r *reading) setBytes(t *target, b []byte) {
	text := view(b)
	if !utf8.ValidString(text) {
		at := placeOfBadUTF8(text)
		r.mismatch(t, fmt.Sprintf("bad UTF-8, 0x%02X at byte %d,", text[at], at), 0)
		return
	}
	r.setCell(t, text, 0)
}

// place says where t's value stands, for people: at a byte of the record's value, or apart from it.
func (t *target) place(at int) string {
	switch t.from {
	case features.FromKey:
		return "in the record's key"
	case features.FromHeader:
		return "in header " + t.header
	}
	return fmt.Sprintf("at byte %d", at)
}

// placeOfTime says where s's event time was looked for, where that is not the record's value.
func placeOfTime(s *features.Source) string {
	for _, f := range s.Fields {
		if f.Name == s.Timestamp.Field && !f.InValue() {
			return " in " + f.Place()
		}
	}
	return ""
}
