package decode

import (
	"fmt"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// This file fills a target from one value of the record: text, a number, or a truth. at is the value's place in the record's value, in bytes; it means
// nothing in a key or a header.

// setText fills t from a JSON string.
func (r *reading) setText(t *target, text string, at int) {
	if t.isTime {
		r.timeFromText(t, text, at)
	}
	if t.field == none {
		return
	}
	switch t.kind {
	case windows.String, anyText:
		r.fields[t.field] = windows.StringOf(text)
	case windows.Timestamp:
		r.setTimestampText(t, text, at)
	default:
		r.mismatch(t, "a string", at)
	}
}

// setNumber fills t from a number.
func (r *reading) setNumber(t *target, n *number, at int) {
	if t.isTime {
		r.timeFromNumber(t, n, at)
	}
	if t.field == none {
		return
	}
	switch t.kind {
	case windows.Int64:
		i, fit := n.integer()
		if fit != fits {
			r.mismatch(t, "the number "+n.excerpt(), at)
			return
		}
		r.fields[t.field] = windows.IntOf(i)
	case windows.Double:
		f, ok := n.double()
		if !ok {
			r.mismatch(t, "the number "+n.excerpt()+", beyond a double's range,", at)
			return
		}
		r.fields[t.field] = windows.DoubleOf(f)
	case windows.Timestamp:
		r.setTimestampNumber(t, n, at)
	case anyText:
		r.fields[t.field] = windows.StringOf(n.text)
	default:
		r.mismatch(t, "a number", at)
	}
}

// setBool fills t from true or false.
func (r *reading) setBool(t *target, truth bool, at int) {
	switch {
	case t.isTime:
		r.mismatch(t, "a bool", at)
	case t.kind == windows.Bool:
		r.fields[t.field] = windows.BoolOf(truth)
	case t.kind == anyText:
		r.fields[t.field] = windows.StringOf(fmt.Sprint(truth))
	default:
		r.mismatch(t, "a bool", at)
	}
}

// setNested fills t from an object or an array: its text as it stands is all that can be taken of it.
func (r *reading) setNested(t *target, text string, at int) {
	switch {
	case t.kind == anyText && !t.isTime:
		r.fields[t.field] = windows.StringOf(text)
	case text[0] == '{':
		r.mismatch(t, "an object", at)
	default:
		r.mismatch(t, "an array", at)
	}
}

// setTimestampText fills a declared timestamp. Where that is the event time too, it has been read already, by the event time's unit.
func (r *reading) setTimestampText(t *target, text string, at int) {
	if t.isTime {
		r.setTimestampFromTime(t)
		return
	}
	us, ok := parseRFC3339(text)
	if !ok || !inYears(us) {
		r.mismatch(t, "the string "+excerpt(text), at)
		return
	}
	r.fields[t.field] = windows.TimeOf(us)
}

// setTimestampNumber is setTimestampText of a number, in milliseconds.
func (r *reading) setTimestampNumber(t *target, n *number, at int) {
	if t.isTime {
		r.setTimestampFromTime(t)
		return
	}
	ms, fit := n.integer()
	us, ok := micros(ms, features.Milliseconds)
	if fit != fits || !ok {
		r.mismatch(t, "the number "+n.excerpt(), at)
		return
	}
	r.fields[t.field] = windows.TimeOf(us)
}

func (r *reading) setTimestampFromTime(t *target) {
	if r.timed {
		r.fields[t.field] = windows.TimeOf(r.time)
	}
}

// timeFromText reads the event time from a string, which only unit rfc3339 allows.
func (r *reading) timeFromText(t *target, text string, at int) {
	if t.unit != features.RFC3339 {
		r.mismatchTime(t, "a string", at)
		return
	}
	us, ok := parseRFC3339(text)
	switch {
	case !ok:
		r.reject(batch.ReasonNoTime, "field %s: the event time %s %s is not RFC 3339, as in 2024-05-06T07:08:09.123Z", t.name, excerpt(text), t.place(at))
	case !inYears(us):
		r.absurd(t, excerpt(text), at)
	default:
		r.time, r.timed = us, true
	}
}

// timeFromNumber reads the event time from a whole number of the timestamp's unit.
func (r *reading) timeFromNumber(t *target, n *number, at int) {
	if t.unit == features.RFC3339 {
		r.mismatchTime(t, "a number", at)
		return
	}
	v, fit := n.integer()
	if fit == broken {
		r.mismatchTime(t, "the number "+n.excerpt(), at)
		return
	}
	us, ok := micros(v, t.unit)
	if fit == tooBig || !ok {
		r.absurd(t, n.excerpt(), at)
		return
	}
	r.time, r.timed = us, true
}

func (r *reading) absurd(t *target, have string, at int) {
	r.reject(batch.ReasonAbsurd, "field %s: the event time %s %s is outside the years 1 to 9999 (unit %s)", t.name, have, t.place(at), t.unit)
}

// mismatch notes a value of another type than t's.
func (r *reading) mismatch(t *target, have string, at int) {
	if t.field == none || t.isTime && t.kind == windows.Timestamp {
		r.mismatchTime(t, have, at)
		return
	}
	r.reject(batch.ReasonType, "field %s: want %s, have %s %s", t.name, wantKind(t.kind), have, t.place(at))
}

func (r *reading) mismatchTime(t *target, have string, at int) {
	r.reject(batch.ReasonType, "field %s: want the event time, %s, have %s %s", t.name, wantUnit(t.unit), have, t.place(at))
}

func wantKind(k windows.Kind) string {
	switch k {
	case windows.Int64:
		return "an int64"
	case windows.Timestamp:
		return "a timestamp (RFC 3339, or an integer of milliseconds)"
	}
	return "a " + k.String()
}

func wantUnit(u features.Unit) string {
	switch u {
	case features.RFC3339:
		return "an RFC 3339 string"
	case features.Seconds:
		return "an integer of seconds"
	case features.Microseconds:
		return "an integer of microseconds"
	case features.Nanoseconds:
		return "an integer of nanoseconds"
	}
	return "an integer of milliseconds"
}

// excerpt quotes text for people, cut where it is long.
func excerpt(text string) string {
	const most = 40
	if len(text) > most {
		return fmt.Sprintf("%q…", text[:most])
	}
	return fmt.Sprintf("%q", text)
}
