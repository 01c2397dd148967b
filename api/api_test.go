package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"highwater/api"
	"highwater/features"
	"highwater/serve"
	"highwater/serve/servetest"
)

// oneEntity asks for one value of the fixture.
const oneEntity = `{"features": ["user_clicks:clicks"], "entities": [{"user_id": "u1"}]}`

// answered is what came back.
func answered(t testing.TB, r *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func wantStatus(t testing.TB, r *http.Response, status int, body string) {
	t.Helper()
	if got := answered(t, r); r.StatusCode != status || !strings.Contains(got, body) {
		t.Fatalf("status %d: %s; want %d and %q", r.StatusCode, got, status, body)
	}
}

func TestOpenAPI_IsValid(t *testing.T) {
	if err := document(t).Validate(context.Background(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Fatalf("openapi.json is no OpenAPI 3.1 document, or an example of it breaks its schema: %v", err)
	}
}

func TestOpenAPI_HasExactlyTheRoutes(t *testing.T) {
	f := newFixture(t)
	var documented, routed []string
	for path, item := range f.doc.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
			if method == http.MethodGet {
				documented = append(documented, "HEAD "+path)
			}
		}
	}
	err := chi.Walk(f.handler.(*api.API).Routes(), func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		routed = append(routed, method+" "+strings.Replace(pattern, "*", "{entity}", 1))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(documented)
	slices.Sort(routed)
	if diff := cmp.Diff(documented, routed); diff != "" {
		t.Fatalf("routes differ (-documented +routed):\n%s", diff)
	}
}

func TestOpenAPI_IsServed(t *testing.T) {
	r := newFixture(t).do(t, http.MethodGet, "/openapi.json", "")
	var doc struct{ OpenAPI string }
	if err := json.Unmarshal([]byte(answered(t, r)), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("openapi.json says %q, %v; want 3.1.0", doc.OpenAPI, err)
	}
}

func TestStoreDown_IsToldWithItsReason(t *testing.T) {
	var log bytes.Buffer
	f := newFixture(t, func(o *api.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	wantStatus(t, f.do(t, http.MethodPost, "/v1/features", oneEntity), http.StatusOK, "")
	f.store.Fail(errRefused)
	for range 3 {
		for _, r := range []*http.Response{
			f.do(t, http.MethodGet, "/v1/features/user_clicks/u1", ""),
			f.do(t, http.MethodPost, "/v1/features", oneEntity),
			f.do(t, http.MethodGet, "/v1/status", ""),
			f.do(t, http.MethodGet, "/readyz", ""),
		} {
			if r.Header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q, want 1", r.Header.Get("Retry-After"))
			}
			wantStatus(t, r, http.StatusServiceUnavailable, "connection refused")
		}
	}
	wantStatus(t, f.do(t, http.MethodGet, "/healthz", ""), http.StatusOK, "ok")
	f.store.Fail(nil)
	wantStatus(t, f.do(t, http.MethodPost, "/v1/features", oneEntity), http.StatusOK, "PRESENT")
	if down, up := strings.Count(log.String(), "cannot be answered"), strings.Count(log.String(), "answered again"); down != 1 || up != 1 {
		t.Fatalf("the store's going is logged %d times and its coming %d times, want once each:\n%s", down, up, log.String())
	}
}

func TestStoreSlow_IsUnavailable(t *testing.T) {
	f := newFixture(t, func(o *api.Options) { o.RequestTimeout = 1 }) // a nanosecond: over before the store is asked
	wantStatus(t, f.do(t, http.MethodPost, "/v1/features", oneEntity), http.StatusServiceUnavailable, "did not answer in time")
}

func TestNoCatalogue_IsNotReady(t *testing.T) {
	f := newFixture(t)
	f.store.SetCatalogue(nil)
	wantStatus(t, f.do(t, http.MethodGet, "/readyz", ""), http.StatusServiceUnavailable, "no catalogue of project")
	wantStatus(t, f.do(t, http.MethodGet, "/v1/features/user_clicks/u1", ""), http.StatusServiceUnavailable, "no worker has written")
	wantStatus(t, f.do(t, http.MethodGet, "/v1/status", ""), http.StatusOK, `"project":"ads"`)
}

func TestReady_AsksWhatItWasGiven(t *testing.T) {
	f := newFixture(t, func(o *api.Options) {
		o.Ready = func(context.Context) api.Readiness {
			return api.Readiness{Reasons: []api.Reason{{Reason: "behind", Detail: "the task is catching up"}, {Reason: "disk", Detail: "no room"}}}
		}
	})
	wantStatus(t, f.do(t, http.MethodGet, "/readyz", ""), http.StatusServiceUnavailable,
		`"detail":"the task is catching up; no room","reasons":[{"reason":"behind","detail":"the task is catching up"},{"reason":"disk","detail":"no room"}]`)
}

// Values that grow old are better than none: a server without a worker stays ready, and says so.
func TestReady_WithoutAWorkerIsAWarning(t *testing.T) {
	f := newFixture(t)
	wantStatus(t, f.do(t, http.MethodGet, "/readyz", ""), http.StatusOK, `{"status":"ready"}`)
	now := noon.Add(2 * time.Minute)
	f = newFixture(t, func(o *api.Options) {
		store := &servetest.Store{}
		fill(store)
		o.Serve = serve.New(serve.Options{Store: store, Project: "ads", Now: func() time.Time { return now }})
	})
	wantStatus(t, f.do(t, http.MethodGet, "/readyz", ""), http.StatusOK, `{"status":"ready","warnings":[{"reason":"heartbeat","detail":"the newest heartbeat is 2m0s old`)
	f = newFixture(t, func(o *api.Options) {
		store := &servetest.Store{}
		store.SetCatalogue(ads())
		o.Serve = serve.New(serve.Options{Store: store, Project: "ads"})
	})
	wantStatus(t, f.do(t, http.MethodGet, "/readyz", ""), http.StatusOK, `"no task has told of itself: does a worker run?"`)
}

func TestRoot_IsTheConsoleWhereThereIsOne(t *testing.T) {
	f := newFixture(t, func(o *api.Options) {
		o.Root = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<title>console</title>")
		})
	})
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil)) // not held against the document: its library does not decode HTML
	wantStatus(t, w.Result(), http.StatusOK, "console")
}

