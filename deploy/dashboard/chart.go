package dashboard

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// Sizes in pixels of the drawing, before the page scales it to the window.
const (
	columnWidth = 68 // of Grafana's 24
	unitHeight  = 33 // of Grafana's units of height
	gap         = 12

	headHeight   = 34 // a panel's title
	legendHeight = 26
	marginLeft   = 56
	marginRight  = 10
	marginTop    = 8
	marginBottom = 22
)

// frame is where a chart's curves lie within its drawing.
type frame struct {
	width, height float64 // of the drawing
	left, right   float64 // of the plot
	top, bottom   float64
	steps         int
	low, high     float64 // values at the bottom and the top
}

// x is where a step lies.
func (f *frame) x(i int) float64 {
	return f.left + (f.right-f.left)*float64(i)/float64(max(1, f.steps-1))
}

// y is where a value lies.
func (f *frame) y(v float64) float64 { return f.bottom - (f.bottom-f.top)*(v-f.low)/(f.high-f.low) }

func newFrame(p *panel, s span, left float64) *frame {
	f := &frame{width: float64(p.GridPos.W*columnWidth - gap - 24), height: float64(p.GridPos.H*unitHeight - gap - headHeight - legendHeight), steps: s.n()}
	f.left, f.right, f.top, f.bottom = left, f.width-marginRight, marginTop, f.height-marginBottom
	return f
}

// drawing is an SVG in the making.
type drawing struct{ strings.Builder }

func (d *drawing) addf(format string, args ...any) { fmt.Fprintf(d, format, args...) }

// label writes a text, escaped.
func (d *drawing) label(class string, x, y float64, text string) {
	d.addf(`<text class="%s" x="%s" y="%s">%s</text>`, class, coordinate(x), coordinate(y), template.HTMLEscapeString(text))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	d.addf(`<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, coordinate(x1), coordinate(y1), coordinate(x2), coordinate(y2))
}

func (d *drawing) svg(f *frame) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %s %s" role="img">%s</svg>`, coordinate(f.width), coordinate(f.height), d.String())) //nolint:gosec // every text in it went through label
}

// chart draws a time series panel.
func chart(p *panel, all []series, s span, over *overlay) template.HTML {
	f := newFrame(p, s, marginLeft)
	d := &drawing{}
	unit := p.FieldConfig.Defaults.Unit
	at := ticks(0, top(p, all), 4, unit)
	f.low, f.high = at[0], at[len(at)-1]
	if m := p.FieldConfig.Defaults.Max; m != nil {
		f.high = *m
	}
	over.draw(d, f)
	for _, v := range at {
		if v <= f.high {
			d.line("grid", f.left, f.y(v), f.right, f.y(v))
			d.label("tick-y", f.left-8, f.y(v)+4, text(v, unit))
		}
	}
	timeAxis(d, f, s)
	if p.stacked() {
		stack(d, f, all)
	} else {
		lines(d, f, all)
	}
	for _, c := range all {
		if c.line {
			d.addf(`<path class="compare" d="%s"/>`, path(f, c.values))
		}
	}
	if v, ok := p.threshold(); ok && v <= f.high {
		d.line("compare", f.left, f.y(v), f.right, f.y(v))
	}
	if len(all) == 0 {
		d.label("empty", (f.left+f.right)/2, (f.top+f.bottom)/2, "nothing in this time")
	}
	return d.svg(f)
}

// reach is how far above the curves a line to compare with may lie and still be shown: one far beyond would flatten them.
const reach = 4

// top returns the greatest value that a panel has to show.
func top(p *panel, all []series) float64 {
	most := 0.0
	var sums []float64
	for _, c := range all {
		if c.line {
			continue
		}
		if sums == nil {
			sums = make([]float64, len(c.values))
		}
		for i, v := range c.values {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				continue
			}
			sums[i] += v
			if !p.stacked() {
				most = max(most, v)
			}
		}
	}
	if p.stacked() {
		for _, v := range sums {
			most = max(most, v)
		}
	}
	highest := most
	for _, c := range all {
		if !c.line {
			continue
		}
		for _, v := range c.values {
			if v <= reach*most && !math.IsInf(v, 0) {
				highest = max(highest, v)
			}
		}
	}
	if v, ok := p.threshold(); ok && v <= reach*most {
		highest = max(highest, v)
	}
	return highest * 1.04
}

func timeAxis(d *drawing, f *frame, s span) {
	for _, c := range s.times(int(f.right-f.left) / 64) {
		x := f.left + (f.right-f.left)*float64(c.at.Sub(s.from))/float64(s.to.Sub(s.from))
		d.line("grid v", x, f.top, x, f.bottom)
		d.label("tick-x", x, f.height-5, c.text)
	}
}

// path draws the runs of a series that have values within the frame.
func path(f *frame, values []float64) string {
	var b strings.Builder
	drawn := false
	for i, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) || v > f.high*1.001 {
			drawn = false
			continue
		}
		command := "L"
		if !drawn {
			command = "M"
		}
		fmt.Fprintf(&b, "%s%s %s", command, coordinate(f.x(i)), coordinate(f.y(v)))
		if !drawn {
			b.WriteString("h.01") // a point by itself shows too
		}
		drawn = true
	}
	return b.String()
}

