package decode_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/features"
	"highwater/windows"
)

// source declares a field of each kind. Its event time is a field of its own, in milliseconds.
func source(format features.Format) *features.Source {
	return &features.Source{
		Name: "events", Format: format, Key: "user", MaxRecordBytes: 1 << 20,
		Timestamp: features.Timestamp{Field: "ts", Unit: features.Milliseconds},
		Fields: []features.Field{
			{Name: "user", Kind: windows.String}, {Name: "n", Kind: windows.Int64}, {Name: "price", Kind: windows.Double},
			{Name: "ok", Kind: windows.Bool}, {Name: "seen_at", Kind: windows.Timestamp},
		},
	}
}

// decodeOne decodes one value and copies what it got; a rejected record has no fields and no time.
func decodeOne(d batch.Decoder, s *features.Source, value string) (v verdict, detail string) {
	fields := make([]windows.Value, len(s.Fields))
	for i := range fields {
		fields[i] = windows.StringOf("left over from the record before")
	}
	eventTime, reason, detail := d.Decode(&batch.Record{Value: []byte(value)}, fields)
	if reason != "" {
		return verdict{reason: reason}, detail
	}
	return verdict{fields: fields, time: eventTime}, detail
}

func TestJSON_Decisions(t *testing.T) {
	null := windows.Value{}
	for _, c := range []struct {
		name   string
		record string
		field  int
		want   windows.Value
		reason batch.Reason
		detail string // a part of it
	}{
		{name: "a string", record: `{"ts":1,"user":"ann"}`, want: windows.StringOf("ann")},
		{name: "escapes", record: `{"ts":1,"user":"a\"\\\/\b\f\n\r\t\u00e9\u0000"}`, want: windows.StringOf("a\"\\/\b\f\n\r\té\x00")},
		{name: "a surrogate pair", record: `{"ts":1,"user":"\ud83d\uDE00"}`, want: windows.StringOf("😀")},
		{name: "UTF-8 as it is", record: `{"ts":1,"user":"żółć 日本"}`, want: windows.StringOf("żółć 日本")},
		{name: "an escaped name", record: `{"ts":1,"\u0075ser":"ann"}`, want: windows.StringOf("ann")},
		{name: "null", record: `{"ts":1,"user":null}`, want: null},
		{name: "absent", record: `{"ts":1}`, want: null},
		{name: "white space", record: " \t\r\n{ \"ts\" : 1 , \"user\" : \"ann\" } \n", want: windows.StringOf("ann")},
		{name: "unknown fields are passed over", record: `{"x":{"y":[1,{"y":2}],"y":null},"ts":1,"z":-1.5e-3,"user":"ann"}`, want: windows.StringOf("ann")},
		{name: "an int64", record: `{"ts":1,"n":-9223372036854775808}`, field: 1, want: windows.IntOf(-1 << 63)},
		{name: "1e3 in an int64", record: `{"ts":1,"n":1e3}`, field: 1, want: windows.IntOf(1000)},
		{name: "1.0 in an int64", record: `{"ts":1,"n":1.0}`, field: 1, want: windows.IntOf(1)},
		{name: "whole after all", record: `{"ts":1,"n":12300000000000000000000e-20}`, field: 1, want: windows.IntOf(123)},
		{name: "zero, with an exponent beyond all", record: `{"ts":1,"n":0e999999999999999999999}`, field: 1, want: windows.IntOf(0)},
		{name: "a double of an integer", record: `{"ts":1,"price":3}`, field: 2, want: windows.DoubleOf(3)},
		{name: "a double", record: `{"ts":1,"price":-1.25e2}`, field: 2, want: windows.DoubleOf(-125)},
		{name: "a double that underflows", record: `{"ts":1,"price":1e-400}`, field: 2, want: windows.DoubleOf(0)},
		{name: "a bool", record: `{"ts":1,"ok":true}`, field: 3, want: windows.BoolOf(true)},
		{name: "a timestamp in ms", record: `{"ts":1,"seen_at":1700000000123}`, field: 4, want: windows.TimeOf(1700000000123000)},
		{name: "a timestamp as RFC 3339", record: `{"ts":1,"seen_at":"2023-11-14T23:13:20.1234569+01:00"}`, field: 4, want: windows.TimeOf(1700000000123456)},

		{name: "no value", record: ``, reason: batch.ReasonMalformed, detail: "the record has no value (a tombstone?): want a JSON object"},
		{name: "white space only", record: ` `, reason: batch.ReasonMalformed, detail: "want a JSON object, have the end of the record at byte 1"},
		{name: "an array", record: `[1]`, reason: batch.ReasonMalformed, detail: "want a JSON object, have '[' at byte 0"},
		{name: "a byte order mark", record: "\uFEFF{}", reason: batch.ReasonMalformed, detail: "have 0xEF at byte 0"},
		{name: "two objects", record: `{"ts":1}{"ts":1}`, reason: batch.ReasonMalformed, detail: "want nothing after the object, have '{' at byte 8"},
		{name: "cut short", record: `{"ts":1,"user":"an`, reason: batch.ReasonMalformed, detail: "have the end of the record at byte 18"},
		{name: "bad UTF-8", record: "{\"ts\":1,\"user\":\"a\xffb\"}", reason: batch.ReasonMalformed, detail: "bad UTF-8: 0xFF at byte 17"},
		{name: "bad UTF-8 where nobody looks", record: "{\"ts\":1,\"x\":[\"\xc0\x80\"]}", reason: batch.ReasonMalformed, detail: "bad UTF-8"},
		{name: "half a surrogate pair", record: `{"ts":1,"user":"\ud83d!"}`, reason: batch.ReasonMalformed, detail: `half a surrogate pair, \ud83d`},
		{name: "a control character", record: "{\"ts\":1,\"user\":\"a\tb\"}", reason: batch.ReasonMalformed, detail: "control characters escaped"},
		{name: "a leading zero", record: `{"ts":01}`, reason: batch.ReasonMalformed, detail: "without leading zeros, have '1' at byte 7"},
		{name: "a trailing comma", record: `{"ts":1,}`, reason: batch.ReasonMalformed, detail: "want a name in quotes, have '}' at byte 8"},
		{name: "NaN", record: `{"ts":1,"price":NaN}`, reason: batch.ReasonMalformed, detail: "want a value, have 'N'"},
		{name: "too deep", record: `{"ts":1,"x":` + strings.Repeat("[", 128) + strings.Repeat("]", 128) + `}`, reason: batch.ReasonMalformed, detail: "deeper than 128"},
		{name: "a declared name twice", record: `{"ts":1,"user":"ann","user":"bob"}`, reason: batch.ReasonDuplicate, detail: `name "user": a second time in one object, at byte 21`},
		{name: "another name twice", record: `{"ts":1,"x":1,"x":1}`, reason: batch.ReasonDuplicate, detail: `name "x"`},
		{name: "a name twice, once escaped", record: `{"ts":1,"x":1,"\u0078":1}`, reason: batch.ReasonDuplicate, detail: `name "x"`},
		{name: "a string in a double", record: `{"ts":1,"price":"1.5"}`, reason: batch.ReasonType, detail: "field price: want a double, have a string at byte 16"},
		{name: "1.5 in an int64", record: `{"ts":1,"n":1.5}`, reason: batch.ReasonType, detail: "field n: want an int64, have the number 1.5 at byte 12"},
		{name: "an int64 out of range", record: `{"ts":1,"n":9223372036854775808}`, reason: batch.ReasonType, detail: "have the number 9223372036854775808"},
		{name: "a double out of range", record: `{"ts":1,"price":1e309}`, reason: batch.ReasonType, detail: "beyond a double's range"},
		{name: "a number in a string", record: `{"ts":1,"user":7}`, reason: batch.ReasonType, detail: "field user: want a string, have a number"},
		{name: "1 in a bool", record: `{"ts":1,"ok":1}`, reason: batch.ReasonType, detail: "field ok: want a bool, have a number"},
		{name: "an object in a string", record: `{"ts":1,"user":{"id":1}}`, reason: batch.ReasonType, detail: "have an object at byte 15"},
		{name: "a timestamp without an offset", record: `{"ts":1,"seen_at":"2023-11-14T23:13:20"}`, reason: batch.ReasonType, detail: `have the string "2023-11-14T23:13:20"`},
		{name: "a timestamp before the year 1", record: `{"ts":1,"seen_at":"0000-12-31T23:59:59Z"}`, reason: batch.ReasonType, detail: `have the string "0000-12-31T23:59:59Z"`},
		{name: "a timestamp after the year 9999", record: `{"ts":1,"seen_at":253402300800000}`, reason: batch.ReasonType, detail: "have the number 253402300800000"},
		{name: "malformed outweighs a wrong type", record: `{"ts":1,"ok":1,"x":}`, reason: batch.ReasonMalformed, detail: "want a value"},
		{name: "a duplicate outweighs a wrong type", record: `{"ts":1,"ok":1,"ts":1}`, reason: batch.ReasonDuplicate, detail: `name "ts"`},
		{name: "the first wrong type is named", record: `{"ts":1,"ok":1,"n":true}`, reason: batch.ReasonType, detail: "field ok"},
		{name: "a wrong type outweighs a missing time", record: `{"ok":1}`, reason: batch.ReasonType, detail: "field ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := source(features.JSON)
			got, detail := decodeOne(decode.New(s), s, c.record)
			if got.reason != c.reason || !strings.Contains(detail, c.detail) || (c.reason == "") != (detail == "") {
				t.Fatalf("%s\nhave %q: %q\nwant %q: …%s…", c.record, got.reason, detail, c.reason, c.detail)
			}
			if c.reason == "" && got.fields[c.field] != c.want {
				t.Fatalf("%s: have %+v, want %+v", c.record, got.fields[c.field], c.want)
			}
		})
	}
}