// faulty is a store with a bug.
type faulty struct{ serve.Store }

func (faulty) Catalogue(context.Context) (features.Catalogue, bool, error) {
	panic("secret: index out of range")
}

func TestPanic_IsAnsweredLoggedAndNotTold(t *testing.T) {
	var log bytes.Buffer
	f := newFixture(t, func(o *api.Options) {
		o.Serve = serve.New(serve.Options{Store: faulty{}, Project: "ads"})
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	r := f.do(t, http.MethodGet, "/v1/features/user_clicks/u1", "")
	body := answered(t, r)
	if r.StatusCode != http.StatusInternalServerError || strings.Contains(body, "secret") {
		t.Fatalf("status %d: %s; want 500 without what went wrong", r.StatusCode, body)
	}
	if !strings.Contains(log.String(), "secret: index out of range") || !strings.Contains(log.String(), "api_test.go") {
		t.Fatalf("the log lacks the panic or its stack:\n%s", log.String())
	}
}

func TestCorruptStore_IsLogged(t *testing.T) {
	var log bytes.Buffer
	f := newFixture(t, func(o *api.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	c := ads()
	c.Views[0].Entity = "nobody"
	f.store.SetCatalogue(c)
	wantStatus(t, f.do(t, http.MethodGet, "/v1/features/user_clicks/u1", ""), http.StatusInternalServerError, "contradicts itself")
	if !strings.Contains(log.String(), "request failed") {
		t.Fatalf("not logged:\n%s", log.String())
	}
}

func TestBody_BeyondItsLimit(t *testing.T) {
	f := newFixture(t)
	body := `{"feature_service":"ranker","entities":[` + strings.Repeat(" ", 2000) + "]}"
	wantStatus(t, f.do(t, http.MethodPost, "/v1/features", body), http.StatusRequestEntityTooLarge, "larger than 2000 bytes")
	unsaid := httptest.NewRequest(http.MethodPost, "/v1/features", io.MultiReader(strings.NewReader(body)))
	unsaid.ContentLength = -1
	unsaid.Header.Set("Content-Type", "application/json")
	wantStatus(t, f.send(t, unsaid, body), http.StatusRequestEntityTooLarge, "larger than 2000 bytes")
}

func TestBody_OfManyEntities(t *testing.T) {
	f := newFixture(t, func(o *api.Options) { o.MaxBody, o.MaxEntities, o.MaxValues = 0, 0, 0 })
	ask := func(n int) *http.Response {
		return f.do(t, http.MethodPost, "/v1/features", `{"features":["campaign_ctr:ctr"],"entities":[`+strings.TrimSuffix(strings.Repeat(`{"campaign_id":7},`, n), ",")+"]}")
	}
	wantStatus(t, ask(100_000), http.StatusRequestEntityTooLarge, "larger than 1048576 bytes")
	wantStatus(t, ask(5001), http.StatusRequestEntityTooLarge, "more than 5000 entities")
	var answer struct {
		Rows []struct{ Values []float64 }
	}
	r := ask(5000)
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil || len(answer.Rows) != 5000 || answer.Rows[4999].Values[0] != 1e21 {
		t.Fatalf("%d rows, %v; want 5000", len(answer.Rows), err)
	}
}

func TestMetrics_CountWhatWasAnswered(t *testing.T) {
	registry := prometheus.NewRegistry()
	f := newFixture(t, func(o *api.Options) { o.Registerer = registry })
	f.do(t, http.MethodGet, "/v1/features/user_clicks/u1", "")
	f.do(t, http.MethodGet, "/v1/features/user_clicks/nobody", "")
	f.do(t, http.MethodPost, "/v1/features", `{"features": ["user_clicks:clicks", "campaign_ctr:ctr"], "entities": [{"user_id": "u1", "campaign_id": 8}, {"user_id": "nulls", "campaign_id": 8}, {"user_id": "old", "campaign_id": 8}]}`)
	f.do(t, "BREW", "/nowhere", "")
	metrics := answered(t, f.do(t, http.MethodGet, "/metrics", ""))
	for _, want := range []string{
		`highwater_http_requests_total{method="GET",route="/v1/features/{view}/{entity}",status="200"} 1`,
		`highwater_http_requests_total{method="GET",route="/v1/features/{view}/{entity}",status="404"} 1`,
		`highwater_http_requests_total{method="POST",route="/v1/features",status="200"} 1`,
		`highwater_http_requests_total{method="other",route="none",status="404"} 1`,
		`highwater_http_request_seconds_count{route="/v1/features"} 1`,
		`highwater_serve_vectors_read_total 6`,               // 2 by GET; 3 users and one campaign by POST
		`highwater_serve_values_total{status="PRESENT"} 7`,   // 6 + 1
		`highwater_serve_values_total{status="NOT_FOUND"} 9`, // 6 + 3
		`highwater_serve_values_total{status="NULL_VALUE"} 1`,
		`highwater_serve_values_total{status="OUTSIDE_MAX_AGE"} 1`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in:\n%s", want, metrics)
		}
	}
	again := newFixture(t, func(o *api.Options) { o.Registerer = registry }) // one process may make two
	again.do(t, http.MethodGet, "/healthz", "")
}

func TestClientGone_IsCountedAsSuch(t *testing.T) {
	registry := prometheus.NewRegistry()
	f := newFixture(t, func(o *api.Options) { o.Registerer = registry })
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, httptest.NewRequestWithContext(gone, http.MethodGet, "/v1/features/user_clicks/u1", nil))
	if w.Code != 499 {
		t.Fatalf("status %d, want 499: nobody reads it, and it is no 503", w.Code)
	}
}

func TestConcurrentRequests(t *testing.T) {
	f := newFixture(t)
	want := answered(t, f.do(t, http.MethodPost, "/v1/features", oneEntity))
	var wg sync.WaitGroup
	errs := make(chan error, 1000)
	for n := range 8 {
		wg.Go(func() {
			for i := range 50 {
				w := httptest.NewRecorder()
				switch (n + i) % 4 {
				case 0:
					f.store.Beat(features.Heartbeat{Task: i})
					f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/status", nil))
				case 1:
					f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, fmt.Sprintf("/v1/features/new_%d/u1", i), nil))
				default:
					f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/features", strings.NewReader(oneEntity)))
					if w.Body.String() != want {
						errs <- errors.New(w.Body.String())
					}
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Fatalf("an answer differs: %v; want %s", err, want)
	}
}

func TestPanic_BreaksOffAnAnswerThatHasBegun(t *testing.T) {
	f := newFixture(t, func(o *api.Options) {
		o.Root = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half of ")
			panic("bug")
		})
	})
	addr, _, _ := start(t, f.handler, api.ServerOptions{})
	r, err := http.Get("http://" + addr + "/")
	if err == nil {
		defer r.Body.Close()
		_, err = io.ReadAll(r.Body)
	}
	if err == nil {
		t.Fatal("half an answer was taken for whole")
	}
}

// TestProblems_AreDocumented holds docs/http.md against the table of problems.
func TestProblems_AreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	for slug, status := range api.Problems() {
		if line := fmt.Sprintf("| %d | `%s` |", status, slug); !strings.Contains(string(page), line) {
			t.Errorf("docs/http.md has no line %s", line)
		}
	}
}
