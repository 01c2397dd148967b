package decode

import (
	"bufio"
	"errors"
	"io"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// maxLineBytes bounds a line of an event file: beyond it the file is hardly what its name says.
const maxLineBytes = 64 << 20

// lineRows yields the lines of a JSON lines file as they stand, without their line ends; empty lines are passed over.
// A line that is no event is a record all the same: the task that reads it will say what is wrong, in a dead letter.
type lineRows struct {
	events *Events
	in     *bufio.Reader
	line   int
	beside *jsonDecoder    // takes the texts of the fields that are read from the key and headers; nil without any
	texts  []windows.Value // the last ones
}

func newLineRows(e *Events, in *bufio.Reader) (*lineRows, error) {
	if e.source.Format == features.CSV {
		return nil, e.fault(1, "JSON lines, but source %s has format csv; give it a .csv file", e.source.Name)
	}
	l := &lineRows{events: e, in: in}
	if len(e.apart) > 0 {
		texts := &features.Source{}
		for _, t := range e.apart {
			texts.Fields = append(texts.Fields, features.Field{Name: t.name, Kind: anyText})
		}
		l.beside, l.texts = newJSON(texts), make([]windows.Value, len(texts.Fields))
	}
	return l, nil
}

// apart reads them from the line, which keeps them: there nobody looks for them.
func (l *lineRows) apart(value []byte) []windows.Value {
	if r := l.beside.read(&batch.Record{Value: value}, l.texts); r.reason != "" {
		clear(l.texts)
	}
	return l.texts
}

func (l *lineRows) next(dst []byte) ([]byte, error) {
	for {
		l.line++
		line, err := l.read(dst)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if short := trimLineEnd(view(line)); short != "" {
			return line[:len(short)], nil
		}
		if err == io.EOF {
			return nil, io.EOF
		}
		dst = line[:0]
	}
}

// read appends one line to dst, its end included. The last line may come with io.EOF.
func (l *lineRows) read(dst []byte) ([]byte, error) {
	for {
		part, err := l.in.ReadSlice('\n')
		dst = append(dst, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(dst) > maxLineBytes:
			return nil, l.events.fault(l.line, "a line longer than %d MiB; JSON lines are one object a line", maxLineBytes>>20)
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil || err == io.EOF:
			return dst, err
		default:
			return nil, l.events.wrap(l.line, err)
		}
	}
}
