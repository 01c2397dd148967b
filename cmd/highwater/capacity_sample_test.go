package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/batch/kafka"
	"highwater/features"
	"highwater/windows"
)

// timed is a source of users and texts whose event time is in ts.
func timed(format features.Format, unit features.Unit) *features.Source {
	kind := windows.Int64
	if unit == features.RFC3339 {
		kind = windows.String
	}
	s := &features.Source{Name: "clicks", Format: format, Timestamp: features.Timestamp{Field: "ts", Unit: unit}, Key: "user", MaxRecordBytes: 1 << 20,
		Fields: []features.Field{{Name: "user", Kind: windows.String}, {Name: "ts", Kind: kind}, {Name: "text", Kind: windows.String}}}
	return s
}

// repeated reads the first n events of the repetition.
func repeated(s *sourceSample, n, span int64) []kafka.Row {
	var rows []kafka.Row
	for row := range s.first(n, span) {
		rows = append(rows, row)
	}
	return rows
}

// TestSample_Repeats: every event comes back, in order, later by the sample's span, whatever the format of its record and the unit of its time; and the record says so.
func TestSample_Repeats(t *testing.T) {
	for _, format := range []features.Format{features.JSON, features.CSV} {
		for unit, times := range map[features.Unit][2]string{
			features.Seconds: {"1700000000", "1700000007"}, features.Milliseconds: {"1700000000123", "1700000007005"}, features.Microseconds: {"1700000000123456", "1700000007000001"},
			features.Nanoseconds: {"1700000000123456000", "1700000007000001000"}, features.RFC3339: {"2023-11-14T22:13:20.123Z", "2023-11-14T23:13:27.1+01:00"},
		} {
			t.Run(fmt.Sprint(format, " ", unit), func(t *testing.T) {
				source := timed(format, unit)
				file := fmt.Sprintf("text,ts,user\n\"a, \"\"quoted\"\" one\",%s,ann\n,%s,bob\n", times[0], times[1])
				part := sampleOf(t, source, file)
				const span = int64(14 * time.Second / time.Microsecond)
				s := &sample{sources: []*sourceSample{part}}
				if have := s.period(); have != span {
					t.Fatalf("the sample repeats every %d µs, want %d", have, span)
				}
				rows := repeated(part, 5, span)
				if len(rows) != 5 {
					t.Fatalf("%d rows", len(rows))
				}
				d, fields := decode.New(source), make([]windows.Value, 3)
				for i, row := range rows {
					first := part.rows[i%2]
					at, reason, detail := d.Decode(&batch.Record{Value: row.Value}, fields)
					if want := first.time + int64(i/2)*span; reason != "" || at != want || row.Time != want {
						t.Errorf("row %d, %s: %s %s; its time is %d, the record's %d, want %d", i, row.Value, reason, detail, at, row.Time, want)
					}
					user, text := []string{"ann", "bob"}[i%2], []string{`a, "quoted" one`, ""}[i%2]
					if string(row.Key) != user || fields[0].Str() != user || fields[2].Str() != text {
						t.Errorf("row %d is %q %s", i, row.Key, row.Value)
					}
				}
			})
		}
	}
}

// sampleOf reads an events file of one source.
func sampleOf(t *testing.T, source *features.Source, file string) *sourceSample {
	t.Helper()
	e, err := decode.NewEvents("events.csv", strings.NewReader(file), source)
	if err != nil {
		t.Fatal(err)
	}
	part, err := (&sample{}).read(source, e, 1)
	if err != nil {
		t.Fatal(err)
	}
	return part
}

