package decode

import (
	"fmt"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// New returns the decoder of s's records, by s.Format; an empty format means JSON. s must not change afterwards.
//
// A record that is refused may have filled some of its fields: they mean nothing then.
func New(s *features.Source) batch.Decoder {
	if s.Format == features.CSV {
		return newCSV(s)
	}
	return newJSON(s)
}

// target is what one name of a record is for: a declared field, the event time, or both.
type target struct {
	name   string
	kind   windows.Kind    // of the declared field; anyText for a key that is not declared
	field  int             // its index among the declared fields; none for a timestamp field that is not declared
	isTime bool            // it is the source's timestamp field
	unit   features.Unit   // of the event time, where isTime
	from   features.Origin // the part of the record that it stands in
	header string          // the header's name, where from says so
}

// none is the field of a target that fills none.
const none = -1

// anyText is the kind of a field whose text alone is wanted, whatever its type: in an event file, of the key that the source does not declare, and of what
// becomes a key or a header. No source declares a Null.
const anyText = windows.Null

// targets returns what the names in the values of s's records are for, the declared fields first and in order; and, apart, the fields that stand in their keys
// and headers.
func targets(s *features.Source) (inValue, apart []target) {
	inValue = make([]target, 0, len(s.Fields)+1)
	found := false
	for i, f := range s.Fields {
		t := target{name: f.Name, kind: f.Kind, field: i, isTime: f.Name == s.Timestamp.Field, unit: s.Timestamp.Unit, from: f.From, header: f.Header}
		found = found || t.isTime
		if f.InValue() {
			inValue = append(inValue, t)
		} else {
			apart = append(apart, t)
		}
	}
	if s.Timestamp.Field != "" && !found {
		inValue = append(inValue, target{name: s.Timestamp.Field, field: none, isTime: true, unit: s.Timestamp.Unit})
	}
	return inValue, apart
}

// reading is one record as far as it has been read. A record can be wrong in several ways: it is called by the gravest of them; of several as grave, by
// the first in its value, and else in its key and headers.
type reading struct {
	fields []windows.Value
	time   int64 // µs: the event time, where timed
	timed  bool
	reason batch.Reason
	detail string
}

// gravity orders the reasons: a record that is not JSON says nothing about its types, and so on.
func gravity(r batch.Reason) int {
	switch r {
	case batch.ReasonTooLarge:
		return 5
	case batch.ReasonMalformed:
		return 4
	case batch.ReasonDuplicate:
		return 3
	case batch.ReasonType:
		return 2
	case batch.ReasonNoTime, batch.ReasonAbsurd:
		return 1
	}
	return 0
}

// reject notes that something is wrong with the record, unless something as grave is known already.
func (r *reading) reject(reason batch.Reason, format string, args ...any) {
	if gravity(reason) > gravity(r.reason) {
		r.reason, r.detail = reason, fmt.Sprintf(format, args...)
	}
}

// begin starts to read a record: every field is null, and a record beyond the source's limit, or without a value, is refused.
func (r *reading) begin(rec *batch.Record, s *features.Source) {
	clear(r.fields)
	switch n := len(rec.Value); {
	case n == 0:
		r.reject(batch.ReasonMalformed, "the record has no value (a tombstone?): want %s", wantRecord(s.Format))
	case s.MaxRecordBytes > 0 && n > s.MaxRecordBytes:
		r.reject(batch.ReasonTooLarge, "the value has %d bytes, max_record_bytes is %d", n, s.MaxRecordBytes)
	}
}

func wantRecord(f features.Format) string {
	if f == features.CSV {
		return "a CSV row"
	}
	return "a JSON object"
}

// end settles the event time once all fields are read, and returns what [batch.Decoder] promises.
func (r *reading) end(rec *batch.Record, s *features.Source) (eventTime int64, reject batch.Reason, detail string) {
	switch {
	case r.reason != "":
	case s.Timestamp.Field == "":
		r.recordTime(rec.Time)
	case !r.timed:
		r.reject(batch.ReasonNoTime, "field %s: absent or null%s, and it is the event time", s.Timestamp.Field, placeOfTime(s))
	}
	return r.time, r.reason, r.detail
}

// recordTime takes the record's own timestamp for the event time.
func (r *reading) recordTime(us int64) {
	switch {
	case us <= 0:
		r.reject(batch.ReasonNoTime, "the record has no timestamp of its own, and the source names no timestamp field")
	case !inYears(us):
		r.reject(batch.ReasonAbsurd, "the record's timestamp, %d µs, is outside the years 1 to 9999", us)
	default:
		r.time, r.timed = us, true
	}
}
