package decode_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/features"
	"highwater/windows"
)

// apartSource reads one field from the value, the user from the key, and a field of each other kind and the event time from headers.
func apartSource(format features.Format) *features.Source {
	header := func(name string, kind windows.Kind, header string) features.Field {
		return features.Field{Name: name, Kind: kind, From: features.FromHeader, Header: header}
	}
	return &features.Source{
		Name: "events", Format: format, Key: "user", MaxRecordBytes: 1 << 20,
		Timestamp: features.Timestamp{Field: "ts", Unit: features.Milliseconds},
		Fields: []features.Field{
			{Name: "user", Kind: windows.String, From: features.FromKey}, header("tenant", windows.String, "x-tenant"), header("n", windows.Int64, "n"), header("price", windows.Double, "price"),
			header("ok", windows.Bool, "ok"), header("seen_at", windows.Timestamp, "seen"), {Name: "page", Kind: windows.String}, header("ts", windows.Int64, "sent"),
		},
	}
}

// headers makes headers of name, value, name, value …; a value of "-" is null.
func headers(of ...string) []batch.Header {
	var all []batch.Header
	for i := 0; i < len(of); i += 2 {
		h := batch.Header{Key: of[i], Value: []byte(of[i+1])}
		if of[i+1] == "-" {
			h.Value = nil
		}
		all = append(all, h)
	}
	return all
}

