package decode

import (
	"bufio"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"highwater/features"
	"highwater/windows"
)

// csvRows turns the rows of a CSV file into records of the source's format.
type csvRows struct {
	events *Events
	in     *csv.Reader
	header []string
	line   int // of the last row; 0 before the header
	put    func(dst []byte, row []string) []byte
	beside []int // by field of Events.apart: its column, or none
	row    []string
	texts  []windows.Value
}

// newCSVRows reads the header and checks it against the source.
func newCSVRows(e *Events, in *bufio.Reader) (*csvRows, error) {
	skipByteOrderMark(in)
	rows := &csvRows{events: e, in: csv.NewReader(in)}
	rows.in.FieldsPerRecord = -1 // a ragged row is reported here, with both counts
	header, err := rows.in.Read()
	if err == io.EOF {
		return nil, e.fault(1, "the file is empty; its first line must be a header that names the columns")
	}
	if err != nil {
		return nil, rows.wrap(err)
	}
	rows.header, rows.line = header, 1
	rows.in.ReuseRecord = true
	column, err := rows.columns()
	if err != nil {
		return nil, err
	}
	if err := rows.check(column); err != nil {
		return nil, err
	}
	if e.source.Format == features.CSV {
		rows.put = cellWriter(e.source, column)
	} else {
		rows.put = objectWriter(e.source, header)
	}
	for _, t := range e.apart {
		at, ok := column[t.name]
		if !ok {
			at = none
		}
		rows.beside = append(rows.beside, at)
	}
	rows.texts = make([]windows.Value, len(rows.beside))
	return rows, nil
}

// skipByteOrderMark passes over the mark that spreadsheets put before UTF-8. Errors come back with the next read.
func skipByteOrderMark(in *bufio.Reader) {
	const mark = "\uFEFF"
	if b, err := in.Peek(len(mark)); err == nil && string(b) == mark {
		_, _ = in.Discard(len(mark))
	}
}

// columns returns the header's names with their places; each is there once.
func (c *csvRows) columns() (map[string]int, error) {
	column := make(map[string]int, len(c.header))
	for i, name := range c.header {
		before, twice := column[name]
		switch {
		case name == "":
			return nil, c.events.fault(1, "column %d has no name; name every column in the header", i+1)
		case !utf8.ValidString(name):
			return nil, c.events.fault(1, "the name of column %d, %q, is not UTF-8; save the file as UTF-8", i+1, name)
		case twice:
			return nil, c.events.fault(1, "columns %d and %d are both named %q; rename one", before+1, i+1, name)
		}
		column[name] = i
	}
	return column, nil
}

// check refuses a header without what every event needs: the event time, the key, and at least one declared field.
func (c *csvRows) check(column map[string]int) error {
	s, e := c.events.source, c.events
	have := "the header has " + strings.Join(c.header, ", ")
	if _, ok := column[s.Timestamp.Field]; !ok && s.Timestamp.Field != "" {
		return e.fault(1, "no column %q, the timestamp field of source %s; %s: rename a column, or the field in the definitions", s.Timestamp.Field, s.Name, have)
	}
	if _, ok := column[s.Key]; !ok && s.Key != "" {
		return e.fault(1, "no column %q, the key of source %s; %s: rename a column, or the key in the definitions", s.Key, s.Name, have)
	}
	for _, f := range s.Fields {
		if _, ok := column[f.Name]; !ok {
			e.missing = append(e.missing, f.Name)
		}
	}
	if len(e.missing) == len(s.Fields) && len(s.Fields) > 0 {
		return e.fault(1, "no column for any field of source %s (%s); %s: is this the source's file?", s.Name, strings.Join(e.missing, ", "), have)
	}
	return nil
}

func (c *csvRows) next(dst []byte) ([]byte, error) {
	row, err := c.in.Read()
	if err == io.EOF {
		return nil, io.EOF
	}
	if err != nil {
		return nil, c.wrap(err)
	}
	c.line, _ = c.in.FieldPos(0)
	if len(row) != len(c.header) {
		return nil, c.events.fault(c.line, "the row has %d cells, the header %d; a cell that holds a comma, a quote or a line end needs quotes around it", len(row), len(c.header))
	}
	c.row = row
	return c.put(dst, row), nil
}