// lines draws each series as a curve; where there is but one, with its area.
func lines(d *drawing, f *frame, all []series) {
	colour, curves := 0, 0
	for _, c := range all {
		if !c.line {
			curves++
		}
	}
	for _, c := range all {
		if c.line {
			continue
		}
		if curves == 1 {
			for _, run := range runs(c.values) {
				d.addf(`<path class="area c%d" d="%s"/>`, colour%colours, polygon(f, run.from, c.values[run.from:run.to+1], nil))
			}
		}
		d.addf(`<path class="line c%d" d="%s"/>`, colour%colours, path(f, c.values))
		colour++
	}
}

// colours is how many the page's palette has.
const colours = 10

// stack draws the series on top of each other.
func stack(d *drawing, f *frame, all []series) {
	base := make([]float64, f.steps)
	colour := 0
	for _, c := range all {
		if c.line {
			continue
		}
		upper := make([]float64, f.steps)
		for i, v := range c.values {
			upper[i] = base[i]
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				upper[i] += v
			}
		}
		for _, run := range runs(c.values) {
			d.addf(`<path class="stack c%d" d="%s"/>`, colour%colours, polygon(f, run.from, upper[run.from:run.to+1], base[run.from:run.to+1]))
		}
		base = upper
		colour++
	}
}

// runs returns where a series has values, without gaps.
func runs(values []float64) []firing {
	present := series{values: make([]float64, len(values))}
	for i, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			present.values[i] = 1
		}
	}
	return present.firings()
}

// polygon is the area between two curves that begin at a step; a nil base is the bottom.
func polygon(f *frame, first int, upper, base []float64) string {
	var b strings.Builder
	b.WriteByte('M')
	for i, v := range upper {
		fmt.Fprintf(&b, "%s %s ", coordinate(f.x(first+i)), coordinate(f.y(min(v, f.high))))
	}
	for i := len(upper) - 1; i >= 0; i-- {
		y := f.bottom
		if base != nil {
			y = f.y(min(base[i], f.high))
		}
		fmt.Fprintf(&b, "%s %s ", coordinate(f.x(first+i)), coordinate(y))
	}
	b.WriteByte('Z')
	return b.String()
}

// overlay is what every chart shows behind its curves: when alerts fired, and when processes started.
type overlay struct {
	alerts map[string][]firing // by severity
	starts []int               // steps
}

func (o *overlay) draw(d *drawing, f *frame) {
	for _, severity := range []string{"warning", "critical"} {
		for _, a := range o.alerts[severity] {
			x1, x2 := f.x(a.from), f.x(min(a.to+1, f.steps-1))
			d.addf(`<rect class="band %s" x="%s" y="%s" width="%s" height="%s"/>`, severity, coordinate(x1), coordinate(f.top), coordinate(max(2, x2-x1)), coordinate(f.bottom-f.top))
			d.addf(`<rect class="edge %s" x="%s" y="%s" width="%s" height="3"/>`, severity, coordinate(x1), coordinate(f.top), coordinate(max(2, x2-x1)))
		}
	}
	for _, i := range o.starts {
		d.line("start", f.x(i), f.top, f.x(i), f.bottom)
	}
}

// timeline draws a state timeline: a row a series, filled while it holds.
func timeline(p *panel, all []series, s span) template.HTML {
	f := newFrame(p, s, 210)
	const rowHeight = 24.0
	f.height = marginTop + marginBottom + rowHeight*float64(max(1, len(all)))
	f.bottom = f.height - marginBottom
	d := &drawing{}
	timeAxis(d, f, s)
	for r, c := range all {
		y := f.top + rowHeight*float64(r)
		d.addf(`<rect class="lane" x="%s" y="%s" width="%s" height="%s"/>`, coordinate(f.left), coordinate(y+2), coordinate(f.right-f.left), coordinate(rowHeight-4))
		d.label("tick-y name", f.left-10, y+rowHeight/2+4, c.name)
		for _, a := range c.firings() {
			x1, x2 := f.x(a.from), f.x(min(a.to+1, f.steps-1))
			d.addf(`<rect class="state %s" x="%s" y="%s" width="%s" height="%s" rx="3"><title>%s</title></rect>`, severityOf(c), coordinate(x1), coordinate(y+3), coordinate(max(3, x2-x1)), coordinate(rowHeight-6),
				template.HTMLEscapeString(fmt.Sprintf("%s: %s to %s UTC", c.name, s.at(a.from).Format("15:04:05"), s.at(a.to+1).Format("15:04:05"))))
		}
	}
	if len(all) == 0 {
		d.label("empty", f.width/2, f.height/2, "no alert fired")
	}
	return d.svg(f)
}

// severityOf is an alert's, critical where it does not say.
func severityOf(s series) string {
	if s.labels["severity"] == "warning" {
		return "warning"
	}
	return "critical"
}

// spark draws a stat's history, without axes.
func spark(p *panel, c series, s span) template.HTML {
	f := newFrame(p, s, 0)
	f.height, f.width = 44, float64(p.GridPos.W*columnWidth-gap)
	f.left, f.right, f.top, f.bottom = 0, f.width, 3, f.height
	f.high = max(top(p, []series{c}), 1e-9)
	d := &drawing{}
	for _, run := range runs(c.values) {
		d.addf(`<path class="spark" d="%s"/>`, polygon(f, run.from, c.values[run.from:run.to+1], nil))
	}
	return d.svg(f)
}
