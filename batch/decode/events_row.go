package decode

import (
	"strconv"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// lookup finds the key and the event time of an event, by reading it as a task would.
type lookup struct {
	read   func(*batch.Record, []windows.Value) reading
	record batch.Record
	fields []windows.Value
	key    int    // the key's index among fields; none without one
	text   []byte // the last key
}

func newLookup(s *features.Source) lookup {
	own := *s
	own.MaxRecordBytes = 0 // what is too large is still loaded, with its key
	l := lookup{key: none}
	for i, f := range s.Fields {
		if s.Key != "" && f.Name == s.Key {
			l.key = i
		}
	}
	if s.Key != "" && l.key == none && s.Format != features.CSV {
		l.key = len(s.Fields)
		own.Fields = append(append([]features.Field(nil), s.Fields...), features.Field{Name: s.Key, Kind: anyText})
	}
	l.fields = make([]windows.Value, len(own.Fields))
	if own.Format == features.CSV {
		l.read = newCSV(&own).read
	} else {
		l.read = newJSON(&own).read
	}
	return l
}

// of returns the key and the event time of a row, each as far as there is one. A row that is no event, for a field of the wrong type, say, can still
// have both; one that is malformed has neither. The key is lent until the next call.
func (l *lookup) of(row *EventRow) (key []byte, eventTime int64) {
	l.record.Key, l.record.Value, l.record.Headers = row.Key, row.Value, row.Headers
	r := l.read(&l.record, l.fields)
	if gravity(r.reason) > gravity(batch.ReasonType) {
		return nil, 0
	}
	if l.key != none {
		l.text = appendText(l.text[:0], l.fields[l.key])
	}
	return l.text, r.time
}

// appendText appends v's text to dst: nothing for null.
func appendText(dst []byte, v windows.Value) []byte {
	switch v.Kind() {
	case windows.String:
		return append(dst, v.Str()...)
	case windows.Int64, windows.Timestamp:
		return strconv.AppendInt(dst, v.Int(), 10)
	case windows.Double:
		return strconv.AppendFloat(dst, v.Double(), 'g', -1, 64)
	case windows.Bool:
		return strconv.AppendBool(dst, v.Bool())
	}
	return dst
}

// arena hands out copies of bytes from large chunks, for the garbage collector's sake. A chunk lives as long as anything in it does.
type arena struct{ free []byte }

const chunkBytes = 1 << 16

// clone copies b; nil where it is empty.
func (a *arena) clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return a.text(view(b))
}

// text copies s; it is not nil where s is empty.
func (a *arena) text(s string) []byte {
	switch {
	case len(s) > chunkBytes/8:
		return []byte(s)
	case len(s) > len(a.free) || a.free == nil:
		a.free = make([]byte, chunkBytes)
	}
	out := a.free[:len(s):len(s)]
	a.free = a.free[len(s):]
	copy(out, s)
	return out
}
