package online_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	embeddedredis "highwater/store/online/embedded"
	"highwater/testutil/redistest"
	"highwater/windows"

	"github.com/redis/go-redis/v9"
)

// world is a Redis to test against: embedded, real, or a cluster. Every test has a project of its own in it.
type world struct {
	addrs  []string
	client redis.UniversalClient
	as     online.Options // how to come: Sentinels, TLS, passwords
}

// failer is what the helpers need of a testing.T, and what a rapid.T has too.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

var projects atomic.Int64

// project returns options for a project that nothing else uses.
func (w *world) project() online.Options {
	o := w.as
	o.Project, o.Addrs = fmt.Sprintf("p%d", projects.Add(1)), w.addrs
	return o
}

func miniWorld(t *testing.T) (*world, *embeddedredis.Redis) {
	t.Helper()
	m := redistest.Embedded(t, nil)
	c := redis.NewClient(&redis.Options{Addr: m.Addr(), DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return &world{addrs: []string{m.Addr()}, client: c}, m
}

func realWorld(t *testing.T, args ...string) (*world, *redistest.Server) {
	t.Helper()
	s := redistest.Start(t, args...)
	return &world{addrs: []string{s.Addr}, client: s.Client(t)}, s
}

func clusterWorld(t *testing.T) (*world, *redistest.Cluster) {
	t.Helper()
	c := redistest.StartCluster(t)
	return &world{addrs: c.Addrs[:1], client: c.Client(t)}, c
}

// sentinelWorld is behind Sentinels, TLS on all connections, and a password each.
func sentinelWorld(t *testing.T) (*world, *redistest.Sentinels) {
	t.Helper()
	certificates := redistest.NewCertificates(t)
	s := redistest.StartSentinels(t, redistest.SentinelOptions{Password: "of-redis", SentinelPassword: "of-the-sentinels", TLS: certificates})
	as := online.Options{SentinelMaster: s.Master, SentinelPassword: password("of-the-sentinels"), Password: password("of-redis"), TLS: online.TLS{On: true, CAFile: certificates.CA}}
	return &world{addrs: s.Addrs, client: s.Client(t), as: as}, s
}

func openStore(t testing.TB, o online.Options) *online.Store {
	t.Helper()
	s, err := online.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openReader(t testing.TB, o online.Options) *online.Reader {
	t.Helper()
	r, err := online.NewReader(o)
	if err != nil {
		t.Fatal(err)
	}
	r.SetMarkAge(0)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// clicks has a feature of every kind.
func clicks() *features.View {
	return &features.View{Name: "clicks", Schema: features.Schema{ID: "0a1b2c3d", Features: []features.SchemaFeature{
		{Name: "active", Kind: "bool"}, {Name: "clicks_30m", Kind: "int64"}, {Name: "spend_1h", Kind: "double"},
		{Name: "last_page", Kind: "string"}, {Name: "first_seen", Kind: "timestamp"}, {Name: "recent", Kind: "timestamps"},
	}}}
}

// visits is a second, smaller view.
func visits() *features.View {
	return &features.View{Name: "visits", Schema: features.Schema{ID: "9f8e7d6c", Features: []features.SchemaFeature{{Name: "visits", Kind: "int64"}}}}
}

func version(generation uint32, sequence uint64) features.Version {
	return features.Version{Generation: generation, Sequence: sequence}
}

// live is a vector of view whose values follow from its entity, its version and salt.
func live(view *features.View, entity string, v features.Version, salt int64) features.Vector {
	n := salt + int64(v.Generation)*1000 + int64(v.Sequence)
	values := make([]windows.Value, len(view.Schema.Features))
	for i, f := range view.Schema.Features {
		switch f.Kind {
		case "bool":
			values[i] = windows.BoolOf(n%2 == 0)
		case "int64":
			values[i] = windows.IntOf(-n)
		case "double":
			values[i] = windows.DoubleOf(float64(n) / 3)
		case "string":
			values[i] = windows.StringOf(fmt.Sprintf("/%s/%d", entity, n))
		case "timestamp":
			values[i] = windows.TimeOf(1_700_000_000_000_000 + n)
		case "timestamps":
			values[i] = windows.TimesOf([]int64{n, n + 1, n + 70_000})
		}
	}
	return features.Vector{View: view, Entity: entity, Version: v, Frontier: 5_000_000 + n, EventTime: 4_000_000 + n, Values: values}
}

func tombstone(view *features.View, entity string, v features.Version) features.Vector {
	return features.Vector{View: view, Entity: entity, Version: v, Frontier: 7_000_000, EventTime: 6_000_000, Tombstone: true}
}

func output(vectors ...features.Vector) *batch.Output {
	return &batch.Output{Version: vectors[0].Version, Clock: time.Now().UnixMicro(), Vectors: vectors}
}

// publish publishes vectors and expects the outcome.
func publish(t failer, s *online.Store, want batch.Outcome, vectors ...features.Vector) {
	t.Helper()
	got, err := s.Publish(context.Background(), output(vectors...))
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	if got.Written != want.Written || got.Equal != want.Equal || got.Stale != want.Stale || got.Refused != want.Refused || !slices.Equal(got.Divergent, want.Divergent) {
		t.Fatalf("publish: outcome %+v, want %+v", got, want)
	}
}

// stored is what Redis should hold of vectors.
func stored(t failer, o online.Options, vectors ...features.Vector) map[string]string {
	t.Helper()
	want := map[string]string{}
	for _, v := range vectors {
		b, err := online.AppendVector(nil, &v, o.Task)
		if err != nil {
			t.Fatal(err)
		}
		want[keyOf(o, v)] = string(b)
	}
	return want
}

func keyOf(o online.Options, v features.Vector) string {
	return string(keys.AppendVector(nil, o.Project, v.View.Name, v.Entity))
}

// expectStored compares all that Redis holds of a project, bytes and all.
func (w *world) expectStored(t failer, o online.Options, vectors ...features.Vector) {
	t.Helper()
	got, want := redistest.Vectors(context.Background(), w.client, o.Project), stored(t, o, vectors...)
	if !maps.Equal(got, want) {
		t.Fatalf("Redis holds\n%s\nwant\n%s", dump(got), dump(want))
	}
}

func dump(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "  %q = %q\n", k, m[k])
	}
	return b.String()
}

// expectPermanent expects an error that stops the task and speaks of every one of words.
func expectPermanent(t failer, err error, words ...string) {
	t.Helper()
	if !batch.IsPermanent(err) {
		t.Fatalf("have %v, want a permanent error", err)
	}
	expectWords(t, err, words...)
}

// expectOutage expects an error that is retried and speaks of every one of words.
func expectOutage(t failer, err error, words ...string) {
	t.Helper()
	if err == nil || batch.IsPermanent(err) {
		t.Fatalf("have %v, want an error that can be retried", err)
	}
	expectWords(t, err, words...)
}

func expectWords(t failer, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not speak of %q: %v", w, err)
		}
	}
}