// TestSample_LinesAreCutWhereTheirTimeStands: JSON as people write it, and what is no event at all.
func TestSample_LinesAreCutWhereTheirTimeStands(t *testing.T) {
	source := timed(features.JSON, features.Milliseconds)
	for line, want := range map[string]string{
		`{"ts":1000,"user":"a"}`:                            `{"ts":6000,"user":"a"}`,
		`{ "user" : "a" , "ts" : 1000 , "text":"ts"}`:       `{ "user" : "a" , "ts" : 6000 , "text":"ts"}`,
		"{\"x\":{\"ts\":1,\"y\":[{}]},\"\\u0074s\":\t1000}": "{\"x\":{\"ts\":1,\"y\":[{}]},\"\\u0074s\":\t6000}",
		`{"user":"1000","ts":1000}`:                         `{"user":"1000","ts":6000}`,
		`{"user":"a"}`:                                      `{"user":"a"}`,
		`{"ts":null}`:                                       `{"ts":null}`,
		`{"ts":"soon"}`:                                     `{"ts":"soon"}`,
		`not JSON`:                                          `not JSON`,
		`{"ts":1000`:                                        `{"ts":1000`,
	} {
		e, err := decode.NewEvents("e.jsonl", strings.NewReader(line), source)
		if err != nil {
			t.Fatal(err)
		}
		part, err := (&sample{}).read(source, e, 1)
		if err != nil {
			t.Fatal(err)
		}
		if have := string(repeated(part, 2, 5_000_000)[1].Value); have != want {
			t.Errorf("%s became %s, want %s", line, have, want)
		}
	}
}

// TestSample_OfTheRecordsOwnTime: a file cannot hold it, so the events are spread evenly, and their values are left alone.
func TestSample_OfTheRecordsOwnTime(t *testing.T) {
	source := timed(features.JSON, features.Milliseconds)
	source.Timestamp = features.Timestamp{}
	part := sampleOf(t, source, "user\na\nb\nc\nd\n")
	part.spread(2)
	s := &sample{sources: []*sourceSample{part}}
	rows := repeated(part, 8, s.period())
	for i, row := range rows {
		if want := rows[0].Time + int64(i)*500_000; row.Time != want || strings.Contains(string(row.Value), "ts") {
			t.Errorf("row %d: %s at %d, want %d", i, row.Value, row.Time, want)
		}
	}
}

// TestSample_TooFew is about what cannot be measured with.
func TestSample_TooFew(t *testing.T) {
	source := timed(features.JSON, features.Seconds)
	p := &features.Project{Sources: []*features.Source{source}}
	if _, err := readSample(p, nil, 1); err == nil || !strings.Contains(err.Error(), "source clicks has no events: give --events clicks=FILE") {
		t.Errorf("no events: %v", err)
	}
	e, err := decode.NewEvents("e.csv", strings.NewReader("ts,user\n1700000000,a\n"), source)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readSample(p, map[*features.Source]*decode.Events{source: e}, 1); err == nil || !strings.Contains(err.Error(), "1 events are too few to measure with: give 1000 or more") {
		t.Errorf("one event: %v", err)
	}
}

// TestMeasure_Rounds: the first batch is start-up and counts nowhere; a last one that was not full neither; the others each count once.
func TestMeasure_Rounds(t *testing.T) {
	start := time.Now()
	var ends []batchEnd
	offsets, at := int64(0), time.Duration(0)
	for _, took := range []time.Duration{9, 1, 1, 2, 2, 1, 1, 1, 1, 4, 4} { // seconds
		offsets, at = offsets+100, at+took*time.Second
		ends = append(ends, batchEnd{Stats: batch.Stats{Trigger: "size", Finished: start.Add(at)}, offsets: offsets})
	}
	ends = append(ends, batchEnd{Stats: batch.Stats{Trigger: "drain", Finished: start.Add(at + time.Hour)}, offsets: offsets + 1})
	var r measurement
	r.rounds(steady(ends))
	if want := []int64{100, 50, 100, 100, 25}; !slices.Equal(r.Rounds, want) || r.Speed != 100 || r.Slowest != 25 || r.Fastest != 100 {
		t.Errorf("rounds %d: slowest %d, median %d, fastest %d; want %d", r.Rounds, r.Slowest, r.Speed, r.Fastest, want)
	}
	if have := speedOf(steady(ends)); have != 1000.0/18 {
		t.Errorf("all of it: %f events/s", have)
	}
	var short measurement
	short.rounds(steady(ends[:3]))
	if want := []int64{100, 100}; !slices.Equal(short.Rounds, want) {
		t.Errorf("two batches make the rounds %d", short.Rounds)
	}
}