func TestApart_Decisions(t *testing.T) {
	const user, tenant, n, price, ok, seen, ts = 0, 1, 2, 3, 4, 5, 7
	null, sent := windows.Value{}, headers("sent", "1")
	with := func(of ...string) []batch.Header { return append(headers(of...), sent...) }
	for _, c := range []struct {
		name    string
		key     []byte
		headers []batch.Header
		value   string // {} where it is empty
		field   int
		want    windows.Value
		reason  batch.Reason
		detail  string // all of it, but where it ends in …
	}{
		{name: "a key", key: []byte("ann"), headers: sent, field: user, want: windows.StringOf("ann")},
		{name: "a key in UTF-8", key: []byte("żółć"), headers: sent, field: user, want: windows.StringOf("żółć")},
		{name: "a key that reads like something else", key: []byte(`"7"`), headers: sent, field: user, want: windows.StringOf(`"7"`)},
		{name: "no key", headers: sent, field: user, want: null},
		{name: "a key of no bytes", key: []byte{}, headers: sent, field: user, want: windows.StringOf("")},
		{name: "not the value's", headers: sent, value: `{"user":"bob","x-tenant":"x","tenant":"y"}`, field: user, want: null},
		{name: "a header", headers: with("x-tenant", "acme"), field: tenant, want: windows.StringOf("acme")},
		{name: "no header", headers: with("X-Tenant", "names are compared byte by byte"), field: tenant, want: null},
		{name: "a header by the field's name, where another was meant", headers: with("tenant", "acme"), field: tenant, want: null},
		{name: "a null header", headers: with("x-tenant", "-"), field: tenant, want: null},
		{name: "a header of no bytes", headers: with("x-tenant", ""), field: tenant, want: windows.StringOf("")},
		{name: "the last of several", headers: with("x-tenant", "first", "x-tenant", "last"), field: tenant, want: windows.StringOf("last")},
		{name: "the last of several, null", headers: with("x-tenant", "first", "x-tenant", "-"), field: tenant, want: null},
		{name: "an int64", headers: with("n", "-9223372036854775808"), field: n, want: windows.IntOf(-1 << 63)},
		{name: "a whole number", headers: with("n", "1.20e2"), field: n, want: windows.IntOf(120)},
		{name: "a double", headers: with("price", "-1.25E+2"), field: price, want: windows.DoubleOf(-125)},
		{name: "a bool", headers: with("ok", "true"), field: ok, want: windows.BoolOf(true)},
		{name: "a timestamp in ms", headers: with("seen", "1700000000123"), field: seen, want: windows.TimeOf(1700000000123000)},
		{name: "a timestamp as RFC 3339", headers: with("seen", "2023-11-14T23:13:20.1234569+01:00"), field: seen, want: windows.TimeOf(1700000000123456)},
		{name: "the event time's field", headers: sent, field: ts, want: windows.IntOf(1)},

		{name: "a key of other bytes", key: []byte("a\xff"), headers: sent, reason: batch.ReasonType, detail: "field user: want a string, have bad UTF-8, 0xFF at byte 1, in the record's key"},
		{name: "a header of other bytes", headers: with("n", "\xc0\x80"), reason: batch.ReasonType, detail: "field n: want an int64, have bad UTF-8, 0xC0 at byte 0, in header n"},
		{name: "no number", headers: with("n", "seven"), reason: batch.ReasonType, detail: `field n: want an int64, have "seven" in header n`},
		{name: "a number with more behind it", headers: with("n", "7 "), reason: batch.ReasonType, detail: `field n: want an int64, have "7 " in header n`},
		{name: "a number of no bytes", headers: with("n", ""), reason: batch.ReasonType, detail: `field n: want an int64, have "" in header n`},
		{name: "a number that is not whole", headers: with("n", "1.5"), reason: batch.ReasonType, detail: "field n: want an int64, have the number 1.5 in header n"},
		{name: "a long number", headers: with("n", "9223372036854775808"), reason: batch.ReasonType, detail: "field n: want an int64, have the number 9223372036854775808 in header n"},
		{name: "NaN", headers: with("price", "NaN"), reason: batch.ReasonType, detail: `field price: want a double, have "NaN" in header price`},
		{name: "True", headers: with("ok", "True"), reason: batch.ReasonType, detail: `field ok: want a bool, have "True" in header ok`},
		{name: "1 in a bool", headers: with("ok", "1"), reason: batch.ReasonType, detail: "field ok: want a bool, have a number in header ok"},
		{name: "no timestamp", headers: with("seen", "yesterday"), reason: batch.ReasonType, detail: `field seen_at: want a timestamp (RFC 3339, or an integer of milliseconds), have the string "yesterday" in header seen`},
		{name: "no event time", reason: batch.ReasonNoTime, detail: "field ts: absent or null in header sent, and it is the event time"},
		{name: "no number for the event time", headers: headers("sent", "now"), reason: batch.ReasonType, detail: `field ts: want the event time, an integer of milliseconds, have "now" in header sent`},
		{name: "an absurd event time", headers: headers("sent", "999999999999999999"), reason: batch.ReasonAbsurd, detail: "field ts: the event time 999999999999999999 in header sent is outside the years 1 to 9999 (unit ms)"},
		{name: "a value's mistake first", headers: with("n", "x"), value: `{"page":7}`, reason: batch.ReasonType, detail: "field page: want a string, have a number at byte 8"},
		{name: "a malformed value outweighs all", key: []byte("\xff"), value: `{`, reason: batch.ReasonMalformed, detail: "want a name in quotes, …"},
		{name: "the key before the headers", key: []byte("\xff"), headers: with("n", "x"), reason: batch.ReasonType, detail: "field user: …"},
	} {
		for _, format := range []features.Format{features.JSON, features.CSV} {
			rec := &batch.Record{Key: c.key, Headers: c.headers, Value: []byte(c.value)}
			switch {
			case format == features.JSON && c.value == "":
				rec.Value = []byte(`{}`)
			case format == features.CSV && c.value == "":
				rec.Value = []byte(`/home`)
			case format == features.CSV:
				continue
			}
			fields := make([]windows.Value, 8)
			_, reason, detail := decode.New(apartSource(format)).Decode(rec, fields)
			begin, cut := strings.CutSuffix(c.detail, "…")
			if reason != c.reason || detail != c.detail && (!cut || !strings.HasPrefix(detail, begin)) {
				t.Errorf("%s, %s:\nhave %q: %s\nwant %q: %s", c.name, format, reason, detail, c.reason, c.detail)
			}
			if c.reason == "" && fields[c.field] != c.want {
				t.Errorf("%s, %s: have %+v, want %+v", c.name, format, fields[c.field], c.want)
			}
		}
	}
}

