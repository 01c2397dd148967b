package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"highwater/api"
	"highwater/batch"
	"highwater/features"
	"highwater/serve"
	"highwater/store/online"
	"highwater/store/state"
	"highwater/testutil/e2e"
	"highwater/testutil/promtest"
)

// docs/metrics.md lists every metric of ours with its type and labels, and nothing else.
func TestMetrics_AreDocumented(t *testing.T) {
	t.Parallel()
	have := &recorder{rows: map[string]promtest.Documented{}}
	batch.NewMetrics(have)
	api.New(api.Options{Serve: serve.New(serve.Options{}), Registerer: have, Metrics: http.NotFoundHandler()})
	newCollector(have)
	tellInfo(have, "shop", "")
	_, err := newMachine(have, slog.New(slog.DiscardHandler))
	must(t, err)
	shown := metricsOfClicks(t)
	for name, row := range have.rows { // what works its series out when asked has no type before
		if row.Type == "" {
			row.Type = shown[name].Type
			have.rows[name] = row
		}
	}
	for _, f := range slices.Concat(figures, machineFigures) { // an embedded Redis tells nothing of itself, so that some are not shown
		row := have.rows["highwater_"+f.name]
		row.Type = map[prometheus.ValueType]string{prometheus.GaugeValue: "gauge", prometheus.CounterValue: "counter", 0: "histogram"}[f.kind]
		have.rows["highwater_"+f.name] = row
	}
	if diff := cmp.Diff(have.rows, promtest.Page(t, "../../docs/metrics.md")); diff != "" {
		t.Errorf("docs/metrics.md (+) and the code (-) differ:\n%s", diff)
	}
	for name, row := range shown {
		if diff := cmp.Diff(row, have.rows[name]); diff != "" {
			t.Errorf("%s is shown (-) otherwise than registered (+):\n%s", name, diff)
		}
	}
	if len(shown) < 40 {
		t.Errorf("a worker that has published shows %d metrics: %v", len(shown), shown)
	}
}

