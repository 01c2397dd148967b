package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"highwater/api"
	"highwater/features"
	"highwater/serve"
	"highwater/serve/servetest"
	"highwater/windows"
)

// noon is the wall clock of these tests.
var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

var clicksSchema = servetest.Schema("c1", "clicks", "int64", "spend", "double", "recent", "timestamps", "page", "string", "seen", "bool", "last_at", "timestamp")

// ads is a project whose views have features of every kind, and entities of one and of two join keys.
func ads() *features.Catalogue {
	return &features.Catalogue{
		Project: "ads", Clock: features.WallClock, Tasks: 1,
		Entities: []features.CatalogueEntity{
			{Name: "user", JoinKeys: []features.CatalogueJoinKey{{Name: "user_id", Type: "string"}}},
			{Name: "campaign", JoinKeys: []features.CatalogueJoinKey{{Name: "campaign_id", Type: "int64"}}},
			{Name: "pair", JoinKeys: []features.CatalogueJoinKey{{Name: "user_id", Type: "string"}, {Name: "campaign_id", Type: "int64"}}},
		},
		Views: []features.CatalogueView{
			{Name: "user_clicks", Entity: "user", TTL: time.Hour, Schema: clicksSchema},
			{Name: "campaign_ctr", Entity: "campaign", Schema: servetest.Schema("r1", "ctr", "double")},
			{Name: "pair_seen", Entity: "pair", Schema: servetest.Schema("p1", "times", "int64")},
		},
		Services: []features.CatalogueService{{Name: "ranker", Features: []string{"user_clicks:clicks", "user_clicks:spend", "campaign_ctr:ctr"}}},
	}
}

func micros(t time.Time) int64 { return t.UnixMicro() }

// fill stores an entity in every state that a caller can meet.
func fill(store *servetest.Store) {
	store.SetCatalogue(ads())
	version := features.Version{Generation: 2, Sequence: 7}
	store.SetMark(features.TaskMark{Found: true, Version: version, Frontier: micros(noon.Add(-time.Second))})
	at := micros(noon.Add(-time.Minute))
	clicks := func(user string, values ...windows.Value) features.StoredVector {
		return features.StoredVector{View: "user_clicks", Entity: user, Version: version, Schema: clicksSchema, Frontier: at, EventTime: at - 1_500, Values: values}
	}
	some := []windows.Value{windows.IntOf(9007199254740993), windows.DoubleOf(1), windows.TimesOf([]int64{at - 2_000_000, at}), windows.StringOf("a\"b\\\n\x01é\u2028<&>\xff"), windows.BoolOf(true), windows.TimeOf(at + 999)}
	store.Put(clicks("u1", some...))
	store.Put(clicks("a/b c", some...))
	store.Put(clicks("100%25", some...))
	store.Put(clicks("nulls", make([]windows.Value, 6)...))
	old := clicks("old", some...)
	old.EventTime = micros(noon.Add(-time.Hour))
	store.Put(old)
	tombstone := clicks("tombstone")
	tombstone.Tombstone = true
	store.Put(tombstone)
	leftOver := clicks("left_over", some...)
	leftOver.Version.Generation = 1
	store.Put(leftOver)
	store.Put(features.StoredVector{View: "campaign_ctr", Entity: "7", Version: version, Schema: servetest.Schema("r1", "ctr", "double"), Frontier: at, EventTime: at, Values: []windows.Value{windows.DoubleOf(1e21)}})
	store.Put(features.StoredVector{View: "pair_seen", Entity: servetest.Entity("a/b", -7), Version: version, Schema: servetest.Schema("p1", "times", "int64"), Frontier: at, EventTime: at, Values: []windows.Value{windows.IntOf(4)}})
	store.Beat(features.Heartbeat{Task: 0, Address: "127.0.0.1:9090", Time: micros(noon.Add(-1250 * time.Millisecond)), Status: []byte(`{"task":0,"generation":2,"sequence":7,"frontier":"2026-01-15T11:59:59.000Z","watermark":null,"records_behind":12,
		"last_batches":[{"sequence":7,"records":10,"vectors":3,"stages":{"plan":0.001,"read":0.002,"transform":0.003,"publish":0.004,"commit":0.005}}]}`)})
	store.Beat(features.Heartbeat{Task: 1, Time: micros(noon), Status: []byte(`oops`)})
}

// fixture is an API over a filled store in memory, whose every answer is held against the OpenAPI document.
type fixture struct {
	store   *servetest.Store
	handler http.Handler
	doc     *openapi3.T
}