// TestApart_EventTime: an event time that is text, from the key.
func TestApart_EventTime(t *testing.T) {
	for _, kind := range []windows.Kind{windows.String, windows.Timestamp} {
		s := &features.Source{Format: features.JSON, Timestamp: features.Timestamp{Field: "at", Unit: features.RFC3339}, Fields: []features.Field{{Name: "at", Kind: kind, From: features.FromKey}}}
		fields := make([]windows.Value, 1)
		const text = "2023-11-14T22:13:20Z"
		us, reason, detail := decode.New(s).Decode(&batch.Record{Key: []byte(text), Value: []byte(`{}`)}, fields)
		want := map[windows.Kind]windows.Value{windows.String: windows.StringOf(text), windows.Timestamp: windows.TimeOf(1_700_000_000_000_000)}[kind]
		if us != 1_700_000_000_000_000 || fields[0] != want {
			t.Errorf("%s: %d %+v %q %s", kind, us, fields[0], reason, detail)
		}
		_, reason, detail = decode.New(s).Decode(&batch.Record{Key: []byte("now"), Value: []byte(`{}`)}, fields)
		if reason != batch.ReasonNoTime || !strings.HasPrefix(detail, `field at: the event time "now" in the record's key is not RFC 3339`) {
			t.Errorf("%s: %q %s", kind, reason, detail)
		}
	}
}

// TestApart_CSVCells: the cells of a row are the other fields, in their order.
func TestApart_CSVCells(t *testing.T) {
	s := apartSource(features.CSV)
	s.Fields = append(s.Fields, features.Field{Name: "last", Kind: windows.Int64})
	fields := make([]windows.Value, len(s.Fields))
	d := decode.New(s)
	rec := &batch.Record{Key: []byte("ann"), Headers: headers("sent", "5"), Value: []byte("/home,7")}
	us, reason, detail := d.Decode(rec, fields)
	if us != 5000 || reason != "" || fields[0] != windows.StringOf("ann") || fields[6] != windows.StringOf("/home") || fields[8] != windows.IntOf(7) {
		t.Errorf("%d %q %s %+v", us, reason, detail, fields)
	}
	rec.Value = []byte("/home")
	if _, reason, detail = d.Decode(rec, fields); reason != batch.ReasonMalformed || detail != "the row has 1 cells, the source declares 2 fields" {
		t.Errorf("%q %s", reason, detail)
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// oracleText decides what a key or a header of that text is, by what the same would be as a JSON value.
func oracleText(s *features.Source, f features.Field, text []byte) verdict {
	var value any = string(text)
	asTime := f.Name == s.Timestamp.Field
	switch {
	case !utf8.Valid(text):
		return verdict{reason: batch.ReasonType}
	case asTime && s.Timestamp.Unit == features.RFC3339, !asTime && f.Kind == windows.String:
	case jsonNumber.Match(text):
		value = json.Number(text)
	case f.Kind == windows.Bool && (string(text) == "true" || string(text) == "false"):
		value = string(text) == "true"
	case f.Kind != windows.Timestamp || asTime:
		return verdict{reason: batch.ReasonType}
	}
	field, ok := oracleField(f, value)
	us, reason := int64(1), batch.Reason("")
	if asTime {
		us, reason = oracleTime(s.Timestamp, value)
		if f.Kind == windows.Timestamp {
			field, ok = windows.TimeOf(us), true // read once, by the event time's unit
		}
	}
	switch {
	case !ok:
		return verdict{reason: batch.ReasonType}
	case reason != "":
		return verdict{reason: reason}
	}
	return verdict{time: us, fields: []windows.Value{field}}
}

// checkText compares the decoder with the oracle on one text, as a key and as a header, of every kind and as the event time of every unit that the kind allows.
func checkText(t *testing.T, text []byte) {
	t.Helper()
	units := map[windows.Kind][]features.Unit{
		windows.Bool: {""}, windows.String: {"", features.RFC3339}, windows.Int64: {"", features.Seconds, features.Nanoseconds}, windows.Double: {"", features.Milliseconds},
		windows.Timestamp: {"", features.Microseconds, features.RFC3339},
	}
	for kind, allowed := range units {
		for _, unit := range allowed {
			for _, from := range []features.Origin{features.FromKey, features.FromHeader} {
				f := features.Field{Name: "f", Kind: kind, From: from, Header: "h"}
				s := &features.Source{Format: features.JSON, Fields: []features.Field{f}}
				if unit != "" {
					s.Timestamp = features.Timestamp{Field: "f", Unit: unit}
				}
				rec := &batch.Record{Time: 1, Value: []byte(`{}`), Key: text}
				if from == features.FromHeader {
					rec.Key, rec.Headers = []byte("other"), []batch.Header{{Key: "h", Value: text}, {Key: "other"}}
				}
				fields := make([]windows.Value, 1)
				us, reason, detail := decode.New(s).Decode(rec, fields)
				want := oracleText(s, f, text)
				if reason != want.reason || reason == "" && (us != want.time || fields[0] != want.fields[0]) {
					t.Errorf("%s in %s, unit %q, of %q\nhave %d %+v %q (%s)\nwant %+v", kind, f.Place(), unit, text, us, fields[0], reason, detail, want)
				}
			}
		}
	}
}

func TestApart_Oracle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	s := source(features.JSON)
	for range 500 {
		s.Timestamp.Unit = pick(rng, features.Seconds, features.Milliseconds, features.Microseconds, features.Nanoseconds, features.RFC3339)
		text := strings.Trim(randomValue(rng, s, pick(rng, "ts", "user", "n", "price", "ok", "seen_at")), `"`)
		checkText(t, []byte(text))
		if text != "" {
			checkText(t, []byte(damaged(rng, text)))
		}
		if t.Failed() {
			return
		}
	}
}

func FuzzApart(f *testing.F) {
	for _, text := range []string{"", "ann", "true", "-0", "1e3", "1.5", "9223372036854775808", "1700000000123", "2024-02-29T23:59:59Z", "\xff", "żółć", " 7", "01", "+1", "NaN"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if text == nil {
			text = []byte{} // no key at all is no text
		}
		checkText(t, text)
	})
}

