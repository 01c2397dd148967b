package dashboard_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"highwater/deploy/dashboard"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// fakeProm answers every range query by what it is about, and remembers the queries.
type fakeProm struct {
	*httptest.Server
	queries []string
}

func newFakeProm(t *testing.T) *fakeProm {
	t.Helper()
	f := &fakeProm{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.FormValue("query")
		f.queries = append(f.queries, query)
		start, _ := strconv.ParseFloat(r.FormValue("start"), 64)
		step, _ := strconv.ParseFloat(r.FormValue("step"), 64)
		var result []map[string]any
		switch {
		case strings.Contains(query, "broken"):
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"status":"error","errorType":"bad_data","error":"no such function"}`)
			return
		case strings.HasPrefix(query, "max by (alertname"):
			values := [][2]any{{start + 3*step, "1"}, {start + 4*step, "1"}, {start + 9*step, "1"}}
			result = []map[string]any{{"metric": map[string]string{"alertname": "HighwaterBacklog", "severity": "warning"}, "values": values}}
		case strings.HasPrefix(query, "changes("):
			result = []map[string]any{{"metric": map[string]string{"instance": "w1"}, "values": [][2]any{{start + 5*step, "1"}}}}
		case strings.Contains(query, "nothing"):
		default:
			var values [][2]any
			for i := range 20 {
				values = append(values, [2]any{start + float64(i)*step, strconv.Itoa(i)})
			}
			result = []map[string]any{{"metric": map[string]string{"view": `<b>"users"`, "topic": "clicks", "partition": "0"}, "values": values}}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "matrix", "result": result}})
	}))
	t.Cleanup(f.Close)
	return f
}

func render(t *testing.T, f *fakeProm, text string) (string, error) {
	t.Helper()
	var page bytes.Buffer
	err := dashboard.Render(t.Context(), &page, dashboard.Options{Dashboard: []byte(text), Prometheus: f.URL, From: noon, To: noon.Add(19 * time.Second)})
	return page.String(), err
}

// The dashboard that is shipped can be drawn: all of it, with its alerts, and with its variables filled in.
func TestRender_TheShippedDashboard(t *testing.T) {
	text, err := os.ReadFile("../grafana/highwater.json")
	if err != nil {
		t.Fatal(err)
	}
	f := newFakeProm(t)
	page, err := render(t, f, string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<h3>From event to published</h3>", "12:00:03", "HighwaterBacklog: 12:00:03 to 12:00:05 UTC", `class="band warning"`, `class="start"`, "Alerts that fired", "2026-01-15 12:00:00 to 12:00:19 UTC"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(page, "<td>2s</td>") + strings.Count(page, "<td>1s</td>"); n != 2 {
		t.Errorf("%d of the two times that the alert fired are listed", n)
	}
	for _, q := range f.queries {
		if strings.Contains(q, "$") {
			t.Errorf("a variable was left in %s", q)
		}
	}
	if len(f.queries) < 50 {
		t.Errorf("only %d queries were sent", len(f.queries))
	}
	if strings.Contains(page, "<b>\"users\"") {
		t.Error("a label's value is not escaped")
	}
}

func onePanel(kind, extra string) string {
	return fmt.Sprintf(`{"title":"T","panels":[{"type":%q,"title":"P","gridPos":{"x":0,"y":0,"w":12,"h":8},%s}]}`, kind, extra)
}

func TestRender_Curves(t *testing.T) {
	f := newFakeProm(t)
	tests := map[string]struct{ panel, want, not string }{
		"a curve, and the last and greatest value": {
			onePanel("timeseries", `"targets":[{"expr":"up","legendFormat":"{{topic}}/{{ partition }}"}],"fieldConfig":{"defaults":{"unit":"s"}}`),
			`</span>clicks/0<em>19 s</em> <small>max 19 s</small>`, `class="stack`,
		},
		"a stack": {
			onePanel("timeseries", `"targets":[{"expr":"up","legendFormat":"up"}],"fieldConfig":{"defaults":{"custom":{"stacking":{"mode":"normal"}}}}`),
			`<path class="stack c0" d="M`, `class="line c0"`,
		},
		"a line to compare with takes no colour": {
			onePanel("timeseries", `"targets":[{"expr":"up","legendFormat":"limit"}],"fieldConfig":{"overrides":[{"matcher":{"id":"byRegexp","options":"/^limit$/"}}]}`),
			`<path class="compare" d=`, `<path class="line`,
		},
		"a threshold within reach": {
			onePanel("timeseries", `"targets":[{"expr":"up"}],"fieldConfig":{"defaults":{"custom":{"thresholdsStyle":{"mode":"dashed"}},"thresholds":{"steps":[{"value":null},{"value":10}]}}}`),
			`<line class="compare"`, "nothing in this time",
		},
		"a threshold far beyond the curve would flatten it": {
			onePanel("timeseries", `"targets":[{"expr":"up"}],"fieldConfig":{"defaults":{"custom":{"thresholdsStyle":{"mode":"dashed"}},"thresholds":{"steps":[{"value":null},{"value":1000}]}}}`),
			`<path class="line c0"`, `<line class="compare"`,
		},
		"no series": {
			onePanel("timeseries", `"targets":[{"expr":"nothing"}]`), "nothing in this time", `class="line c0"`,
		},
		"a stat by its threshold": {
			onePanel("stat", `"targets":[{"expr":"up"}],"fieldConfig":{"defaults":{"unit":"percentunit","thresholds":{"steps":[{"value":null,"color":"green"},{"value":19,"color":"red"}]}}}`),
			`class="cell stat red"`, `stat green"`,
		},
		"a stat with the decimals that it asks for": {
			onePanel("stat", `"targets":[{"expr":"up"}],"fieldConfig":{"defaults":{"unit":"percentunit","decimals":-3}}`),
			`<b>2000 %</b>`, `<b>1900 %</b>`,
		},
		"a stat without a value": {
			onePanel("stat", `"targets":[{"expr":"nothing"}]`), `stat none`, `stat red"`,
		},
		"no alert": {
			onePanel("state-timeline", `"targets":[{"expr":"nothing"}]`), "no alert fired", `class="state`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			page, err := render(t, f, tt.panel)
			_, board, _ := strings.Cut(page, `<div class="board">`)
			if err != nil || !strings.Contains(board, tt.want) || strings.Contains(board, tt.not) {
				t.Errorf("%v; want %q and not %q in\n%.3000s", err, tt.want, tt.not, board)
			}
		})
	}
}

func TestRender_SaysWhatItCannotDraw(t *testing.T) {
	f := newFakeProm(t)
	for text, want := range map[string]string{
		`[`:                                 "read the dashboard",
		onePanel("heatmap", `"targets":[]`): `panel "P" is a heatmap`,
		onePanel("stat", `"targets":[{"expr":"broken"}]`):                                               `panel "P": query broken`,
		onePanel("stat", `"fieldConfig":{"overrides":[{"matcher":{"id":"byName","options":"x"}}]}`):     "only byRegexp is known",
		onePanel("stat", `"fieldConfig":{"overrides":[{"matcher":{"id":"byRegexp","options":"/(/"}}]}`): `panel "P"`,
		`{"annotations":{"list":[{"name":"Alerts","expr":"broken"}]}}`:                                  `annotation "Alerts"`,
	} {
		if _, err := render(t, f, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	err := dashboard.Render(t.Context(), &bytes.Buffer{}, dashboard.Options{Dashboard: []byte("{}"), Prometheus: f.URL, From: noon, To: noon})
	if err == nil || !strings.Contains(err.Error(), "the end is not after the beginning") {
		t.Errorf("an empty stretch of time: %v", err)
	}
}
