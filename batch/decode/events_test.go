package decode_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/features"
	"highwater/windows"
)

// readAll returns all rows, and the error that ended them.
func readAll(e *decode.Events) (rows []decode.EventRow, err error) {
	for row, err := range e.Rows() {
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func mustRead(t *testing.T, name, content string, s *features.Source) []decode.EventRow {
	t.Helper()
	e, err := decode.NewEvents(name, strings.NewReader(content), s)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := readAll(e)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestEvents_CSVToJSON(t *testing.T) {
	s := source(features.JSON)
	got := mustRead(t, "e.csv", "\uFEFFts,user,n,price,ok,seen_at,\"page \"\"x\"\"\"\r\n"+
		"1700000000000,ann,7,1.50,true,1700000000000,/home\r\n"+
		"1700000000001,ann,,,,2023-11-14T22:13:20Z,\"a \"\"b\"\", \\\n\tc\x01\"\r\n"+
		"soon,7,1.5,+1,TRUE,later,7\n"+
		",,,,,,\n\n"+
		"1700000000002,,1e3,1e999,false,,é", s)
	want := []struct {
		key, value string
		time       int64
	}{
		{"ann", `{"ts":1700000000000,"user":"ann","n":7,"price":1.50,"ok":true,"seen_at":1700000000000,"page \u0022x\u0022":"/home"}`, 1_700_000_000_000_000},
		{"ann", `{"ts":1700000000001,"user":"ann","seen_at":"2023-11-14T22:13:20Z","page \u0022x\u0022":"a \u0022b\u0022, \u005c\u000a\u0009c\u0001"}`, 1_700_000_000_001_000},
		{"7", `{"ts":"soon","user":"7","n":"1.5","price":"+1","ok":"TRUE","seen_at":"later","page \u0022x\u0022":"7"}`, 0},
		{"", `{}`, 0},
		{"", `{"ts":1700000000002,"n":1e3,"price":"1e999","ok":false,"page \u0022x\u0022":"é"}`, 1_700_000_000_002_000},
	}
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i, w := range want {
		value := strings.NewReplacer(`\"`, `\u0022`, `\\`, `\u005c`).Replace(string(got[i].Value))
		if string(got[i].Key) != w.key || (got[i].Key == nil) != (w.key == "") || value != w.value || got[i].Time != w.time {
			t.Errorf("row %d\nhave %q %s %d\nwant %q %s %d", i, got[i].Key, value, got[i].Time, w.key, w.value, w.time)
		}
		if !json.Valid(got[i].Value) {
			t.Errorf("row %d is not JSON: %s", i, got[i].Value)
		}
	}
}

func TestEvents_RFC3339(t *testing.T) {
	s := source(features.JSON)
	s.Timestamp.Unit = features.RFC3339
	s.Key = "n"
	rows := mustRead(t, "e.csv", "ts,n\n2023-11-14T22:13:20Z,7.0\n1700000000,8\n", s)
	if r := rows[0]; string(r.Value) != `{"ts":"2023-11-14T22:13:20Z","n":7.0}` || r.Time != 1_700_000_000_000_000 || string(r.Key) != "7" {
		t.Errorf("%s %s %d", r.Key, r.Value, r.Time)
	}
	if r := rows[1]; string(r.Value) != `{"ts":"1700000000","n":8}` || r.Time != 0 || string(r.Key) != "8" { // a dead letter, with its key
		t.Errorf("%s %s %d", r.Key, r.Value, r.Time)
	}
}

func TestEvents_CSVToCSV(t *testing.T) {
	s := csvSource()
	rows := mustRead(t, "e.csv", "x,ts,ok,user\n9,1700000000000,true,\"a,\"\"b\"\"\"\n9,,,\n", s)
	if r := rows[0]; string(r.Value) != `"a,""b""",,,true,,1700000000000` || string(r.Key) != `a,"b"` || r.Time != 1_700_000_000_000_000 {
		t.Errorf("%q %q %d", r.Key, r.Value, r.Time)
	}
	if r := rows[1]; string(r.Value) != `,,,,,` || r.Key != nil || r.Time != 0 {
		t.Errorf("%q %q %d", r.Key, r.Value, r.Time)
	}
	one := &features.Source{Format: features.CSV, Fields: []features.Field{{Name: "a", Kind: windows.String}}}
	if r := mustRead(t, "e.csv", "a,b\n,1\n", one)[0]; string(r.Value) != `""` {
		t.Errorf("a single empty cell became %q", r.Value)
	}
}

// TestEvents_Lines: lines go through byte for byte, also those that will be dead letters.
func TestEvents_Lines(t *testing.T) {
	s := source(features.JSON)
	lines := []string{`{"ts":1700000000000, "user":"ann"}`, `not JSON`, ` `, `{"user":"bob"}`, `{"user":"bob","n":"x","ts":5}`, "{\"user\":\"\xff\"}", `{"user":"a","user":"b","ts":1}`, `{"x":"` + strings.Repeat("long", 50_000) + `","user":"cy","ts":6}`}
	want := []decode.EventRow{{Key: []byte("ann"), Time: 1_700_000_000_000_000}, {}, {}, {Key: []byte("bob")}, {Key: []byte("bob"), Time: 5000}, {}, {}, {Key: []byte("cy"), Time: 6000}}
	for name, content := range map[string]string{"LF": strings.Join(lines, "\n"), "CR LF, and a last one": strings.Join(lines, "\r\n") + "\r\n", "empty lines": "\n\r\n" + strings.Join(lines, "\n\n") + "\n\n"} {
		rows := mustRead(t, "e.jsonl", content, s)
		if len(rows) != len(lines) {
			t.Fatalf("%s: %d rows, want %d", name, len(rows), len(lines))
		}
		for i, r := range rows {
			if string(r.Value) != lines[i] || !bytes.Equal(r.Key, want[i].Key) || r.Time != want[i].Time {
				t.Errorf("%s, row %d: %q %.60q %d", name, i, r.Key, r.Value, r.Time)
			}
		}
	}
}

// TestEvents_UndeclaredKey: the topic may be keyed by a field that no view uses.
func TestEvents_UndeclaredKey(t *testing.T) {
	s := source(features.JSON)
	s.Key = "shard"
	rows := mustRead(t, "e.jsonl", `{"ts":1,"shard":"a"}`+"\n"+`{"ts":1,"shard":1.50}`+"\n"+`{"ts":1,"shard":true}`+"\n"+`{"ts":1,"shard":[]}`, s)
	for i, want := range []string{"a", "1.50", "true", "[]"} {
		if string(rows[i].Key) != want {
			t.Errorf("row %d: key %q, want %q", i, rows[i].Key, want)
		}
	}
}

func zipped(t *testing.T, content string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEvents_Errors(t *testing.T) {
	var many strings.Builder
	many.WriteString("ts,user\n")
	rng := rand.New(rand.NewPCG(4, 4))
	for range 5_000 {
		fmt.Fprintf(&many, "%d,%x\n", rng.Int64N(1e12), rng.Uint64())
	}
	whole := zipped(t, many.String())
	flipped := []byte(whole)
	flipped[len(flipped)-6] ^= 0xFF // in the checksum
	csvOnly := csvSource()
	for _, c := range []struct {
		name    string
		file    string
		content string
		source  *features.Source
		want    string // a part of the error
	}{
		{"a name that says nothing", "e.parquet", "", nil, "e.parquet: neither CSV nor JSON lines by its name; give a file that ends in .csv"},
		{"an empty file", "e.csv", "", nil, "e.csv:1: the file is empty; its first line must be a header"},
		{"an empty gzip", "e.csv.gz", "", nil, "e.csv.gz:1: not gzip"},
		{"not gzip", "e.csv.gz", "ts,user\n", nil, "e.csv.gz:1: not gzip"},
		{"gzip that does not say so", "e.csv", whole, nil, "e.csv:1: gzip by its first bytes; let its name end in .gz"},
		{"cut short", "e.csv.gz", whole[:len(whole)/2], nil, "the gzip data is cut short; copy the file again, whole: unexpected EOF"},
		{"cut short, lines", "e.jsonl.gz", whole[:len(whole)/2], nil, "the gzip data is cut short"},
		{"cut short in its last bytes", "e.csv.gz", whole[:len(whole)-3], nil, "e.csv.gz:5002: the gzip data is cut short"},
		{"a wrong checksum", "e.csv.gz", string(flipped), nil, "e.csv.gz:5002: the gzip data is damaged"},
		{"something behind the gzip", "e.csv.gz", whole + "more of it, and not gzip", nil, "followed by what is not gzip"},
		{"a short row", "e.csv", "ts,user\n1,a\n\n2\n", nil, "e.csv:4: the row has 1 cells, the header 2"},
		{"a long row, after one of two lines", "e.csv", "ts,user\n1,\"a\nb\"\n2,b,c\n", nil, "e.csv:4: the row has 3 cells, the header 2"},
		{"a stray quote", "e.csv", "ts,user\n1,a\"b\n", nil, "e.csv:2: column 4: a quote out of place"},
		{"an open quote", "e.csv", "ts,user\n1,\"ab\n", nil, "a quote out of place"},
		{"a name twice", "e.csv", "ts,user,ts\n", nil, `e.csv:1: columns 1 and 3 are both named "ts"`},
		{"a column without a name", "e.csv", "ts,,user\n", nil, "e.csv:1: column 2 has no name"},
		{"a name of other bytes", "e.csv", "ts,user,\xe9t\xe9\n", nil, "is not UTF-8"},
		{"no timestamp", "e.csv", "time,user\n", nil, `e.csv:1: no column "ts", the timestamp field of source events; the header has time, user`},
		{"no key", "e.csv", "ts,n\n", nil, `e.csv:1: no column "user", the key of source events`},
		{"no field at all", "e.csv", "ts,a,b\n", keyless(), "e.csv:1: no column for any field of source events (user, n, price, ok, seen_at); the header has ts, a, b"},
		{"lines for a csv source", "e.jsonl", "{}", csvOnly, "e.jsonl:1: JSON lines, but source events has format csv"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.source
			if s == nil {
				s = source(features.JSON)
			}
			e, err := decode.NewEvents(c.file, strings.NewReader(c.content), s)
			if err == nil {
				_, err = readAll(e)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("have %v\nwant …%s…", err, c.want)
			}
		})
	}
	if _, err := decode.OpenEvents(filepath.Join(t.TempDir(), "none.csv"), source(features.JSON)); err == nil || !strings.Contains(err.Error(), "none.csv: no such file") {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := decode.NewEvents("e.csv.gz", iotestErrReader{}, source(features.JSON)); !errors.Is(err, errDisk) {
		t.Errorf("a broken disk: %v", err)
	}
}

var errDisk = errors.New("disk on fire")

type iotestErrReader struct{}

func (iotestErrReader) Read([]byte) (int, error) { return 0, errDisk }

func keyless() *features.Source {
	s := source(features.JSON)
	s.Key = ""
	return s
}

// TestEvents_Fresh: rows keep their bytes while later ones are read, and reading may stop and go on.
func TestEvents_Fresh(t *testing.T) {
	var content strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&content, `{"ts":%d,"user":"u%d","x":"%s"}`+"\n", i+1, i, strings.Repeat("x", i%500*(i%40)))
	}
	path := filepath.Join(t.TempDir(), "e.jsonl")
	if err := os.WriteFile(path, []byte(content.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := decode.OpenEvents(path, source(features.JSON))
	if err != nil {
		t.Fatal(err)
	}
	var rows []decode.EventRow
	for row := range e.Rows() {
		if rows = append(rows, row); len(rows) == 10 {
			break
		}
	}
	rest, err := readAll(e)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range append(rows, rest...) {
		_ = append(row.Value, "clobber"...) // must not reach a neighbour
		if string(row.Key) != fmt.Sprintf("u%d", i) || row.Time != int64(i+1)*1000 || !json.Valid(row.Value) {
			t.Fatalf("row %d: %s %d %.80s", i, row.Key, row.Time, row.Value)
		}
	}
	if n := len(rows) + len(rest); n != 3000 {
		t.Errorf("%d rows", n)
	}
	if read, total := e.Progress(); read != int64(content.Len()) || total != read {
		t.Errorf("progress %d of %d, want %d", read, total, content.Len())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestEvents_Examples reads the real files as the examples declare them: every row decodes, and says what the CSV says.
func TestEvents_Examples(t *testing.T) {
	str, i64, dbl := windows.String, windows.Int64, windows.Double
	for _, c := range []struct {
		file, key string
		time      features.Timestamp
		fields    []features.Field
		rows      int
	}{
		{"ads/open_bandit_men_2019-11.csv.gz", "user_segment", features.Timestamp{Field: "ts_ms", Unit: features.Milliseconds},
			[]features.Field{{Name: "user_segment", Kind: str}, {Name: "campaign", Kind: str}, {Name: "item", Kind: str}, {Name: "event_type", Kind: str}}, 20_115},
		{"logs/nasa_http_1995-08-01.csv.gz", "host_hash", features.Timestamp{Field: "ts_s", Unit: features.Seconds},
			[]features.Field{{Name: "host_hash", Kind: str}, {Name: "url", Kind: str}, {Name: "status", Kind: i64}, {Name: "bytes", Kind: i64}}, 33_996},
		{"surge/nyc_green_taxi_2022-03-07_week.csv.gz", "zone", features.Timestamp{Field: "ts_s", Unit: features.Seconds},
			[]features.Field{{Name: "event", Kind: str}, {Name: "zone", Kind: i64}, {Name: "amount", Kind: dbl}}, 35_489},
	} {
		for _, format := range []features.Format{features.JSON, features.CSV} {
			s := &features.Source{Name: "s", Format: format, Key: c.key, Timestamp: c.time, Fields: c.fields}
			if format == features.CSV {
				s.Fields = append(append([]features.Field{}, c.fields...), features.Field{Name: c.time.Field, Kind: i64})
			}
			checkExample(t, filepath.Join("../../examples", c.file), s, c.rows)
		}
	}
}

func checkExample(t *testing.T, path string, s *features.Source, want int) {
	t.Helper()
	e, err := decode.OpenEvents(path, s)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if missing := e.Missing(); len(missing) > 0 {
		t.Errorf("%s: lacks %v", path, missing)
	}
	rows, err := readAll(e)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	cells, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != want || len(cells) != want+1 {
		t.Fatalf("%s: %d rows, want %d", path, len(rows), want)
	}
	column := map[string]int{}
	for i, name := range cells[0] {
		column[name] = i
	}
	d := decode.New(s)
	fields := make([]windows.Value, len(s.Fields))
	for i, row := range rows {
		us, reason, detail := d.Decode(&batch.Record{Value: row.Value}, fields)
		if reason != "" || us != row.Time || string(row.Key) != cells[i+1][column[s.Key]] {
			t.Fatalf("%s, row %d, %s: %q %s; time %d, key %q", path, i, row.Value, reason, detail, row.Time, row.Key)
		}
		for j, f := range s.Fields {
			if have, want := text(fields[j]), cells[i+1][column[f.Name]]; have != want {
				t.Fatalf("%s, row %d, field %s: %q, want %q", path, i, f.Name, have, want)
			}
		}
	}
}

// text spells a value as the example files do.
func text(v windows.Value) string {
	switch v.Kind() {
	case windows.Int64:
		return fmt.Sprint(v.Int())
	case windows.Double:
		return fmt.Sprint(v.Double())
	}
	return v.Str()
}

func BenchmarkEvents_CSVToJSON(b *testing.B) {
	var content strings.Builder
	content.WriteString("ts,user,n,price,page\n")
	for i := range 10_000 {
		fmt.Fprintf(&content, "%d,u%07d,%d,%d.25,/home\n", 1_700_000_000_000+i, i, i%100, i%1000)
	}
	s := source(features.JSON)
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		e, err := decode.NewEvents("e.csv", strings.NewReader(content.String()), s)
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range e.Rows() {
			if err != nil {
				b.Fatal(err)
			}
			rows++
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

// FuzzEvents: whatever an event file holds, it is read to its end, or to an error that names the file and a line; and every row of it decodes, or is a dead letter for a reason.
func FuzzEvents(f *testing.F) {
	f.Add(true, "ts,user,n,price,ok,seen_at\n1700000000000,ann,7,1.50,true,2023-11-14T22:13:20Z\n,\"a\"\"b\",,,,\n")
	f.Add(true, "\uFEFFts,user\r\n\"1\n\",x\r\n\n")
	f.Add(false, `{"ts":1700000000000,"user":"ann","n":7}`+"\n\n"+` { "ts" : 1 } `+"\n{")
	f.Add(false, "[]\n\xff\n")
	s := source(features.JSON)
	d := decode.New(s)
	f.Fuzz(func(t *testing.T, isCSV bool, content string) {
		name := "e.jsonl"
		if isCSV {
			name = "e.csv"
		}
		e, err := decode.NewEvents(name, strings.NewReader(content), s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), name) {
				t.Fatalf("an error that does not name the file: %v", err)
			}
			return
		}
		rows, err := readAll(e)
		if err != nil && !strings.HasPrefix(err.Error(), name+":") && !strings.HasPrefix(err.Error(), name+", line ") {
			t.Fatalf("an error that names no line: %v", err)
		}
		if lines := strings.Count(content, "\n") + 1; len(rows) > lines {
			t.Fatalf("%d rows of %d lines", len(rows), lines)
		}
		fields := make([]windows.Value, len(s.Fields))
		for _, row := range rows {
			us, reason, detail := d.Decode(&batch.Record{Key: row.Key, Value: row.Value, Headers: row.Headers}, fields)
			if isCSV && !json.Valid(row.Value) {
				t.Fatalf("a row became %q, which is not JSON", row.Value)
			}
			if reason == "" && us != row.Time || (reason == "") != (detail == "") {
				t.Fatalf("%q: time %d, the loader says %d; reason %q, detail %q", row.Value, us, row.Time, reason, detail)
			}
		}
	})
}