// TestEvents_Apart is a property: a field says the same from wherever it is read. The same file, loaded for a source whose fields are all in the value, and for one that has some in the key and in headers, decodes to the same.
func TestEvents_Apart(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 6))
	accepted := 0
	for range 400 {
		plain := source(features.JSON)
		plain.Timestamp.Unit = pick(rng, features.Seconds, features.Milliseconds, features.Nanoseconds, features.RFC3339)
		plain.Fields = append(plain.Fields, features.Field{Name: "ts", Kind: windows.Timestamp})
		moved := *plain
		moved.Fields = slices.Clone(plain.Fields)
		for i := range moved.Fields {
			if f := &moved.Fields[i]; rng.IntN(2) == 0 {
				f.From, f.Header = features.FromHeader, "x-"+f.Name
			}
		}
		if i := rng.IntN(len(moved.Fields)); rng.IntN(2) == 0 {
			moved.Fields[i].From, moved.Fields[i].Header = features.FromKey, ""
			moved.Key = moved.Fields[i].Name
		}
		line := strings.NewReplacer("\n", " ", "\r", " ").Replace(randomRecord(rng, plain))
		if strings.TrimSpace(line) == "" {
			continue
		}
		want := decodeRow(t, plain, mustRead(t, "e.jsonl", line, plain)[0])
		row := mustRead(t, "e.jsonl", line, &moved)[0]
		have := decodeRow(t, &moved, row)
		if want.reason != "" {
			continue // what is of the wrong type in a value may be a text in a header
		}
		accepted++
		if have.reason != "" || have.time != want.time || row.Time != want.time || !slices.Equal(have.fields, want.fields) {
			t.Fatalf("%s\nkey %q, headers %q, time %d\nhave %+v\nwant %+v", line, row.Key, row.Headers, row.Time, have, want)
		}
	}
	if accepted < 20 {
		t.Errorf("only %d records were accepted", accepted)
	}
}

func decodeRow(t *testing.T, s *features.Source, row decode.EventRow) verdict {
	t.Helper()
	fields := make([]windows.Value, len(s.Fields))
	us, reason, _ := decode.New(s).Decode(&batch.Record{Key: row.Key, Value: row.Value, Headers: row.Headers}, fields)
	if reason != "" {
		return verdict{reason: reason}
	}
	return verdict{fields: fields, time: us}
}

// rowText is an event as a text: key, headers and value.
func rowText(r decode.EventRow) string {
	parts := []string{fmt.Sprintf("%q", r.Key)}
	if r.Key == nil {
		parts[0] = "none"
	}
	for _, h := range r.Headers {
		parts = append(parts, fmt.Sprintf("%s=%q", h.Key, h.Value))
	}
	return strings.Join(parts, " ") + " " + string(r.Value)
}

