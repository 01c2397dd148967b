package dashboard

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// dashboard is the part of Grafana's JSON that is drawn.
type dashboard struct {
	Title       string
	Description string
	Panels      []*panel
	Annotations struct{ List []annotation }
}

type annotation struct {
	Name, Expr, TitleFormat, IconColor string
}

type panel struct {
	Type        string
	Title       string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Targets     []target
	FieldConfig struct {
		Defaults  defaults
		Overrides []override
	}
}

type target struct{ Expr, LegendFormat string }

type defaults struct {
	Unit       string
	Min, Max   *float64
	Decimals   *int
	Thresholds struct{ Steps []step }
	Custom     struct {
		Stacking        struct{ Mode string }
		ThresholdsStyle struct{ Mode string }
	}
}

// step is a colour from a value on; nil stands for all values below the others.
type step struct {
	Value *float64
	Color string
}

// override marks the series whose names match as lines to compare with: an objective, a limit.
type override struct {
	Matcher struct{ ID, Options string }
}

// parse reads a dashboard. What it has and cannot draw is an error: a page that leaves something out without a word would mislead.
func parse(text []byte) (*dashboard, error) {
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	for _, p := range d.Panels {
		switch p.Type {
		case "row", "stat", "timeseries", "state-timeline":
		default:
			return nil, fmt.Errorf("panel %q is a %s: only rows, stats, timeseries and state-timelines can be drawn", p.Title, p.Type)
		}
		for _, o := range p.FieldConfig.Overrides {
			if _, err := o.pattern(); err != nil {
				return nil, fmt.Errorf("panel %q: %w", p.Title, err)
			}
		}
	}
	return &d, nil
}

// pattern returns which names an override is for.
func (o *override) pattern() (*regexp.Regexp, error) {
	if o.Matcher.ID != "byRegexp" {
		return nil, fmt.Errorf("an override that matches %s: only byRegexp is known", o.Matcher.ID)
	}
	return regexp.Compile(strings.Trim(o.Matcher.Options, "/"))
}

// compares reports whether a series is a line to compare the others with.
func (p *panel) compares(name string) bool {
	for i := range p.FieldConfig.Overrides {
		if re, err := p.FieldConfig.Overrides[i].pattern(); err == nil && re.MatchString(name) {
			return true
		}
	}
	return false
}

func (p *panel) stacked() bool { return p.FieldConfig.Defaults.Custom.Stacking.Mode == "normal" }

// threshold returns the value at which a panel draws a line, if it does.
func (p *panel) threshold() (value float64, ok bool) {
	d := &p.FieldConfig.Defaults
	if d.Custom.ThresholdsStyle.Mode == "" || len(d.Thresholds.Steps) == 0 {
		return 0, false
	}
	last := d.Thresholds.Steps[len(d.Thresholds.Steps)-1]
	if last.Value == nil {
		return 0, false
	}
	return *last.Value, true
}

// round leaves as many decimals as the panel asks for; of a share, those of its percentage.
func (d *defaults) round(value float64) float64 {
	if d.Decimals == nil {
		return value
	}
	scale := math.Pow(10, float64(*d.Decimals))
	if d.Unit == "percentunit" {
		scale *= 100
	}
	return math.Round(value*scale) / scale
}

// colour returns the colour of a value by the thresholds.
func (d *defaults) colour(value float64) string {
	colour := ""
	for _, s := range d.Thresholds.Steps {
		if s.Value == nil || value >= *s.Value {
			colour = s.Color
		}
	}
	return colour
}
