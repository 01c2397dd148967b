package decode

import (
	"strconv"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// lookup finds the key and the event time of a record, by reading it as a task would.
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
		own.Fields = append(append([]features.Field(nil), s.Fields...), features.Field{Name: s.Key, Kind: anyScalar})
	}
	l.fields = make([]windows.Value, len(own.Fields))
	if own.Format == features.CSV {
		l.read = newCSV(&own).read
	} else {
		l.read = newJSON(&own).read
	}
	return l
}

// of returns the key and the event time of a record, each as far as there is one. A record that is no event, for a field of the wrong type, say, can still
// have both; one that is malformed has neither. The key is lent until the next call.
func (l *lookup) of(value []byte) (key []byte, eventTime int64) {
	l.record.Value = value
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
	switch {
	case len(b) == 0:
		return nil
	case len(b) > chunkBytes/8:
		return append([]byte(nil), b...)
	case len(b) > len(a.free):
		a.free = make([]byte, chunkBytes)
	}
	out := a.free[:len(b):len(b)]
	a.free = a.free[len(b):]
	copy(out, b)
	return out
}