// apart returns the cells of their columns; an empty one is as good as none.
func (c *csvRows) apart([]byte) []windows.Value {
	clear(c.texts)
	for i, at := range c.beside {
		if at != none && c.row[at] != "" {
			c.texts[i] = windows.StringOf(c.row[at])
		}
	}
	return c.texts
}

// wrap says what a fault of the CSV itself means; others are the file's.
func (c *csvRows) wrap(err error) error {
	var fault *csv.ParseError
	if !errors.As(err, &fault) {
		return c.events.wrap(c.line+1, err)
	}
	if fault.Err != csv.ErrQuote && fault.Err != csv.ErrBareQuote {
		return c.events.wrap(fault.Line, fault.Err)
	}
	return c.events.fault(fault.Line, "column %d: a quote out of place; put quotes around the whole cell and double those inside", fault.Column)
}

// cellWriter writes a row as one of a csv source: the declared cells in order, empty where the file has no such column.
func cellWriter(s *features.Source, column map[string]int) func(dst []byte, row []string) []byte {
	var order []int
	for _, f := range s.Fields {
		if !f.InValue() {
			continue
		}
		at, ok := column[f.Name]
		if !ok {
			at = none
		}
		order = append(order, at)
	}
	return func(dst []byte, row []string) []byte {
		for i, at := range order {
			if i > 0 {
				dst = append(dst, ',')
			}
			if at != none {
				dst = appendCell(dst, row[at])
			}
		}
		if len(dst) == 0 {
			return append(dst, `""`...) // one empty cell: a record without any bytes would be a tombstone
		}
		return dst
	}
}

// appendCell appends a CSV cell, quoted where it must be.
func appendCell(dst []byte, cell string) []byte {
	if !strings.ContainsAny(cell, "\",\r\n") {
		return append(dst, cell...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(cell, `"`, `""`)...)
	return append(dst, '"')
}

// objectWriter writes a row as one of a json source: an object with the header's names, in their order, less those of fields that stand apart.
func objectWriter(s *features.Source, header []string) func(dst []byte, row []string) []byte {
	type columnForm struct {
		name string // quoted, with its colon
		form form
	}
	columns := make([]columnForm, len(header))
	byName := make(map[string]form)
	inValue, apart := targets(s)
	for _, t := range inValue {
		byName[t.name] = formOf(&t)
	}
	for _, t := range apart {
		byName[t.name] = leftOut
	}
	for i, name := range header {
		columns[i] = columnForm{name: string(appendQuoted(nil, name)) + ":", form: byName[name]}
	}
	return func(dst []byte, row []string) []byte {
		open := byte('{')
		for i, cell := range row {
			if cell == "" || columns[i].form == leftOut {
				continue
			}
			dst = append(dst, open)
			open = ','
			dst = append(dst, columns[i].name...)
			if columns[i].form.takes(cell) {
				dst = append(dst, cell...)
			} else {
				dst = appendQuoted(dst, cell)
			}
		}
		if open == '{' {
			dst = append(dst, open)
		}
		return append(dst, '}')
	}
}

// form says which cells stand in an object as they are, without quotes.
type form uint8

const (
	asString form = iota
	asInteger
	asDouble
	asBool
	leftOut // not in the object at all
)

func formOf(t *target) form {
	switch {
	case t.isTime && t.unit == features.RFC3339:
		return asString
	case t.kind == windows.Double:
		return asDouble
	case t.isTime, t.kind == windows.Int64, t.kind == windows.Timestamp:
		return asInteger
	case t.kind == windows.Bool:
		return asBool
	}
	return asString
}

// takes reports whether cell parses as the form's type.
func (f form) takes(cell string) bool {
	switch f {
	case asBool:
		return cell == "true" || cell == "false"
	case asInteger, asDouble:
		var n number
		if length, ok := scanNumber(cell, &n); !ok || length < len(cell) {
			return false
		}
		if f == asDouble {
			_, ok := n.double()
			return ok
		}
		_, fit := n.integer()
		return fit == fits
	}
	return false
}

// appendQuoted appends text as a JSON string. What is not UTF-8 goes through as it is: the decoder will say where it stands.
func appendQuoted(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for text != "" {
		plain := 0
		for plain = plainEnd(text, 0); plain < len(text) && text[plain] >= utf8.RuneSelf; {
			plain = plainEnd(text, plain+1)
		}
		dst = append(dst, text[:plain]...)
		if plain == len(text) {
			break
		}
		switch c := text[plain]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		text = text[plain+1:]
	}
	return append(dst, '"')
}