func TestDecode_TooLarge(t *testing.T) {
	s := source(features.JSON)
	s.MaxRecordBytes = len(`{"ts":1}`)
	d := decode.New(s)
	if v, detail := decodeOne(d, s, `{"ts":1}`); v.reason != "" {
		t.Fatal(detail)
	}
	v, detail := decodeOne(d, s, `{"ts":1} `)
	if v.reason != batch.ReasonTooLarge || detail != "the value has 9 bytes, max_record_bytes is 8" {
		t.Fatalf("%q: %s", v.reason, detail)
	}
}

// TestJSON_Oracle compares the decoder with the oracle on random records, on small damages of them, and on records like the one before.
func TestJSON_Oracle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	reasons := map[batch.Reason]int{}
	for range 300 {
		s := randomSource(rng)
		d := decode.New(s) // it learns the first good record's shape, and must not be led astray by it
		record := randomRecord(rng, s)
		for range 8 {
			reasons[checkJSON(t, d, s, record)]++
			checkJSON(t, d, s, damaged(rng, record))
			if rng.IntN(3) == 0 {
				record = randomRecord(rng, s)
			}
		}
		if t.Failed() {
			return
		}
	}
	for _, r := range []batch.Reason{"", batch.ReasonMalformed, batch.ReasonDuplicate, batch.ReasonType, batch.ReasonNoTime, batch.ReasonAbsurd} {
		if reasons[r] == 0 {
			t.Errorf("no random record was %q: %v", r, reasons)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, record := range []string{ysbf, `{}`, `{"ts":1,"user":"\ud83d\ude00","n":1e3,"price":-0.5e-7,"ok":false,"seen_at":"2024-02-29T23:59:59Z","x":[{"y":[]}]}`, `{"ts":1,"ts":1}`, `{"n":1.5}`, `{"ts":"1"}`, ` { "a" : null } `} {
		f.Add([]byte(record))
	}
	s := source(features.JSON)
	d := decode.New(s)
	f.Fuzz(func(t *testing.T, record []byte) { checkJSON(t, d, s, string(record)) })
}

// checkJSON compares decoder and oracle on one record.
func checkJSON(t *testing.T, d batch.Decoder, s *features.Source, record string) batch.Reason {
	t.Helper()
	want := oracleJSON(s, []byte(record))
	got, detail := decodeOne(d, s, record)
	if got.reason != want.reason || got.time != want.time || !slices.Equal(got.fields, want.fields) {
		t.Errorf("source %+v\n%q\nhave %+v (%s)\nwant %+v", s.Timestamp, record, got, detail, want)
	}
	return want.reason
}

func randomSource(rng *rand.Rand) *features.Source {
	s := source(features.JSON)
	s.Timestamp.Unit = pick(rng, features.Seconds, features.Milliseconds, features.Microseconds, features.Nanoseconds, features.RFC3339)
	if rng.IntN(2) == 0 { // the event time is a declared field too
		s.Fields = append(s.Fields, features.Field{Name: "ts", Kind: pick(rng, windows.Int64, windows.Double, windows.String, windows.Timestamp)})
	}
	return s
}

func pick[T any](rng *rand.Rand, choices ...T) T { return choices[rng.IntN(len(choices))] }

// randomRecord writes an object with most of s's fields, most of them of the right type, and some that s does not declare, sometimes many.
func randomRecord(rng *rand.Rand, s *features.Source) string {
	names := []string{"ts", "user", "n", "price", "ok", "seen_at"}
	for range pick(rng, 0, 1, 3, 60) {
		names = append(names, pick(rng, "x", "other", "user_", "prices", "")+pick(rng, "", "é", strings.Repeat("long", rng.IntN(9)))+fmt.Sprint(rng.IntN(5000)))
	}
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	if rng.IntN(4) == 0 {
		names = names[1:]
	}
	if rng.IntN(8) == 0 {
		names = append(names, pick(rng, names...))
	}
	var b strings.Builder
	b.WriteString(blank(rng) + "{" + blank(rng))
	for i, name := range names {
		if i > 0 {
			b.WriteString("," + blank(rng))
		}
		b.WriteString(quoted(rng, name) + blank(rng) + ":" + blank(rng) + randomValue(rng, s, name) + blank(rng))
	}
	return b.String() + "}" + blank(rng)
}

func blank(rng *rand.Rand) string { return pick(rng, "", "", "", "", "", " ", "\n\t", "\r ") }

func randomValue(rng *rand.Rand, s *features.Source, name string) string {
	if rng.IntN(12) == 0 {
		name = pick(rng, "user", "n", "price", "ok", "seen_at", "null", "nested")
	}
	switch name {
	case "ts":
		return randomTime(rng, s.Timestamp.Unit)
	case "n":
		return pick(rng, fmt.Sprint(rng.Int64()), fmt.Sprint(-rng.Int64()), fmt.Sprint(rng.IntN(1000)), "-0", "1e3", "12.50e1", "1.5", "120e-1", "0.0e5", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1e19", "92233720368547758070e-1", "1e-3")
	case "price":
		return pick(rng, fmt.Sprint(rng.NormFloat64()), fmt.Sprint(rng.ExpFloat64()*1e30), fmt.Sprint(rng.Uint64()), "0.1", "1e22", "1e23", "9007199254740993", "1.7976931348623157e308", "1.7976931348623159e308", "1e400", "5e-324", "1e-5000", "-0.0",
			fmt.Sprintf("%d.%d", rng.IntN(1000), rng.IntN(1000000)), fmt.Sprintf("%d%de%d", rng.Uint64(), rng.Uint64(), rng.IntN(600)-300))
	case "ok":
		return pick(rng, "true", "false")
	case "seen_at":
		return randomTime(rng, pick(rng, features.Milliseconds, features.RFC3339))
	case "null":
		return "null"
	case "nested":
		return pick(rng, "{}", "[]", `{"a":[1,{"a":"\u00e9"}],"a":2}`, `[ "x" , [ ] , null ]`, strings.Repeat("[", 127)+strings.Repeat("]", 127), strings.Repeat("[", 128)+strings.Repeat("]", 128))
	}
	return quoted(rng, pick(rng, "", "ann", "żółć", "😀", `"\`, "\x00\x1f\x7f", strings.Repeat("abc", rng.IntN(20)))+pick(rng, "", "é", "\n"))
}

// randomTime writes a time that is mostly sane.
func randomTime(rng *rand.Rand, unit features.Unit) string {
	seconds := pick(rng, rng.Int64N(4e9), rng.Int64N(4e9), firstTime/1e6, endOfTime/1e6, firstTime/1e6-1, endOfTime/1e6-1)
	switch unit {
	case features.RFC3339:
		return `"` + randomRFC3339(rng) + `"`
	case features.Seconds:
		return pick(rng, fmt.Sprint(seconds), fmt.Sprint(seconds), fmt.Sprintf("%d.5", seconds), fmt.Sprintf("%de1", seconds), "1e30")
	case features.Milliseconds:
		return pick(rng, fmt.Sprint(seconds*1e3), fmt.Sprint(seconds*1e3+999), fmt.Sprintf("%d.0", seconds*1e3), fmt.Sprintf("%d.1", seconds), "1.6e12")
	case features.Microseconds:
		return pick(rng, fmt.Sprint(seconds*1e6), fmt.Sprint(seconds*1e6+999_999), fmt.Sprintf("%de6", seconds))
	}
	return pick(rng, fmt.Sprint(rng.Int64()), fmt.Sprint(-rng.Int64()), fmt.Sprintf("%de9", seconds), "-1", "-1000", "-1001")
}

// quoted writes s as a JSON string, some of its characters as escapes.
func quoted(rng *rand.Rand, s string) string {
	var b strings.Builder
	b.WriteByte('"')
	some := rng.IntN(4) == 0
	for _, r := range s {
		switch {
		case r >= 0x10000 && some:
			fmt.Fprintf(&b, `\u%04x\u%04X`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		case r < ' ' || r < 0x10000 && some && rng.IntN(3) == 0:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// damaged returns record with a few bytes changed, lost, added or repeated.
func damaged(rng *rand.Rand, record string) string {
	const bytes = "\"\"\\{}[]:,,ue0123456789.-+truefalsn \t\n\x00\x1f\x80\xc3\xe2\xff"
	b := []byte(record)
	for range 1 + rng.IntN(3) {
		at, c := rng.IntN(len(b)), bytes[rng.IntN(len(bytes))]
		switch rng.IntN(5) {
		case 0:
			b[at] = c
		case 1:
			b = slices.Delete(b, at, at+1)
		case 2:
			b = slices.Insert(b, at, c)
		case 3:
			end := min(len(b), at+rng.IntN(20))
			b = slices.Insert(b, at, slices.Clone(b[at:end])...)
		case 4:
			b = b[:at]
		}
		if len(b) == 0 {
			break
		}
	}
	return string(b)
}

// TestJSON_ManyNames: a duplicate is found however far back its first is, and names that share length, head and tail are told apart.
func TestJSON_ManyNames(t *testing.T) {
	s := source(features.JSON)
	d := decode.New(s)
	for _, n := range []int{1, 31, 32, 33, 63, 64, 65, 66, 600, 5000} {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf(`"same head %04d same tail":%d`, i, i)
		}
		record := `{"ts":1,` + strings.Join(names, ",")
		for range 3 {
			if v, detail := decodeOne(d, s, record+`}`); v.reason != "" {
				t.Fatalf("%d names, all different: %s", n, detail)
			}
			for _, at := range []int{0, n / 2, n - 1} {
				if v, detail := decodeOne(d, s, record+","+names[at]+`}`); v.reason != batch.ReasonDuplicate {
					t.Fatalf("%d names, the one of index %d twice: %q %s", n, at, v.reason, detail)
				}
			}
		}
	}
}

// TestJSON_Shape: what a record decodes to does not depend on the records before it, also when goroutines share the decoder.
func TestJSON_Shape(t *testing.T) {
	s := source(features.JSON)
	records := []string{
		`{"ts":1,"user":"ann","n":1}`, `{"ts":1,"user":"ann"}`, `{"ts":1}`, `{}`, `{"ts":1,"user":"ann","n":1,"x":2}`, `{"n":1,"user":"ann","ts":1}`,
		`{"ts":1,"user":"ann","user":"bob"}`, `{"ts":1,"user":"ann","n":1,"ts":1}`, `{"ts":1,"user":"ann","n":1,}`, `{"ts":1,"user":"ann","n":1`, `{"ts":1,"user" "ann"}`, `{"ts":1,"user":`,
		`{"ts":1,"a\"b":1,"user":"ann"}`, `{"ts":1,"a":"b","user":"ann"}`, "{\"ts\":1,\"a\tb\":1}", `{"ts":1,"a\tb":1}`, `{ "ts": 1, "user": "ann", "n": 1 }`, `{"ts":1,"user":"ann","n":1} x`,
	}
	for _, first := range records {
		d := decode.New(s)
		for i := range decode.ShapePatience + 2 { // so that a second shape is learned on the way
			checkJSON(t, d, s, first)
			checkJSON(t, d, s, records[i%len(records)])
		}
	}
	d := decode.New(s)
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			for i := range 1000 {
				checkJSON(t, d, s, records[(i*(w+1))%len(records)])
			}
		})
	}
	workers.Wait()
}

func TestDecode_Allocations(t *testing.T) {
	wide := `{"ts":1`
	for i := range 100 {
		wide += fmt.Sprintf(`,"name%d":%d`, i, i)
	}
	for _, c := range []struct {
		name   string
		source *features.Source
		record string
	}{
		{"ysbf", ysbfSource(), ysbf},
		{"every kind", source(features.JSON), `{"user":"żółć","ts":1700000000000,"n":-17,"price":12.75,"ok":true,"seen_at":"2024-05-06T07:08:09.123456+02:00","x":{"y":[1,"two",null]}}`},
		{"a long number", source(features.JSON), `{"ts":1.7e12,"price":0.12345678901234567890123,"n":12e2}`},
		{"100 names", source(features.JSON), wide + `}`},
		{"csv", source(features.CSV), `ann,-17,12.75,true,2024-05-06T07:08:09.123456+02:00`},
	} {
		if c.source.Format == features.CSV {
			c.source.Timestamp = features.Timestamp{Field: "seen_at", Unit: features.RFC3339}
		}
		d := decode.New(c.source)
		rec := &batch.Record{Value: []byte(c.record)}
		fields := make([]windows.Value, len(c.source.Fields))
		if n := testing.AllocsPerRun(1000, func() {
			if _, reject, detail := d.Decode(rec, fields); reject != "" {
				t.Fatal(detail)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a record", c.name, n)
		}
	}
}
