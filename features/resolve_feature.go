package features

import (
	"fmt"
	"slices"
	"time"

	"highwater/windows"
)

// viewFeatures resolves the features of one view: aggregates first, then expressions, each after those that it names.
type viewFeatures struct {
	r      *resolver
	v      *View
	said   []named[featureText]
	fields *scope  // nil where the source is not known
	state  []state // by feature
}

// state is how far a feature has been resolved.
type state uint8

const (
	unresolved state = iota
	resolving        // on the way: who names it now closes a cycle
	resolved
	wrong // reported: who names it says nothing more
)

func newViewFeatures(r *resolver, v *View, said []named[featureText], fields *scope) *viewFeatures {
	vf := &viewFeatures{r: r, v: v, said: said, fields: fields, state: make([]state, len(said))}
	for _, f := range said {
		v.Features = append(v.Features, &Feature{Name: f.name, Spec: windows.Spec{Name: f.name, Arg: -1}})
	}
	return vf
}

func (vf *viewFeatures) resolve() {
	for i, f := range vf.said {
		vf.state[i] = wrong
		switch {
		case !f.ok:
		case f.value.expression.given:
			vf.state[i] = unresolved
			vf.onlyExpression(f)
		case !f.value.aggregate.given:
			vf.r.d.report(f.at, fmt.Sprintf("feature %s has neither aggregate nor expression", f.name), "want one of them, as in {aggregate: count, window: 30m}")
		case vf.aggregate(i):
			vf.state[i] = resolved
		}
	}
	for i := range vf.said {
		if vf.state[i] == unresolved {
			vf.expression(i)
		}
	}
}

// onlyExpression refuses the keys of an aggregate beside an expression.
func (vf *viewFeatures) onlyExpression(f named[featureText]) {
	t := f.value
	for _, k := range []struct {
		key   string
		at    position
		given bool
	}{
		{"aggregate", t.aggregate.at, t.aggregate.given}, {"of", t.of.at, t.of.given}, {"where", t.where.at, t.where.given}, {"window", t.window.at, t.window.given},
		{"resolution", t.resolution.at, t.resolution.given}, {"emit", t.emit.at, t.emit.given}, {"limit", t.limit.at, t.limit.given},
	} {
		if k.given {
			vf.r.d.report(k.at, fmt.Sprintf("%s beside expression in feature %s", k.key, f.name), "an expression stands alone; give the aggregate a feature of its own, and name that")
		}
	}
}

// expression compiles a derived feature, after those that it names.
func (vf *viewFeatures) expression(i int) {
	said := vf.said[i].value.expression
	vf.state[i] = resolving
	defer func() {
		if vf.state[i] == resolving {
			vf.state[i] = wrong
		}
	}()
	if !said.ok {
		return
	}
	names := make([]string, len(vf.said))
	for j, f := range vf.said {
		names[j] = f.name
	}
	after := []int{} // not nil, which would say that it reads whatever is declared before it
	in := &scope{noun: "feature", of: "feature view " + vf.v.Name, names: names}
	in.lookup = func(name string) (term, found) {
		j, found := vf.lookup(name)
		if found != usable {
			return term{}, found
		}
		if !slices.Contains(after, j) {
			after = append(after, j)
		}
		return columnTerm(j, vf.v.Features[j].Kind), usable
	}
	t, ok := vf.r.compile(said.value, in)
	if !ok {
		return
	}
	f := vf.v.Features[i]
	f.Kind, f.expression = t.kind, t.text
	f.Spec.Derive, f.Spec.DeriveKind, f.Spec.After = t.eval, t.kind, after
	vf.state[i] = resolved
}

// lookup finds the feature that an expression names, and resolves it where that is still to do.
func (vf *viewFeatures) lookup(name string) (int, found) {
	i := vf.v.Feature(name)
	if i < 0 {
		return i, unknown
	}
	if vf.state[i] == unresolved {
		vf.expression(i)
	}
	switch vf.state[i] {
	case resolving:
		return i, cyclic
	case wrong:
		return i, unusable
	}
	return i, usable
}

// aggregate resolves feature i, an aggregate. ok says that its kind is known.
func (vf *viewFeatures) aggregate(i int) (ok bool) {
	said, f := vf.said[i].value, vf.v.Features[i]
	f.Where, f.where = vf.r.filter(said.where, vf.fields)
	info, known := windows.Lookup(said.aggregate.value)
	known = known && said.aggregate.ok
	vf.window(said, &f.Spec.Window)
	if !known {
		return false
	}
	f.Spec.Aggregate = info.Name
	vf.limit(vf.said[i], info, &f.Spec)
	if !vf.argument(vf.said[i], info, f) {
		return false
	}
	f.Kind = info.Output(f.Spec.Input)
	return true
}

