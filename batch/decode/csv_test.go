package decode_test

import (
	"encoding/csv"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/features"
	"highwater/windows"
)

// csvSource is source with its event time among the fields, where CSV needs it.
func csvSource() *features.Source {
	s := source(features.CSV)
	s.Fields = append(s.Fields, features.Field{Name: "ts", Kind: windows.Int64})
	return s
}

func TestCSV_Decisions(t *testing.T) {
	null := windows.Value{}
	row := func(user, n, price, ok, seen windows.Value) []windows.Value {
		return []windows.Value{user, n, price, ok, seen, windows.IntOf(1)}
	}
	for _, c := range []struct {
		record string
		want   []windows.Value
		reason batch.Reason
		detail string
	}{
		{record: `ann,7,1.5,true,2024-01-01T00:00:00Z,1`, want: row(windows.StringOf("ann"), windows.IntOf(7), windows.DoubleOf(1.5), windows.BoolOf(true), windows.TimeOf(1704067200000000))},
		{record: `,,,,,1`, want: row(null, null, null, null, null)},
		{record: `"","",,,,1`, want: row(null, null, null, null, null)},
		{record: `"a ""quoted"", cell",1e3,3,false,1704067200000,"1"` + "\r\n", want: row(windows.StringOf(`a "quoted", cell`), windows.IntOf(1000), windows.DoubleOf(3), windows.BoolOf(false), windows.TimeOf(1704067200000000))},
		{record: "\"two\nlines\",,,,,1\n", want: row(windows.StringOf("two\nlines"), null, null, null, null)},
		{record: ` ann ,,,,,1`, want: row(windows.StringOf(" ann "), null, null, null, null)},

		{record: ``, reason: batch.ReasonMalformed, detail: "the record has no value (a tombstone?): want a CSV row"},
		{record: `ann,7`, reason: batch.ReasonMalformed, detail: "the row has 2 cells, the source declares 6 fields"},
		{record: `ann,,,,,1,`, reason: batch.ReasonMalformed, detail: "the row has 7 cells, the source declares 6 fields"},
		{record: `an"n,,,,,1`, reason: batch.ReasonMalformed, detail: "cell 1: a quote inside a cell that is not quoted at byte 2"},
		{record: `"ann,,,,,1`, reason: batch.ReasonMalformed, detail: "cell 1: a quoted cell has no closing quote at byte 10"},
		{record: `"ann"x,,,,,1`, reason: batch.ReasonMalformed, detail: `cell 1: want ',' after a quoted cell, have "x" at byte 5`},
		{record: "ann,,,,,1\nbob,,,,,1", reason: batch.ReasonMalformed, detail: "cell 6: a line end outside quotes"},
		{record: "ann,,,,,1\n\n", reason: batch.ReasonMalformed, detail: "a line end outside quotes"},
		{record: "a\xff,,,,,1", reason: batch.ReasonMalformed, detail: "bad UTF-8: 0xFF at byte 1"},
		{record: `ann,seven,,,,1`, reason: batch.ReasonType, detail: `field n: want an int64, have "seven" at byte 4`},
		{record: `ann, 7,,,,1`, reason: batch.ReasonType, detail: `have " 7"`},
		{record: `ann,1.5,,,,1`, reason: batch.ReasonType, detail: "have the number 1.5"},
		{record: `ann,,Infinity,,,1`, reason: batch.ReasonType, detail: "field price: want a double"},
		{record: `ann,,,TRUE,,1`, reason: batch.ReasonType, detail: `field ok: want a bool, have "TRUE"`},
		{record: `ann,,,,soon,1`, reason: batch.ReasonType, detail: `field seen_at: want a timestamp (RFC 3339, or an integer of milliseconds), have the string "soon"`},
		{record: `ann,,,,,now`, reason: batch.ReasonType, detail: `field ts: want the event time, an integer of milliseconds, have "now"`},
		{record: `ann,,,,,`, reason: batch.ReasonNoTime, detail: "field ts: absent or null"},
		{record: `ann,,,,,999999999999999999`, reason: batch.ReasonAbsurd, detail: "outside the years 1 to 9999"},
	} {
		s := csvSource()
		got, detail := decodeOne(decode.New(s), s, c.record)
		if got.reason != c.reason || !strings.Contains(detail, c.detail) || (c.reason == "") != (detail == "") {
			t.Errorf("%q\nhave %q: %q\nwant %q: …%s…", c.record, got.reason, detail, c.reason, c.detail)
		}
		for i := range c.want {
			if c.reason == "" && got.reason == "" && got.fields[i] != c.want[i] {
				t.Errorf("%q, field %d: have %+v, want %+v", c.record, i, got.fields[i], c.want[i])
			}
		}
	}
}

// TestCSV_TimeDeclaredAsString: the event time may be declared as any type that holds it.
func TestCSV_TimeDeclaredAsString(t *testing.T) {
	for unit, cell := range map[features.Unit]string{features.Seconds: "1700000000", features.RFC3339: "2023-11-14T22:13:20Z"} {
		s := &features.Source{Format: features.CSV, Timestamp: features.Timestamp{Field: "ts", Unit: unit}, Fields: []features.Field{{Name: "ts", Kind: windows.String}}}
		got, detail := decodeOne(decode.New(s), s, cell)
		if got.time != 1_700_000_000_000_000 || got.reason != "" || got.fields[0] != windows.StringOf(cell) {
			t.Errorf("unit %s: %+v %s", unit, got, detail)
		}
	}
}

// TestCSV_Oracle compares rows of random cells and damages of them with encoding/csv, over a source of strings.
func TestCSV_Oracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), 3))
	for range 5_000 {
		var cells []string
		for range 3 {
			cells = append(cells, pick(rng, "", "a", `""`, `"x,y"`, `"x""y"`, "\"x\ny\"", "é", " b "))
		}
		row := strings.Join(cells, ",") + pick(rng, "", "\n")
		checkCSV(t, row)
		checkCSV(t, damaged(rng, row))
	}
}

func FuzzCSV(f *testing.F) {
	for _, row := range []string{"a,b,c", `"a""",,` + "\n", "\"a\n\",\"\",x"} {
		f.Add(row)
	}
	f.Fuzz(checkCSV)
}

func checkCSV(t *testing.T, row string) {
	t.Helper()
	if strings.Contains(row, "\r") || !utf8.ValidString(row) || strings.TrimSuffix(row, "\n") == "" {
		return // encoding/csv changes CR LF within quotes, lets bad UTF-8 through, and passes over empty lines
	}
	s := &features.Source{Format: features.CSV}
	for _, name := range []string{"a", "b", "c"} {
		s.Fields = append(s.Fields, features.Field{Name: name, Kind: windows.String})
	}
	rows, err := csv.NewReader(strings.NewReader(row)).ReadAll()
	short := strings.TrimSuffix(row, "\n")
	want := err == nil && len(rows) == 1 && len(rows[0]) == 3 && !strings.HasPrefix(short, "\n") && !strings.HasSuffix(short, "\n")
	fields := make([]windows.Value, 3)
	_, reason, detail := decode.New(s).Decode(&batch.Record{Time: 1, Value: []byte(row)}, fields)
	if (reason == "") != want {
		t.Errorf("%q: have %q %s; encoding/csv: %q %v", row, reason, detail, rows, err)
		return
	}
	for i := range fields {
		if want && fields[i].Str() != rows[0][i] {
			t.Errorf("%q, cell %d: have %q, want %q", row, i, fields[i].Str(), rows[0][i])
		}
	}
}
