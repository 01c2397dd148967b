package decode

import (
	"strings"
	"unicode/utf8"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// csvDecoder reads one CSV row a record: RFC 4180, the cells in the order of the declared fields. Safe for concurrent use.
type csvDecoder struct {
	source *features.Source
	cells  []target
	apart  []target
}

func newCSV(s *features.Source) *csvDecoder {
	cells, apart := targets(s)
	return &csvDecoder{source: s, cells: cells[:len(s.Fields)-len(apart)], apart: apart}
}

// Decode implements [batch.Decoder].
func (d *csvDecoder) Decode(rec *batch.Record, fields []windows.Value) (int64, batch.Reason, string) {
	r := d.read(rec, fields)
	return r.end(rec, d.source)
}

// read reads the whole record, but for what it says of the event time where there is none.
func (d *csvDecoder) read(rec *batch.Record, fields []windows.Value) reading {
	r := reading{fields: fields[:len(d.source.Fields)]}
	if r.begin(rec, d.source); r.reason == "" {
		d.row(&r, view(rec.Value))
	}
	r.apart(rec, d.apart)
	return r
}

// row reads one row, which may end in one line end.
func (d *csvDecoder) row(r *reading, text string) {
	if !utf8.ValidString(text) {
		at := placeOfBadUTF8(text)
		r.reject(batch.ReasonMalformed, "bad UTF-8: 0x%02X at byte %d", text[at], at)
		return
	}
	text = trimLineEnd(text)
	cells, more := 0, true
	for i := 0; more; cells++ {
		at := i
		var cell string
		var ok bool
		if cell, i, ok = nextCell(text, i); !ok {
			r.reject(batch.ReasonMalformed, "cell %d: %s at byte %d", cells+1, cellFault(text, i), i)
			return
		}
		more = i < len(text)
		i++ // over the comma
		if cells < len(d.cells) && cell != "" {
			r.setCell(&d.cells[cells], cell, at)
		}
	}
	if cells != len(d.cells) {
		r.reject(batch.ReasonMalformed, "the row has %d cells, the source declares %d fields", cells, len(d.cells))
	}
}

// trimLineEnd returns line without the LF or CR LF that ends it.
func trimLineEnd(line string) string {
	if short, cut := strings.CutSuffix(line, "\n"); cut {
		return strings.TrimSuffix(short, "\r")
	}
	return line
}

// nextCell reads the cell at i, and returns the place of the comma after it, or the row's end. Where the cell is not well-formed, ok is false and next is
// the place of the fault. A cell shares the row's bytes, unless it holds doubled quotes.
func nextCell(text string, i int) (cell string, next int, ok bool) {
	if i == len(text) || text[i] != '"' {
		start := i
		for ; i < len(text) && text[i] != ','; i++ {
			if c := text[i]; c == '"' || c == '\n' || c == '\r' {
				return "", i, false
			}
		}
		return text[start:i], i, true
	}
	i++
	start, doubled := i, false
	for {
		quote := strings.IndexByte(text[i:], '"')
		if quote < 0 {
			return "", len(text), false
		}
		i += quote
		if i+1 == len(text) || text[i+1] != '"' {
			break
		}
		doubled = true
		i += 2
	}
	if cell = text[start:i]; doubled {
		cell = strings.ReplaceAll(cell, `""`, `"`)
	}
	if i++; i < len(text) && text[i] != ',' {
		return "", i, false
	}
	return cell, i, true
}

// cellFault says what is wrong at the place where nextCell gave up.
func cellFault(text string, i int) string {
	if i == len(text) {
		return "a quoted cell has no closing quote"
	}
	switch text[i] {
	case '"':
		return "a quote inside a cell that is not quoted"
	case '\n', '\r':
		return "a line end outside quotes, where one record is one row"
	}
	return "want ',' after a quoted cell, have " + excerpt(text[i:i+1])
}

// setCell fills t from a cell that is not empty, or from a key or a header: its text is read as t's type.
func (r *reading) setCell(t *target, cell string, at int) {
	switch {
	case t.isTime && t.unit == features.RFC3339, !t.isTime && (t.kind == windows.String || t.kind == anyText):
		r.setText(t, cell, at)
	case t.kind == windows.Bool && (cell == "true" || cell == "false"):
		r.setBool(t, cell == "true", at)
	default:
		r.setParsed(t, cell, at)
	}
}

// setParsed fills t from a cell that should be a number, or a timestamp in either form.
func (r *reading) setParsed(t *target, cell string, at int) {
	var n number
	length, ok := scanNumber(cell, &n)
	switch {
	case ok && length == len(cell) && t.kind == windows.String: // the event time, declared as a string too
		r.timeFromNumber(t, &n, at)
		r.fields[t.field] = windows.StringOf(cell)
	case ok && length == len(cell):
		r.setNumber(t, &n, at)
	case t.kind == windows.Timestamp && !t.isTime:
		r.setTimestampText(t, cell, at)
	case t.isTime:
		r.mismatchTime(t, excerpt(cell), at)
	default:
		r.mismatch(t, excerpt(cell), at)
	}
}