// argument resolves `of`. ok says that the kind of what is aggregated is known.
func (vf *viewFeatures) argument(named named[featureText], info windows.Info, f *Feature) (ok bool) {
	of := named.value.of
	switch {
	case !of.given && info.Argument == windows.ArgumentRequired:
		vf.r.d.report(named.at, fmt.Sprintf("%s is taken of a field, and feature %s names none", info.Name, named.name), "add of: FIELD")
		return false
	case !of.given:
		return true
	case info.Argument == windows.ArgumentNone:
		vf.r.d.report(of.at, fmt.Sprintf("%s is not taken of a field", info.Name), "leave out of")
		return true
	case !of.ok || vf.v.Source == nil:
		return false
	}
	source := vf.v.Source
	i := source.field(of.value)
	if i < 0 {
		vf.r.d.report(of.at, fmt.Sprintf("source %s declares no field %s", source.Name, of.value), suggest("field", of.value, source.fieldNames()))
		return false
	}
	kind := source.Fields[i].Kind
	if kind == windows.Null {
		return false
	}
	if !info.Accepts(kind) {
		vf.r.d.report(of.at, fmt.Sprintf("%s does not take %s, a %s", info.Name, of.value, kind), "it takes "+kindNames(info.Inputs))
		return false
	}
	f.of = of.value
	f.Spec.Input, f.Spec.Arg = kind, vf.column(i)
	return true
}

// column returns the index of a source's field among the columns that the view's aggregates take.
func (vf *viewFeatures) column(field int) int {
	if c := slices.Index(vf.v.Columns, field); c >= 0 {
		return c
	}
	vf.v.Columns = append(vf.v.Columns, field)
	return len(vf.v.Columns) - 1
}

// window resolves window, resolution and emit.
func (vf *viewFeatures) window(said featureText, w *windows.Window) {
	sliding := said.window.given && !(said.window.ok && said.window.value.tumbling)
	tumbling := said.window.given && !(said.window.ok && !said.window.value.tumbling)
	if said.resolution.given && !sliding {
		vf.r.d.report(said.resolution.at, "a resolution without a sliding window", "a sliding window is window: 30m; else leave out resolution")
	}
	if said.emit.given && !tumbling {
		vf.r.d.report(said.emit.at, "emit without a tumbling window", "a tumbling window is window: {tumbling: 1h}; else leave out emit")
	}
	if !said.window.ok {
		return
	}
	length := said.window.value.length
	w.Length = length.Microseconds()
	switch {
	case said.window.value.tumbling && said.emit.value == "running":
		w.Kind = windows.Running
	case said.window.value.tumbling:
		w.Kind = windows.Tumbling
	case said.resolution.ok && said.resolution.value.exact:
		w.Kind = windows.Exact
	default:
		w.Kind = windows.Sliding
		w.Resolution = vf.resolution(said, length).Microseconds()
	}
}

// resolution returns the steps in which a sliding window slides.
func (vf *viewFeatures) resolution(said featureText, length time.Duration) time.Duration {
	step, divides := defaultResolution(length)
	if !said.resolution.given {
		if !divides {
			vf.r.d.report(said.window.at, fmt.Sprintf("no round step divides a window of %s", durationText(length)), "set resolution to a duration that divides it, or to exact")
		}
		return step
	}
	set := said.resolution.value.length
	if !said.resolution.ok || length%set == 0 {
		return set
	}
	fix := "set one that does, or exact"
	if divides {
		fix = fmt.Sprintf("set one that does, such as %s, or exact", durationText(step))
	}
	vf.r.d.report(said.resolution.at, fmt.Sprintf("a resolution of %s does not divide a window of %s", durationText(set), durationText(length)), fix)
	return set
}

// limit resolves limit.
func (vf *viewFeatures) limit(named named[featureText], info windows.Info, spec *windows.Spec) {
	limit := named.value.limit
	byDefault := info.DefaultLimit(spec.Window.Kind)
	if !limit.given {
		spec.Limit = byDefault
		return
	}
	if byDefault == 0 && !(named.value.window.given && !named.value.window.ok) {
		vf.r.d.report(limit.at, fmt.Sprintf("%s over this window holds no list that a limit could bound", info.Name), "leave out limit, or set resolution: exact")
		return
	}
	spec.Limit = int(limit.value)
}
