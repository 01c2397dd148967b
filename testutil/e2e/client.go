package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"highwater/features"
	"highwater/windows"
)

// Client asks a Highwater over HTTP.
type Client struct {
	Base string // http://HOST:PORT
}

// Row is one entity's features as POST /v1/features has answered.
type Row struct {
	Values   []windows.Value
	Statuses []string
	Times    []int64 // as_of, µs; windows.NoTime for null
}

// answer is the body of an answer to POST /v1/features.
type answer struct {
	Names []string `json:"feature_names"`
	Rows  []struct {
		Values   []json.RawMessage `json:"values"`
		Statuses []string          `json:"statuses"`
		AsOf     []*string         `json:"as_of"`
	} `json:"rows"`
}

// View asks for all of a view's features of those entities, in one request. Rows come in the order of the entities.
func (c Client) View(tb testing.TB, v *features.View, entities []*Entity) []Row {
	tb.Helper()
	request := map[string]any{}
	var names []string
	for _, f := range v.Features {
		names = append(names, v.Name+":"+f.Name)
	}
	var keys []map[string]any
	for _, e := range entities {
		key := map[string]any{}
		for i, k := range v.Entity.JoinKeys {
			key[k.Name] = e.Keys[i].Str()
			if k.Kind == windows.Int64 {
				key[k.Name] = e.Keys[i].Int()
			}
		}
		keys = append(keys, key)
	}
	request["features"], request["entities"] = names, keys
	body, err := json.Marshal(request)
	if err != nil {
		tb.Fatal(err)
	}
	status, text := c.Post(tb, "/v1/features", body)
	var a answer
	if err := json.Unmarshal(text, &a); status != http.StatusOK || err != nil || len(a.Rows) != len(entities) || strings.Join(a.Names, " ") != strings.Join(names, " ") {
		tb.Fatalf("ask for view %s of %d entities: status %d, %d rows of %v, %v: %.300s", v.Name, len(entities), status, len(a.Rows), a.Names, err, text)
	}
	rows := make([]Row, len(a.Rows))
	for i, r := range a.Rows {
		rows[i].Statuses = r.Statuses
		for f := range v.Features {
			rows[i].Values = append(rows[i].Values, parse(tb, r.Values[f], v.Features[f].Kind))
			rows[i].Times = append(rows[i].Times, parseTime(tb, r.AsOf[f]))
		}
	}
	return rows
}

// parse reads a feature's value from JSON. A double must have a decimal point or an exponent, and an int64 none.
func parse(tb testing.TB, raw json.RawMessage, kind windows.Kind) windows.Value {
	tb.Helper()
	text := string(raw)
	var err error
	if text == "null" {
		return windows.Value{}
	}
	switch kind {
	case windows.Int64:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		if err == nil {
			return windows.IntOf(n)
		}
	case windows.Double:
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		if err == nil && strings.ContainsAny(text, ".e") {
			return windows.DoubleOf(f)
		}
	case windows.Bool:
		var b bool
		if err = json.Unmarshal(raw, &b); err == nil {
			return windows.BoolOf(b)
		}
	case windows.String:
		var s string
		if err = json.Unmarshal(raw, &s); err == nil {
			return windows.StringOf(s)
		}
	case windows.Timestamps:
		var all []*string
		if err = json.Unmarshal(raw, &all); err == nil {
			times := make([]int64, len(all))
			for i, t := range all {
				times[i] = parseTime(tb, t)
			}
			return windows.TimesOf(times)
		}
	}
	tb.Fatalf("a value of kind %s reads %s (%v)", kind, text, err)
	return windows.Value{}
}

// parseTime reads RFC 3339 with milliseconds, in UTC, to µs.
func parseTime(tb testing.TB, text *string) int64 {
	tb.Helper()
	if text == nil {
		return windows.NoTime
	}
	t, err := time.Parse("2006-01-02T15:04:05.000Z", *text)
	if err != nil {
		tb.Fatal(err)
	}
	return t.UnixMicro()
}

// Post sends a body and returns what came back.
func (c Client) Post(tb testing.TB, path string, body []byte) (status int, answer []byte) {
	tb.Helper()
	return c.do(tb, http.MethodPost, path, body)
}

// Get returns what a path answers.
func (c Client) Get(tb testing.TB, path string) (status int, answer []byte) {
	tb.Helper()
	return c.do(tb, http.MethodGet, path, nil)
}

func (c Client) do(tb testing.TB, method, path string, body []byte) (int, []byte) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, c.Base+path, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, text
}
