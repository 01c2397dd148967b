package dashboard

import (
	"context"
	_ "embed" // page.html
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// Options say what to draw.
type Options struct {
	Dashboard  []byte        // Grafana's JSON
	Prometheus string        // its address: http://HOST:PORT
	From, To   time.Time     // From before To
	Scrape     time.Duration // how often Prometheus scrapes; 0 for 5 s
}

//go:embed page.html
var pageText string

// page is what page.html is filled with.
type page struct {
	Title, Description string
	From, To           time.Time
	Step               time.Duration
	Cells              []cell
	Fired              []fired
}

// cell is one panel, placed on the page's grid.
type cell struct {
	Kind, Title, Description string
	Column, Width            int
	Row, Height              int
	SVG                      template.HTML
	Legend                   []legend
	Data                     template.JS // for the script that shows what is under the pointer
	Value, Colour            string      // of a stat
}

// legend names a curve.
type legend struct {
	Class, Name, Last string
	Most              string // "" where there is no room for it, or no use
}

// fired is an alert's time, for the list at the end.
type fired struct {
	Alert, Severity string
	From, To        time.Time
	Lasting         time.Duration
}

// Render writes the page. Every query is sent; one that fails fails it all, by the panel's name.
func Render(ctx context.Context, w io.Writer, o Options) error {
	d, err := parse(o.Dashboard)
	if err != nil {
		return err
	}
	if !o.From.Before(o.To) {
		return fmt.Errorf("draw from %s to %s: the end is not after the beginning", o.From.Format(time.RFC3339), o.To.Format(time.RFC3339))
	}
	if o.Scrape == 0 {
		o.Scrape = 5 * time.Second
	}
	p, err := newProm(o.Prometheus, newSpan(o.From, o.To), o.Scrape)
	if err != nil {
		return err
	}
	pg := page{Title: d.Title, Description: d.Description, From: p.span.from.UTC(), To: p.span.to.UTC(), Step: p.span.step}
	over, err := p.overlay(ctx, d, &pg)
	if err != nil {
		return err
	}
	for _, pn := range d.Panels {
		c, err := p.cell(ctx, pn, over)
		if err != nil {
			return err
		}
		pg.Cells = append(pg.Cells, c)
	}
	t, err := template.New("page").Funcs(template.FuncMap{"height": func(units int) int { return units*unitHeight - gap }}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("read the page's template: %w", err)
	}
	return t.Execute(w, pg)
}

// overlay evaluates the dashboard's annotations.
func (p *prom) overlay(ctx context.Context, d *dashboard, pg *page) (*overlay, error) {
	over := &overlay{alerts: map[string][]firing{}}
	for _, a := range d.Annotations.List {
		all, err := p.series(ctx, a.Expr, a.TitleFormat)
		if err != nil {
			return nil, fmt.Errorf("annotation %q: %w", a.Name, err)
		}
		merged := map[string]*series{}
		for _, s := range all {
			if _, alert := s.labels["alertname"]; !alert {
				for _, f := range s.firings() {
					over.starts = append(over.starts, f.from)
				}
				continue
			}
			severity := severityOf(s)
			if merged[severity] == nil {
				merged[severity] = &series{values: make([]float64, p.span.n())}
			}
			for _, f := range s.firings() {
				pg.Fired = append(pg.Fired, fired{Alert: s.name, Severity: severity, From: p.span.at(f.from), To: p.span.at(f.to + 1), Lasting: time.Duration(f.to+1-f.from) * p.span.step})
				for i := f.from; i <= f.to; i++ {
					merged[severity].values[i] = 1
				}
			}
		}
		for severity, s := range merged {
			over.alerts[severity] = s.firings()
		}
	}
	slices.SortFunc(pg.Fired, func(a, b fired) int { return a.From.Compare(b.From) })
	return over, nil
}

// cell evaluates and draws one panel.
func (p *prom) cell(ctx context.Context, pn *panel, over *overlay) (cell, error) {
	c := cell{Kind: pn.Type, Title: pn.Title, Description: pn.Description, Column: pn.GridPos.X + 1, Width: pn.GridPos.W, Row: pn.GridPos.Y + 1, Height: pn.GridPos.H}
	all, err := p.panel(ctx, pn)
	if err != nil {
		return c, err
	}
	switch pn.Type {
	case "stat":
		if len(all) == 0 {
			c.Value, c.Colour = "–", "none"
			break
		}
		value, _ := lastAndMost(all[0].values)
		c.Value, c.Colour = text(pn.FieldConfig.Defaults.round(value), pn.FieldConfig.Defaults.Unit), pn.FieldConfig.Defaults.colour(value)
		c.SVG = spark(pn, all[0], p.span)
	case "state-timeline":
		c.SVG = timeline(pn, all, p.span)
	case "timeseries":
		c.SVG, c.Legend = chart(pn, all, p.span, over), legends(all, pn.FieldConfig.Defaults.Unit)
		c.Data, err = data(pn, all)
	}
	return c, err
}

// lastAndMost returns a series' last value and its greatest.
func lastAndMost(values []float64) (last, most float64) {
	last, most = math.NaN(), math.NaN()
	for _, v := range values {
		if math.IsNaN(v) {
			continue
		}
		last = v
		if math.IsNaN(most) || v > most {
			most = v
		}
	}
	return last, most
}

// manySeries is how many series leave no room for their greatest values in the legend.
const manySeries = 5

func legends(all []series, unit string) []legend {
	var entries []legend
	colour := 0
	for _, s := range all {
		last, most := lastAndMost(s.values)
		l := legend{Class: "compare", Name: s.name, Last: text(last, unit), Most: text(most, unit)}
		if s.line || len(all) > manySeries {
			l.Most = ""
		}
		if !s.line {
			l.Class = fmt.Sprintf("c%d", colour%colours)
			colour++
		}
		entries = append(entries, l)
	}
	return entries
}

// data is what the page's script needs to tell the values under the pointer.
func data(pn *panel, all []series) (template.JS, error) {
	type curve struct {
		Name   string     `json:"n"`
		Colour string     `json:"c"`
		Values []*float64 `json:"v"`
	}
	curves := []curve{}
	for i, l := range legends(all, "") {
		c := curve{Name: l.Name, Colour: l.Class}
		for _, v := range all[i].values {
			var p *float64
			if rounded := float64(float32(v)); !math.IsNaN(v) && !math.IsInf(v, 0) {
				p = &rounded
			}
			c.Values = append(c.Values, p)
		}
		curves = append(curves, c)
	}
	b, err := json.Marshal(map[string]any{"unit": pn.FieldConfig.Defaults.Unit, "left": marginLeft, "right": marginRight, "series": curves})
	if err != nil {
		return "", fmt.Errorf("panel %q: %w", pn.Title, err)
	}
	return template.JS(strings.ReplaceAll(string(b), "</", `<\/`)), nil //nolint:gosec // JSON of our own, without an end of the script
}
