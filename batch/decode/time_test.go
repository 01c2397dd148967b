package decode_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/features"
	"highwater/windows"
)

func TestEventTime(t *testing.T) {
	at := func(unit features.Unit) *features.Source {
		return &features.Source{Format: features.JSON, Timestamp: features.Timestamp{Field: "ts", Unit: unit}}
	}
	asTimestamp := at(features.Seconds)
	asTimestamp.Fields = []features.Field{{Name: "ts", Kind: windows.Timestamp}}
	const us = 1_700_000_000_123_456
	for _, c := range []struct {
		source *features.Source
		record string
		want   int64
		reason batch.Reason
		detail string
	}{
		{at(features.Seconds), `{"ts":1700000000}`, 1_700_000_000_000_000, "", ""},
		{at(features.Milliseconds), `{"ts":1700000000123}`, 1_700_000_000_123_000, "", ""},
		{at(features.Milliseconds), `{"ts":1.6e12}`, 1_600_000_000_000_000, "", ""},
		{at(features.Microseconds), `{"ts":1700000000123456}`, us, "", ""},
		{at(features.Nanoseconds), `{"ts":1700000000123456999}`, us, "", ""},
		{at(features.Nanoseconds), `{"ts":-1}`, -1, "", ""}, // rounded down, also before 1970
		{at(features.RFC3339), `{"ts":"2023-11-14T22:13:20.123456999Z"}`, us, "", ""},
		{at(features.RFC3339), `{"ts":"2023-11-15t03:43:20.123456+05:30"}`, us, "", ""},
		{at(features.Seconds), `{"ts":-62135596800}`, firstTime, "", ""},
		{asTimestamp, `{"ts":1700000000}`, 1_700_000_000_000_000, "", ""},

		{at(features.Seconds), `{}`, 0, batch.ReasonNoTime, "field ts: absent or null"},
		{at(features.Seconds), `{"ts":null}`, 0, batch.ReasonNoTime, "field ts: absent or null"},
		{at(features.RFC3339), `{"ts":"yesterday"}`, 0, batch.ReasonNoTime, `the event time "yesterday" at byte 6 is not RFC 3339`},
		{at(features.RFC3339), `{"ts":"2016-12-31T23:59:60Z"}`, 0, batch.ReasonNoTime, "is not RFC 3339"}, // a leap second
		{at(features.Milliseconds), `{"ts":"1700000000123"}`, 0, batch.ReasonType, "field ts: want the event time, an integer of milliseconds, have a string at byte 6"},
		{at(features.RFC3339), `{"ts":1700000000123}`, 0, batch.ReasonType, "want the event time, an RFC 3339 string, have a number"},
		{at(features.Milliseconds), `{"ts":1.5}`, 0, batch.ReasonType, "have the number 1.5"},
		{at(features.Milliseconds), `{"ts":true}`, 0, batch.ReasonType, "have a bool"},
		{at(features.Milliseconds), `{"ts":[1]}`, 0, batch.ReasonType, "have an array"},
		{asTimestamp, `{"ts":"2024-01-01T00:00:00Z"}`, 0, batch.ReasonType, "want the event time, an integer of seconds"},
		{at(features.Seconds), `{"ts":1700000000000}`, 0, batch.ReasonAbsurd, "outside the years 1 to 9999 (unit s)"}, // milliseconds, declared as seconds
		{at(features.Seconds), `{"ts":1e99}`, 0, batch.ReasonAbsurd, "1e99"},
		{at(features.RFC3339), `{"ts":"0001-01-01T00:00:00+00:01"}`, 0, batch.ReasonAbsurd, "0001-01-01T00:00:00+00:01"},
		{at(features.RFC3339), `{"ts":"9999-12-31T23:59:59-00:01"}`, 0, batch.ReasonAbsurd, "outside the years"},
	} {
		got, detail := decodeOne(decode.New(c.source), c.source, c.record)
		if got.time != c.want || got.reason != c.reason || !strings.Contains(detail, c.detail) {
			t.Errorf("%s %s: have %d %q %q, want %d %q …%s…", c.source.Timestamp.Unit, c.record, got.time, got.reason, detail, c.want, c.reason, c.detail)
		}
		if len(c.source.Fields) > 0 && c.reason == "" && got.fields[0] != windows.TimeOf(c.want) {
			t.Errorf("%s: the field holds %+v", c.record, got.fields[0])
		}
	}
}

// TestEventTime_OfRecord: without a timestamp field, the record's own timestamp counts.
func TestEventTime_OfRecord(t *testing.T) {
	for _, format := range []features.Format{features.JSON, features.CSV} {
		value := map[features.Format]string{features.JSON: `{"a":"x"}`, features.CSV: `x`}[format]
		d := decode.New(&features.Source{Format: format, Fields: []features.Field{{Name: "a", Kind: windows.String}}})
		for own, want := range map[int64]batch.Reason{1: "", endOfTime - 1: "", 0: batch.ReasonNoTime, -1: batch.ReasonNoTime, endOfTime: batch.ReasonAbsurd} {
			us, reason, detail := d.Decode(&batch.Record{Time: own, Value: []byte(value)}, make([]windows.Value, 1))
			if reason != want || want == "" && us != own {
				t.Errorf("%s, own timestamp %d: have %d %q %s, want %q", format, own, us, reason, detail, want)
			}
		}
	}
}

// TestRFC3339_Oracle compares with the time package on every day of some centuries, and on random times, whole and damaged.
func TestRFC3339_Oracle(t *testing.T) {
	for year := range 10_000 {
		if year > 8 && year < 1890 || year > 2110 && year < 9990 {
			continue
		}
		for month := range 14 {
			for day := range 33 {
				checkRFC3339(t, fmt.Sprintf("%04d-%02d-%02dT12:34:56Z", year, month, day))
			}
		}
	}
	rng := rand.New(rand.NewPCG(rand.Uint64(), 2))
	for range 10_000 {
		s := randomRFC3339(rng)
		checkRFC3339(t, s)
		checkRFC3339(t, damaged(rng, s))
	}
}

func FuzzRFC3339(f *testing.F) {
	for _, s := range []string{"2024-02-29T23:59:59.999999999Z", "0000-01-01t00:00:00+23:59", "9999-12-31 23:59:59-23:59"} {
		f.Add(s)
	}
	f.Fuzz(checkRFC3339)
}

func checkRFC3339(t *testing.T, s string) {
	t.Helper()
	want, wantOK := oracleRFC3339(s)
	if got, ok := decode.ParseRFC3339(s); ok != wantOK || ok && got != want {
		t.Errorf("%q: have %d %v, want %d %v", s, got, ok, want, wantOK)
	}
}

func randomRFC3339(rng *rand.Rand) string {
	second := pick(rng, rng.Int64N(4e9), rng.Int64N(4e9), firstTime/1e6+rng.Int64N(endOfTime/1e6-firstTime/1e6), firstTime/1e6, endOfTime/1e6-1)
	t := time.Unix(second, rng.Int64N(1e9)).In(time.FixedZone("", (rng.IntN(47)-23)*1800))
	layout := pick(rng, time.RFC3339, time.RFC3339Nano, "2006-01-02t15:04:05.000Z07:00", "2006-01-02 15:04:05.000000Z07:00", "2006-01-02T15:04:05.000000000-07:00")
	return t.Format(layout)
}
