package decode

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// EventRow is one event of an event file, ready to be produced. Its bytes are its own: they stay as they are for as long as anybody keeps them.
type EventRow struct {
	Key     []byte         // the text of the source's key field; nil where there is none, or the source names none
	Value   []byte         // the record's value, in the source's format
	Headers []batch.Header // one a declared field that is read from a header, where the event has it
	Time    int64          // µs: the event time; 0 where it cannot be read
}

// Events reads an event file in file order: CSV with a header, or JSON lines, gzip'd or not. One goroutine reads; Progress and Close may be called from any.
type Events struct {
	name    string
	source  *features.Source
	file    io.Closer // nil for a reader that the caller owns
	counted *countingReader
	total   int64
	rows    rowReader
	apart   []target // the fields that make the rows' keys and headers
	lookup  lookup
	arena   arena
	missing []string
}

// rowReader yields the records of one form of file.
type rowReader interface {
	// next appends the next record's value to dst, and returns io.EOF after the last. Any other error names its line.
	next(dst []byte) ([]byte, error)
	// apart returns the texts of the fields in Events.apart, in that order, of the event whose value next returned; null where it has none.
	// They are lent until value changes or the next call.
	apart(value []byte) []windows.Value
}

// OpenEvents opens the event file at path, whose name ends in .csv or .jsonl, or in either with .gz behind it, and reads its header. The caller closes it.
// Errors name the file, the line, what is wrong and what to do.
func OpenEvents(path string, s *features.Source) (*Events, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file; give the path of a .csv or .jsonl file, gzip'd or not", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open events: %w", err)
	}
	e, err := NewEvents(path, f, s)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	e.file = f
	return e, nil
}

// NewEvents reads events from r, whose form is told by name as [OpenEvents] tells it by the path. Where r knows its size (an fs.File, a bytes.Reader),
// Progress has a total.
func NewEvents(name string, r io.Reader, s *features.Source) (*Events, error) {
	e := &Events{name: name, source: s, counted: &countingReader{r: r}, total: sizeOf(r), lookup: newLookup(s)}
	_, e.apart = targets(s)
	plain, zipped := strings.CutSuffix(name, ".gz")
	in := bufio.NewReaderSize(e.counted, 1<<16)
	magic, err := in.Peek(2)
	isGzip := string(magic) == "\x1f\x8b"
	switch {
	case err != nil && err != io.EOF:
		return nil, e.wrap(1, err)
	case zipped && !isGzip:
		return nil, e.wrap(1, gzip.ErrHeader)
	case !zipped && isGzip:
		return nil, e.fault(1, "gzip by its first bytes; let its name end in .gz")
	case zipped:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, e.wrap(1, err)
		}
		in = bufio.NewReaderSize(z, 1<<16)
	}
	switch filepath.Ext(plain) {
	case ".csv":
		e.rows, err = newCSVRows(e, in)
	case ".jsonl":
		e.rows, err = newLineRows(e, in)
	default:
		err = fmt.Errorf("%s: neither CSV nor JSON lines by its name; give a file that ends in .csv, .jsonl, .csv.gz or .jsonl.gz", name)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Rows yields the events that have not been read yet, in file order. An error is the last pair.
func (e *Events) Rows() iter.Seq2[EventRow, error] {
	return func(yield func(EventRow, error) bool) {
		var scratch []byte
		for {
			record, err := e.rows.next(scratch[:0])
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(EventRow{}, err)
				return
			}
			scratch = record
			if !yield(e.row(e.arena.clone(record)), nil) {
				return
			}
		}
	}
}

// row makes an event of a value that is its own to keep.
func (e *Events) row(value []byte) EventRow {
	row := EventRow{Value: value}
	if len(e.apart) > 0 {
		e.setApart(&row)
	}
	key, eventTime := e.lookup.of(&row)
	if row.Time = eventTime; row.Key == nil {
		row.Key = e.arena.clone(key)
	}
	return row
}

// setApart gives row the key and the headers that stand beside its value in the file.
func (e *Events) setApart(row *EventRow) {
	for i, v := range e.rows.apart(row.Value) {
		if v.IsNull() {
			continue
		}
		text := e.arena.text(v.Str())
		if t := &e.apart[i]; t.from == features.FromKey {
			row.Key = text
		} else {
			row.Headers = append(row.Headers, batch.Header{Key: t.header, Value: text})
		}
	}
}

// Progress returns how many bytes have been read, as they stand in the file (compressed ones, where it is), and how many there are; total is 0 where that is
// not known.
func (e *Events) Progress() (read, total int64) { return e.counted.n.Load(), e.total }

// Missing returns the declared fields that a CSV file's header lacks: they will be null in every event. Worth a warning.
func (e *Events) Missing() []string { return e.missing }

// Close closes the file that OpenEvents opened.
func (e *Events) Close() error {
	if e.file == nil {
		return nil
	}
	return e.file.Close()
}

// wrap says what an error of the reader underneath means for the people who gave the file, at a line.
func (e *Events) wrap(line int, err error) error {
	switch {
	case errors.Is(err, gzip.ErrHeader):
		return fmt.Errorf("%s:%d: not gzip, or followed by what is not gzip, though the name ends in .gz; compress it, or rename it", e.name, line)
	case errors.Is(err, gzip.ErrChecksum), errors.As(err, new(flate.CorruptInputError)):
		return fmt.Errorf("%s:%d: the gzip data is damaged; copy the file again: %w", e.name, line, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s:%d: the gzip data is cut short; copy the file again, whole: %w", e.name, line, err)
	}
	return fmt.Errorf("%s:%d: read events: %w", e.name, line, err)
}

// fault is an error in the file itself.
func (e *Events) fault(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", e.name, line, fmt.Sprintf(format, args...))
}

// countingReader counts what is read of r.
type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// sizeOf returns the size of what r reads, 0 where r does not know.
func sizeOf(r io.Reader) int64 {
	switch r := r.(type) {
	case fs.File:
		if info, err := r.Stat(); err == nil && info.Mode().IsRegular() {
			return info.Size()
		}
	case interface{ Size() int64 }:
		return r.Size()
	}
	return 0
}
