package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"highwater/api"
	"highwater/features"
	"highwater/serve"
	"highwater/serve/servetest"
	"highwater/windows"
)

// wide is a project with one view of ten features, four of them doubles, and vectors of n users.
func wide(n int) *servetest.Store {
	schema := features.Schema{ID: "w1"}
	for i := range 10 {
		kind := "int64"
		if i%3 == 0 {
			kind = "double"
		}
		schema.Features = append(schema.Features, features.SchemaFeature{Name: fmt.Sprintf("feature_%d", i), Kind: kind})
	}
	c := &features.Catalogue{
		Project: "wide", Clock: features.WallClock,
		Entities: []features.CatalogueEntity{{Name: "user", JoinKeys: []features.CatalogueJoinKey{{Name: "user_id", Type: "string"}}}},
		Views:    []features.CatalogueView{{Name: "view", Entity: "user", Schema: schema}},
	}
	service := features.CatalogueService{Name: "all"}
	for _, f := range schema.Features {
		service.Features = append(service.Features, "view:"+f.Name)
	}
	c.Services = []features.CatalogueService{service}
	store := &servetest.Store{}
	store.SetCatalogue(c)
	for u := range n {
		values := make([]windows.Value, 10)
		for i := range values {
			values[i] = windows.IntOf(int64(u * i))
			if i%3 == 0 {
				values[i] = windows.DoubleOf(float64(u) / 7)
			}
		}
		store.Put(features.StoredVector{View: "view", Entity: fmt.Sprintf("user_%d", u), Version: features.Version{Generation: 1, Sequence: 1}, Schema: schema, Frontier: noon.UnixMicro(), EventTime: noon.UnixMicro(), Values: values})
	}
	return store
}

// discard is a response writer that keeps nothing but its size.
type discard struct {
	header http.Header
	bytes  int64
	status int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) Write(b []byte) (int, error) {
	d.bytes += int64(len(b))
	return len(b), nil
}
func (d *discard) WriteHeader(status int) { d.status = status }

// BenchmarkPost asks for 10 features of n entities, everything but the network and Redis.
func BenchmarkPost(b *testing.B) {
	for _, n := range []int{1, 100, 5000} {
		b.Run(fmt.Sprintf("entities=%d", n), func(b *testing.B) {
			handler := api.New(api.Options{Serve: serve.New(serve.Options{Store: wide(n), Project: "wide"})})
			var entities []string
			for u := range n {
				entities = append(entities, fmt.Sprintf(`{"user_id":"user_%d"}`, u))
			}
			body := `{"feature_service":"all","entities":[` + strings.Join(entities, ",") + "]}"
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/features", strings.NewReader(body)))
			}
			if w.status >= 400 || w.bytes == 0 {
				b.Fatalf("status %d, %d bytes", w.status, w.bytes)
			}
			b.ReportMetric(float64(w.bytes)/float64(b.N), "answer-bytes/op")
		})
	}
}

// BenchmarkGet asks for one vector of 10 features.
func BenchmarkGet(b *testing.B) {
	handler := api.New(api.Options{Serve: serve.New(serve.Options{Store: wide(1), Project: "wide"})})
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/features/view/user_0", nil))
	}
	if w.bytes == 0 || w.status >= 400 {
		b.Fatalf("status %d, %d bytes", w.status, w.bytes)
	}
}
