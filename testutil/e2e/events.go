package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"testing"

	"highwater/features"
	"highwater/windows"
)

// Event is one row of an events file.
type Event struct {
	Key    string          // the source's key; "" where it has none
	Time   int64           // µs
	Fields []windows.Value // as the source declares them
}

// Events reads a gzip'd CSV file with a header by the source's declared types, with the standard library alone. The test fails where a cell does not parse.
func Events(tb testing.TB, gz []byte, s *features.Source) []Event {
	tb.Helper()
	z, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		tb.Fatalf("unzip the events: %v", err)
	}
	rows := csv.NewReader(z)
	header, err := rows.Read()
	if err != nil {
		tb.Fatalf("read the events' header: %v", err)
	}
	cell := func(row []string, name string) string {
		if i := slices.Index(header, name); i >= 0 {
			return row[i]
		}
		return ""
	}
	var events []Event
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return events
		}
		if err != nil {
			tb.Fatalf("read the events: %v", err)
		}
		e := Event{Key: cell(row, s.Key), Time: eventTime(tb, cell(row, s.Timestamp.Field), s.Timestamp.Unit)}
		for _, f := range s.Fields {
			e.Fields = append(e.Fields, value(tb, cell(row, f.Name), f.Kind))
		}
		events = append(events, e)
	}
}

// eventTime reads a time of a unit, in µs.
func eventTime(tb testing.TB, text string, unit features.Unit) int64 {
	tb.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		tb.Fatalf("read an event's time: %v", err)
	}
	switch unit {
	case features.Seconds:
		return n * 1_000_000
	case features.Milliseconds:
		return n * 1_000
	}
	tb.Fatalf("e2e does not read times in %s", unit)
	return 0
}

// value reads a cell by its declared type; an empty one is null.
func value(tb testing.TB, text string, kind windows.Kind) windows.Value {
	tb.Helper()
	if text == "" {
		return windows.Value{}
	}
	var v windows.Value
	var err error
	switch kind {
	case windows.String:
		return windows.StringOf(text)
	case windows.Int64:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		v = windows.IntOf(n)
	case windows.Double:
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		v = windows.DoubleOf(f)
	case windows.Bool:
		var b bool
		b, err = strconv.ParseBool(text)
		v = windows.BoolOf(b)
	default:
		tb.Fatalf("e2e does not read cells of type %s", kind)
	}
	if err != nil {
		tb.Fatalf("read a cell of type %s: %v", kind, err)
	}
	return v
}

// Partition returns the partition that Kafka's own Java clients choose for a key: murmur2 of its bytes, with the sign bit cleared, modulo the number of partitions.
func Partition(key string, partitions int) int {
	return int(murmur2([]byte(key))&0x7fffffff) % partitions
}

// murmur2 is Austin Appleby's 32-bit MurmurHash2 with the seed that Kafka uses.
func murmur2(data []byte) uint32 {
	const seed, m, r = 0x9747b28c, 0x5bd1e995, 24
	h := seed ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	for i := len(data) - 1; i >= 0; i-- {
		h ^= uint32(data[i]) << (8 * i)
		if i == 0 {
			h *= m
		}
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