// TestEvents_ApartOf says what becomes of the columns and members of fields that are read from the key and headers.
func TestEvents_ApartOf(t *testing.T) {
	for _, c := range []struct {
		name, content string
		format        features.Format
		want          []string
		time          int64 // of the first
	}{
		{"e.csv", "ts,user,tenant,page,n,ok\n1700000000000,ann,acme,/home,7.0,true\n,,,,,\n1,bob,\"a, b\",,x,\xff\n", features.JSON, []string{
			`"ann" x-tenant="acme" n="7.0" ok="true" sent="1700000000000" {"page":"/home"}`,
			`none {}`,
			`"bob" x-tenant="a, b" n="x" ok="\xff" sent="1" {}`,
		}, 1_700_000_000_000_000},
		{"e.csv", "page,ts,user,tenant\n\"a,b\",1700000000000,ann,acme\n,1,,\n", features.CSV, []string{
			`"ann" x-tenant="acme" sent="1700000000000" "a,b"`,
			`none sent="1" ""`,
		}, 1_700_000_000_000_000},
		{"e.jsonl", `{"ts":1700000000000,"user":"ann","tenant":"a\u0020b","page":"/home","n":1e3}` + "\n" + `{"user":null,"tenant":"","ok":false}` + "\n" + `{"user":{"id": 7},"tenant":[1, 2]}` + "\n" + `{"user":"ann"` + "\n" + `{"user":"","user":"x"}`, features.JSON, []string{
			`"ann" x-tenant="a b" n="1e3" sent="1700000000000" {"ts":1700000000000,"user":"ann","tenant":"a\u0020b","page":"/home","n":1e3}`,
			`none x-tenant="" ok="false" {"user":null,"tenant":"","ok":false}`,
			`"{\"id\": 7}" x-tenant="[1, 2]" {"user":{"id": 7},"tenant":[1, 2]}`,
			`none {"user":"ann"`,
			`none {"user":"","user":"x"}`,
		}, 1_700_000_000_000_000},
	} {
		rows := mustRead(t, c.name, c.content, apartSource(c.format))
		var have []string
		for _, r := range rows {
			have = append(have, rowText(r))
		}
		if !slices.Equal(have, c.want) || rows[0].Time != c.time {
			t.Errorf("%s, %s, time %d:\nhave %s\nwant %s", c.name, c.format, rows[0].Time, strings.Join(have, "\n     "), strings.Join(c.want, "\n     "))
		}
	}
}

// TestEvents_KeyFromHeader: the topic may be partitioned by a field that stands in a header too.
func TestEvents_KeyFromHeader(t *testing.T) {
	s := apartSource(features.JSON)
	s.Fields, s.Key = s.Fields[1:], "n"
	if r := mustRead(t, "e.csv", "ts,n\n1,7.0\n", s)[0]; rowText(r) != `"7" n="7.0" sent="1" {}` {
		t.Error(rowText(r))
	}
}

// TestApart_Allocations: reading keys and headers costs none either.
func TestApart_Allocations(t *testing.T) {
	d := decode.New(apartSource(features.JSON))
	rec := &batch.Record{Key: []byte("żółć"), Value: []byte(`{"page":"/home"}`), Headers: headers("x-tenant", "acme", "n", "-17", "price", "1.5", "ok", "true", "seen", "2024-05-06T07:08:09Z", "sent", "1700000000000")}
	fields := make([]windows.Value, 8)
	if n := testing.AllocsPerRun(1000, func() {
		if _, reject, detail := d.Decode(rec, fields); reject != "" {
			t.Fatal(detail)
		}
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

func BenchmarkJSON_apart(b *testing.B) {
	s := ysbfSource()
	s.Fields[0].From = features.FromKey
	s.Fields[1].From, s.Fields[1].Header = features.FromHeader, "x-campaign"
	d := decode.New(s)
	rec := &batch.Record{Key: []byte("u0000123"), Value: []byte(ysbf), Headers: headers("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x-campaign", "c00003")}
	fields := make([]windows.Value, 3)
	b.ReportAllocs()
	for b.Loop() {
		if _, reject, detail := d.Decode(rec, fields); reject != "" {
			b.Fatal(detail)
		}
	}
}