// What is counted right before a process ends can still be scraped, but not for ever.
func TestMetrics_LastWords(t *testing.T) {
	t.Parallel()
	w, err := newWeb("127.0.0.1:0", redisFlags{Redis: []string{"127.0.0.1:1"}}, "shop", prometheus.NewRegistry(), nil, slog.New(slog.DiscardHandler))
	must(t, err)
	defer w.Close()
	served := make(chan error)
	ctx, stop := context.WithCancel(t.Context())
	go func() { served <- w.Run(ctx) }()
	client := e2e.Client{Base: "http://" + w.address()}
	client.Get(t, "/metrics") // an earlier scrape does not count
	eventually(t, "the scrape to be noted", func() error {
		if len(w.scraped) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		w.awaitScrape(ctx, patience)
	}()
	eventually(t, "the wait to begin", func() error {
		if len(w.scraped) > 0 {
			return errors.New("it has not taken the earlier scrape")
		}
		return nil
	})
	select {
	case <-heard:
		t.Fatal("it did not wait for a scrape")
	default:
	}
	client.Get(t, "/metrics")
	select {
	case <-heard:
	case <-time.After(patience):
		t.Fatal("it did not hear of the scrape")
	}
	w.awaitScrape(ctx, time.Millisecond) // nobody comes
	stop()
	w.awaitScrape(ctx, patience) // the process is told to stop
	must(t, <-served)
}

// A collector tells nothing of parts that are closed.
func TestMetrics_OfAnEngineThatIsClosed(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	c := newCollector(registry)
	count := func() int {
		families, err := registry.Gather()
		must(t, err)
		return len(families)
	}
	if n := count(); n != 0 {
		t.Errorf("%d metrics before an engine is opened", n)
	}
	servers := func(context.Context) ([]online.Server, error) {
		return []online.Server{{Addr: "redis:6379", EvictedKeys: 3, UsedMemory: 10, MaxMemory: 0}, {Addr: "silent:6379", EvictedKeys: -1, UsedMemory: -1, MaxMemory: -1}}, nil
	}
	c.attach(observed{state: func() state.Metrics { return state.Metrics{Entities: map[string]int64{"users": 2}} }, fetched: func() (int64, int64) { return 1, 1 }, commits: func() int64 { return 0 }, disk: diskOf, servers: servers, dataDir: t.TempDir()})
	c.ask(t.Context(), slog.New(slog.DiscardHandler))
	if n := count(); n != len(figures)-1 { // no server has a limit
		t.Errorf("%d metrics of an open engine, want %d", n, len(figures)-1)
	}
	c.detach()
	if n := count(); n != 0 {
		t.Errorf("%d metrics after it was closed", n)
	}
}

// metricsOfClicks lets a task publish three clicks, and returns what its registry then shows.
func metricsOfClicks(t *testing.T) map[string]promtest.Documented {
	t.Helper()
	p, err := features.Parse("shop.yaml", []byte(shopDefinitions(features.WallClock, 50*time.Millisecond)))
	must(t, err)
	pl := startPipeline(t, p, pipelineOptions{})
	pl.load(clickRows(3, time.Now()))
	pl.awaitEvents(3)
	checkClicks(t, pl.client, "u1", 3)
	for _, shown := range []string{
		`highwater_published_lag_seconds_count\{view="users"\} 1`,
		`highwater_records_behind\{partition="0",topic="clicks"\} \d+`,
		`highwater_watermark_delay_seconds\{partition="0",topic="clicks"\} \d`,
		`highwater_objective_seconds\{kind="published_lag"\} 0.3`,
		`highwater_backlog_batches \d`,
		`highwater_heartbeat_timestamp_seconds 1\.\d+e\+09`,
		`highwater_generation 1`,
		`highwater_state_entities\{view="users"\} 1`,
		`highwater_memory_bytes\{purpose="other"\} \d`,
		`highwater_disk_free_bytes\{dir="[^"]+"\} \d`,
		`highwater_pebble_wal_sync_seconds_bucket\{le="10"\} \d`,
		`highwater_serve_age_seconds_count 1`,
		`highwater_sink_errors_total\{kind="denied",sink="task_key"\} 0`,
	} {
		eventually(t, shown, func() error {
			if _, text := pl.client.Get(t, "/metrics"); !regexp.MustCompile("(?m)^" + shown).Match(text) {
				return fmt.Errorf("of ours there is\n%s", strings.Join(regexp.MustCompile("(?m)^highwater_.*[^et]{[^}]*}.*$").FindAllString(string(text), -1), "\n"))
			}
			return nil
		})
	}
	families, err := pl.registry.Gather()
	must(t, err)
	rows := map[string]promtest.Documented{}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "highwater_") {
			rows[f.GetName()] = promtest.Documented{Type: strings.ToLower(f.GetType().String()), Labels: labelsOf(f.GetMetric()[0])}
		}
	}
	return rows
}

func labelsOf(m *dto.Metric) []string {
	names := []string{}
	for _, l := range m.GetLabel() {
		names = append(names, l.GetName())
	}
	slices.Sort(names)
	return names
}

// recorder is a registry that notes what is registered: metrics with labels show nothing to a real one before their first use.
type recorder struct {
	rows map[string]promtest.Documented
}

// described takes prometheus.Desc's text apart, which is the one place where names and labels can be read.
var described = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

// Register notes a metric's name, type and labels.
func (r *recorder) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 100)
	c.Describe(descs)
	close(descs)
	for d := range descs {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			return fmt.Errorf("prometheus.Desc looks otherwise than it did: %s", d)
		}
		labels := strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' })
		slices.Sort(labels)
		r.rows[m[1]] = promtest.Documented{Type: typeOf(c), Labels: labels}
	}
	return nil
}

// MustRegister does so for several.
func (r *recorder) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// Unregister does nothing.
func (r *recorder) Unregister(prometheus.Collector) bool { return false }

// typeOf returns the type of a metric of client_golang, "" for a collector of our own.
func typeOf(c prometheus.Collector) string {
	switch c.(type) {
	case prometheus.Gauge, *prometheus.GaugeVec: // before counters: a gauge can all that they can
		return "gauge"
	case prometheus.Counter, *prometheus.CounterVec:
		return "counter"
	case prometheus.Histogram, *prometheus.HistogramVec:
		return "histogram"
	}
	return ""
}
