package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/deploy/dashboard"
	"highwater/features"
	"highwater/testutil/promtest"
)

// TestReal_PrometheusAndTheDashboard has a real Prometheus scrape a task with the repository's own configuration and rules: what the rules record is there, no alert fires while all is well, and the dashboard can be drawn,
// with a curve in each panel that has something to show.
func TestReal_PrometheusAndTheDashboard(t *testing.T) {
	p, err := features.Parse("shop.yaml", []byte(shopDefinitions(features.WallClock, 500*time.Millisecond)))
	must(t, err)
	began := time.Now()
	pl := startPipeline(t, p, pipelineOptions{})
	prom := promtest.Start(t, "../..", "", strings.TrimPrefix(pl.client.Base, "http://"))
	keepClicking(t, pl)
	some := func(v model.Vector) bool { return len(v) > 0 }
	lag := prom.Await(t, `highwater:published_lag_seconds:p99{view="users"}`, patience, func(v model.Vector) bool { return len(v) > 0 && v[0].Value > 0 })
	if lag[0].Value > 60 { // clicks are made now
		t.Errorf("a lag of %v s", lag[0].Value)
	}
	for _, query := range []string{`up{job="highwater"} == 1`, `rate(highwater_records_total[30s]) > 0`, `highwater:watermark_delay_seconds:max > 0`, `highwater:records_behind:sum`, `highwater:cache_hits:ratio`} {
		prom.Await(t, query, patience, some)
	}
	for name := range prom.Alerts(t, time.Time{}) {
		t.Errorf("%s fires although all is well", name)
	}
	text, err := os.ReadFile("../../deploy/grafana/highwater.json")
	must(t, err)
	var page bytes.Buffer
	must(t, dashboard.Render(t.Context(), &page, dashboard.Options{Dashboard: text, Prometheus: "http://" + prom.Addr, From: began, To: time.Now().Add(time.Second)}))
	keepPage(t, page.Bytes())
	for _, panel := range []string{"From event to published", "Watermark delay", "Events in, vectors out", "Time of a batch by stage", "Publishing one part", "Memory by purpose", "Log syncs"} {
		_, rest, found := strings.Cut(page.String(), "<h3>"+panel+"</h3>")
		svg, _, _ := strings.Cut(rest, "</svg>")
		if !found || !regexp.MustCompile(`<path class="(line|stack) c0" d="M`).MatchString(svg) {
			t.Errorf("panel %q has no curve: %.300s", panel, svg)
		}
	}
	if strings.Contains(page.String(), `class="band`) {
		t.Error("the page shows an alert")
	}
}

// keepClicking sends clicks of now until the test ends: five every tenth of a second.
func keepClicking(t *testing.T, pl *pipeline) {
	t.Helper()
	producer, err := kgo.NewClient(kgo.SeedBrokers(pl.broker.Addrs()...), kgo.DefaultProduceTopic(pl.project.Sources[0].Topic))
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			var records []*kgo.Record
			for row := range clickRows(5, time.Now()) {
				records = append(records, &kgo.Record{Key: row.Key, Value: row.Value})
			}
			if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil && ctx.Err() == nil {
				ended <- err
				return
			}
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
		ended <- nil
	}()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
		producer.Close()
	})
}

// keepPage keeps the page where HIGHWATER_DASHBOARD names a file, to be looked at.
func keepPage(t *testing.T, page []byte) {
	if name := os.Getenv("HIGHWATER_DASHBOARD"); name != "" {
		must(t, os.WriteFile(name, page, 0o600))
	}
}