func newFixture(t testing.TB, change ...func(*api.Options)) *fixture {
	t.Helper()
	store := &servetest.Store{}
	fill(store)
	o := api.Options{
		Serve:       serve.New(serve.Options{Store: store, Project: "ads", Now: func() time.Time { return noon }}),
		MaxBody:     2000,
		MaxEntities: 5,
		MaxValues:   12,
	}
	for _, c := range change {
		c(&o)
	}
	return &fixture{store: store, handler: api.New(o), doc: document(t)}
}

// document loads and checks openapi.json.
func document(t testing.TB) *openapi3.T {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	return doc
}

// do sends one request and holds the pair against the document.
func (f *fixture) do(t testing.TB, method, target, body string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return f.send(t, r, body)
}

func (f *fixture) send(t testing.TB, r *http.Request, body string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	response := w.Result()
	f.check(t, r, body, response.StatusCode, response.Header, w.Body.String())
	return response
}

// check holds a request and its response against the document.
func (f *fixture) check(t testing.TB, r *http.Request, body string, status int, header http.Header, answer string) {
	t.Helper()
	if status >= 400 && header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%s %s: status %d with %q, want application/problem+json", r.Method, r.URL, status, header.Get("Content-Type"))
	}
	route, params := f.route(r)
	if route == nil {
		f.checkUndocumented(t, r, status, answer)
		return
	}
	options := &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: r.Method == http.MethodHead, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}
	sent := r.Clone(context.Background())
	sent.Body = io.NopCloser(strings.NewReader(body))
	sent.Header.Set("Content-Type", "application/json") // as the document has it; the handler does not look at it
	input := &openapi3filter.RequestValidationInput{Request: sent, PathParams: params, Route: route, Options: options}
	if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil && status < 300 {
		t.Fatalf("%s %s %s: answered with %d, and is no request of the document: %v", r.Method, r.URL, body, status, err)
	}
	output := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: status, Header: header, Options: options}
	output.SetBodyBytes([]byte(answer))
	if err := openapi3filter.ValidateResponse(context.Background(), output); err != nil {
		t.Fatalf("%s %s: the answer, %d %s, is none of the document: %v", r.Method, r.URL, status, answer, err)
	}
}

// checkUndocumented holds what no route answers against the schema of problems.
func (f *fixture) checkUndocumented(t testing.TB, r *http.Request, status int, answer string) {
	t.Helper()
	if status < 400 {
		t.Fatalf("%s %s: answered with %d, and is not in the document", r.Method, r.URL, status)
	}
	if r.Method == http.MethodHead {
		return
	}
	var value any
	err := json.Unmarshal([]byte(answer), &value)
	if err == nil {
		err = f.doc.Components.Schemas["Problem"].Value.VisitJSON(value, openapi3.EnableJSONSchema2020())
	}
	if err != nil {
		t.Fatalf("%s %s: the answer %q is no problem of the document: %v", r.Method, r.URL, answer, err)
	}
}

// route finds a request's operation in the document by itself: the routers of the library have no parameter that spans segments. A wrong method finds another operation of its path,
// whose answers it must share.
func (f *fixture) route(r *http.Request) (*routers.Route, map[string]string) {
	path, params := r.URL.EscapedPath(), map[string]string{}
	if rest, ok := strings.CutPrefix(path, "/v1/features/"); ok {
		view, entity, ok := strings.Cut(rest, "/")
		if !ok {
			return nil, nil
		}
		path = "/v1/features/{view}/{entity}"
		params["view"], _ = url.PathUnescape(view)
		params["entity"], _ = url.PathUnescape(entity)
	}
	item := f.doc.Paths.Value(path)
	if item == nil {
		return nil, nil
	}
	operation := item.Get
	if r.Method == http.MethodPost && item.Post != nil || operation == nil {
		operation = item.Post
	}
	return &routers.Route{Spec: f.doc, Path: path, PathItem: item, Method: r.Method, Operation: operation}, params
}

var errRefused = errors.New("read vectors: dial tcp 127.0.0.1:6379: connection refused")

// parseTarget returns a request's target if net/http would take it, else "".
func parseTarget(target string) string {
	if strings.ContainsAny(target, " ?#\r\n") || strings.HasPrefix(target, "//") {
		return ""
	}
	if _, err := url.ParseRequestURI(target); err != nil {
		return ""
	}
	return target
}
