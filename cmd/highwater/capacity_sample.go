package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"highwater/batch/decode"
	"highwater/batch/kafka"
	"highwater/features"
)

// The sample is kept in memory: that much of a file is enough, however long it is.
const (
	mostSampleEvents = 1_000_000
	mostSampleBytes  = 256 << 20
	leastSample      = 1000 // events: fewer say nothing of how many entities a batch changes
)

// sample is the events that a measurement repeats: all of them, over and over, each time later by the stretch of time that they cover, so that time goes on and windows slide as they would.
type sample struct {
	sources   []*sourceSample
	events    int64
	bytes     int64 // of keys and values
	span      int64 // µs, whole seconds: what a repetition is later by
	truncated bool  // the files hold more
}

// sourceSample is the part of one source.
type sourceSample struct {
	source *features.Source
	rows   []sampleRow
}

// sampleRow is an event, cut open where its time stands.
type sampleRow struct {
	key, before, after []byte
	time               int64 // µs; 0 where there is none to be read
	inside             bool  // the time stands between before and after; else before is all
}

// readSample reads the files, as much of each as fits. pace is how many events a second there are where a file cannot say: its source has the record's own time.
func readSample(p *features.Project, events map[*features.Source]*decode.Events, pace int64) (*sample, error) {
	s := &sample{}
	for _, source := range p.Sources {
		e := events[source]
		if e == nil {
			return nil, usagef("source %s has no events: give --events %s=FILE, for its views are part of what a worker does", source.Name, source.Name)
		}
		part, err := s.read(source, e, len(p.Sources))
		if err != nil {
			return nil, err
		}
		if source.Timestamp.Field == "" {
			part.spread(pace)
		}
	}
	if s.events < leastSample {
		return nil, usagef("--events: %d events are too few to measure with: give %d or more, best as many as a batch holds", s.events, leastSample)
	}
	s.span = s.period()
	return s, nil
}

// read adds the events of one of so many sources.
func (s *sample) read(source *features.Source, e *decode.Events, sources int) (*sourceSample, error) {
	part, left := &sourceSample{source: source}, int64(mostSampleBytes/sources)
	s.sources = append(s.sources, part)
	for row, err := range e.Rows() {
		if err != nil {
			return nil, err
		}
		size := int64(len(row.Key) + len(row.Value))
		if len(part.rows) == mostSampleEvents/sources || size > left {
			s.truncated = true
			break
		}
		part.rows = append(part.rows, newSampleRow(source, row))
		left, s.bytes, s.events = left-size, s.bytes+size, s.events+1
	}
	return part, nil
}

// newSampleRow cuts an event open where its time stands. An event whose time cannot be found stays as it is, the dead letter that it will be.
func newSampleRow(source *features.Source, row decode.EventRow) sampleRow {
	r := sampleRow{key: row.Key, before: row.Value, time: row.Time}
	if source.Timestamp.Field == "" || row.Time == 0 {
		return r
	}
	cut := cutJSON
	if source.Format == features.CSV {
		cut = cutCSV
	}
	if before, after, ok := cut(source, row.Value); ok {
		r.before, r.after, r.inside = before, after, true
	}
	return r
}

// cutJSON returns what stands before and after the event time in an object.
func cutJSON(source *features.Source, value []byte) (before, after []byte, ok bool) {
	d := json.NewDecoder(bytes.NewReader(value))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, nil, false
		}
		colon := d.InputOffset()
		var text json.RawMessage
		if err := d.Decode(&text); err != nil {
			return nil, nil, false
		}
		if name == source.Timestamp.Field {
			start := int(colon) + bytes.Index(value[colon:d.InputOffset()], text)
			return value[:start], value[start+len(text):], true
		}
	}
	return nil, nil, false
}

// cutCSV returns what stands before and after the event time in a row of the source's declared cells.
func cutCSV(source *features.Source, value []byte) (before, after []byte, ok bool) {
	at := slices.IndexFunc(source.Fields, func(f features.Field) bool { return f.Name == source.Timestamp.Field })
	cells, err := csv.NewReader(bytes.NewReader(value)).Read()
	if err != nil || at < 0 || at >= len(cells) {
		return nil, nil, false
	}
	const here = "\x00" // stands in for the time, so that the writer need not know of it; a row that holds one already is left alone
	if bytes.Contains(value, []byte(here)) {
		return nil, nil, false
	}
	cells[at] = here
	var row bytes.Buffer
	w := csv.NewWriter(&row)
	_ = w.Write(cells) // into memory
	w.Flush()
	return bytes.Cut(bytes.TrimSuffix(row.Bytes(), []byte("\n")), []byte(here))
}

// spread gives events the times that a file cannot: evenly, from now on.
func (s *sourceSample) spread(pace int64) {
	start := time.Now().Truncate(time.Second).UnixMicro()
	for i := range s.rows {
		s.rows[i].time = start + int64(i)*1_000_000/pace
	}
}

// period is the stretch of time that the events cover, up to where the next event after them would be, in whole seconds: so it moves a time by as much whatever its unit.
func (s *sample) period() int64 {
	var first, last, n int64
	for _, part := range s.sources {
		for _, r := range part.rows {
			if r.time == 0 {
				continue
			}
			if n == 0 {
				first, last = r.time, r.time
			}
			first, last, n = min(first, r.time), max(last, r.time), n+1
		}
	}
	const second = int64(time.Second / time.Microsecond)
	gap := (last - first) / max(1, n-1)
	return max(1, (last-first+gap+second-1)/second) * second
}

// first yields the first n events of the endless repetition.
func (s *sourceSample) first(n, span int64) iter.Seq2[kafka.Row, error] {
	return func(yield func(kafka.Row, error) bool) {
		for i := range n {
			lap, at := i/int64(len(s.rows)), i%int64(len(s.rows))
			if !yield(s.later(&s.rows[at], lap*span), nil) {
				return
			}
		}
	}
}

// later returns an event moved forward by that many µs.
func (s *sourceSample) later(r *sampleRow, by int64) kafka.Row {
	row := kafka.Row{Key: r.key, Value: r.before}
	if r.time == 0 {
		return row
	}
	row.Time = r.time + by
	if r.inside {
		const longest = len(`"2006-01-02T15:04:05.999999Z"`)
		value := append(make([]byte, 0, len(r.before)+longest+len(r.after)), r.before...)
		row.Value = append(appendTime(value, row.Time, s.source), r.after...)
	}
	return row
}

// appendTime writes a time as the source's field has it.
func appendTime(dst []byte, us int64, s *features.Source) []byte {
	switch s.Timestamp.Unit {
	case features.Seconds:
		return strconv.AppendInt(dst, us/1_000_000, 10)
	case features.Milliseconds:
		return strconv.AppendInt(dst, us/1000, 10)
	case features.Microseconds:
		return strconv.AppendInt(dst, us, 10)
	case features.Nanoseconds:
		return strconv.AppendInt(dst, us*1000, 10)
	}
	layout := "2006-01-02T15:04:05.999999Z07:00"
	if s.Format == features.JSON {
		layout = `"` + layout + `"`
	}
	return time.UnixMicro(us).UTC().AppendFormat(dst, layout)
}

// names lists the sources, for people.
func (s *sample) names() string {
	names := make([]string, 0, len(s.sources))
	for _, part := range s.sources {
		names = append(names, fmt.Sprintf("%s (%s)", part.source.Name, grouped(int64(len(part.rows)))))
	}
	return strings.Join(names, ", ")
}
