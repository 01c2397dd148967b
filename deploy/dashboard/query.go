package dashboard

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// span is the stretch of time that is drawn, at equal steps.
type span struct {
	from, to time.Time
	step     time.Duration
}

// points is how many values a series has at most.
const points = 400

func newSpan(from, to time.Time) span {
	step := max(time.Second, to.Sub(from)/points).Round(time.Second)
	return span{from: from.Truncate(time.Second), to: to.Truncate(time.Second), step: step}
}

func (s span) n() int { return int(s.to.Sub(s.from)/s.step) + 1 }

// series is one line: a value a step, NaN where there is none.
type series struct {
	name   string
	labels model.Metric
	values []float64
	line   bool // to compare the others with, not one of them
}

// prom evaluates queries over a span.
type prom struct {
	api    v1.API
	span   span
	scrape time.Duration // how often targets are scraped
}

func newProm(address string, s span, scrape time.Duration) (*prom, error) {
	client, err := api.NewClient(api.Config{Address: address})
	if err != nil {
		return nil, fmt.Errorf("prometheus at %s: %w", address, err)
	}
	return &prom{api: v1.NewAPI(client), span: s, scrape: scrape}, nil
}

// expand fills in what Grafana would: every process, and a window for rates that holds at least four scrapes.
func (p *prom) expand(expr string) string {
	interval := max(p.span.step+p.scrape, 4*p.scrape)
	return strings.NewReplacer("$__rate_interval", fmt.Sprintf("%ds", int(interval.Seconds())), "$instance", ".*").Replace(expr)
}

// series evaluates an expression and names what it gives by the legend's format.
func (p *prom) series(ctx context.Context, expr, legend string) ([]series, error) {
	value, _, _, err := p.api.QueryRange(ctx, p.expand(expr), v1.Range{Start: p.span.from, End: p.span.to, Step: p.span.step})
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("query %s gives a %s, want a matrix", expr, value.Type())
	}
	all := make([]series, 0, len(matrix))
	for _, stream := range matrix {
		s := series{name: legendOf(legend, stream.Metric), labels: stream.Metric, values: make([]float64, p.span.n())}
		for i := range s.values {
			s.values[i] = math.NaN()
		}
		for _, v := range stream.Values {
			if i := int(v.Timestamp.Time().Sub(p.span.from) / p.span.step); i >= 0 && i < len(s.values) {
				s.values[i] = float64(v.Value)
			}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b series) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// panel evaluates all of a panel's targets.
func (p *prom) panel(ctx context.Context, pn *panel) ([]series, error) {
	var all []series
	for _, t := range pn.Targets {
		found, err := p.series(ctx, t.Expr, t.LegendFormat)
		if err != nil {
			return nil, fmt.Errorf("panel %q: %w", pn.Title, err)
		}
		for _, s := range found {
			s.line = pn.compares(s.name)
			all = append(all, s)
		}
	}
	return all, nil
}

var placeholder = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// legendOf names a series as Grafana does.
func legendOf(format string, labels model.Metric) string {
	if format == "" {
		return labels.String()
	}
	return placeholder.ReplaceAllStringFunc(format, func(m string) string {
		return string(labels[model.LabelName(placeholder.FindStringSubmatch(m)[1])])
	})
}

// firing is a time for which something held, by steps, both included.
type firing struct{ from, to int }

// firings returns where a series has a value other than 0.
func (s *series) firings() []firing {
	var all []firing
	for i, v := range s.values {
		switch {
		case math.IsNaN(v) || v == 0:
		case len(all) > 0 && all[len(all)-1].to == i-1:
			all[len(all)-1].to = i
		default:
			all = append(all, firing{i, i})
		}
	}
	return all
}

// at returns the time of a step, in UTC.
func (s span) at(i int) time.Time { return s.from.Add(time.Duration(i) * s.step).UTC() }
