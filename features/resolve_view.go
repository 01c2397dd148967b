package features

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"highwater/windows"
)

func (r *resolver) view(said named[viewText], whole *projectText) {
	t := said.value
	v := &View{Name: said.name, TTL: t.ttl.value}
	r.p.Views = append(r.p.Views, v)
	if !said.ok {
		return
	}
	v.Source = resolveName(r, t.source, "source", r.p.Sources, whole.sources.ok, func(s *Source) string { return s.Name })
	v.Entity = resolveName(r, t.entity, "entity", r.p.Entities, whole.entities.ok, func(e *Entity) string { return e.Name })
	if v.Source != nil && r.broken[v.Source] {
		v.Source = nil
	}
	if v.Entity != nil && r.broken[v.Entity] {
		v.Entity = nil
	}
	if v.Source != nil && v.Entity != nil {
		r.joinKeys(v, t.entity.at)
	}
	fields := r.fieldScope(v)
	v.Where, v.where = r.filter(t.where, fields)
	for _, f := range t.features.value {
		r.featureName(v, f)
	}
	newViewFeatures(r, v, t.features.value, fields).resolve()
}

// resolveName finds what a name refers to. complete says that all that is declared is known, so that a name that is not among it is a mistake.
func resolveName[T any](r *resolver, name located[string], noun string, declared []*T, complete bool, nameOf func(*T) string) *T {
	if !name.ok {
		return nil
	}
	found := byNameIn(declared, name.value, nameOf)
	if found == nil && complete {
		r.d.report(name.at, fmt.Sprintf("there is no %s %s", noun, name.value), suggest(noun, name.value, namesOf(declared, nameOf)))
	}
	return found
}

// joinKeys finds the entity's join keys among the source's fields.
func (r *resolver) joinKeys(v *View, at position) {
	for _, k := range v.Entity.JoinKeys {
		i := v.Source.field(k.Name)
		if i < 0 {
			r.d.report(at, fmt.Sprintf("source %s has no field %s, the join key of entity %s", v.Source.Name, k.Name, v.Entity.Name),
				fmt.Sprintf("declare it: fields: {%s: %s}", k.Name, k.Kind))
			continue
		}
		if f := v.Source.Fields[i]; f.Kind != k.Kind && f.Kind != windows.Null {
			r.d.report(at, fmt.Sprintf("the join key %s of entity %s is %s, and source %s declares it %s", k.Name, v.Entity.Name, k.Kind, v.Source.Name, f.Kind),
				"declare both alike, string or int64")
		}
		v.Keys = append(v.Keys, i)
	}
}

// featureName refuses a feature that would stand twice in an answer that has join keys and features side by side, as Feast's has.
func (r *resolver) featureName(v *View, f named[featureText]) {
	if v.Entity != nil && slices.ContainsFunc(v.Entity.JoinKeys, func(k JoinKey) bool { return k.Name == f.name }) {
		r.d.report(f.at, fmt.Sprintf("feature %s has the name of a join key of entity %s", f.name, v.Entity.Name), "answers have both side by side; give it another name")
	}
}

// filter compiles a where, which must be a bool.
func (r *resolver) filter(where located[formula], fields *scope) (Expression, string) {
	if !where.ok || fields == nil {
		return nil, ""
	}
	t, ok := r.compile(where.value, fields)
	if !ok {
		return nil, ""
	}
	if t.kind != windows.Bool {
		r.d.report(where.at, fmt.Sprintf("where is a condition, and this is %s", article(t.kind)), "compare it with something, as in price > 0")
		return nil, ""
	}
	return t.eval, t.text
}

// fieldScope is what a where can name: the source's fields. It is nil where they are not known.
func (r *resolver) fieldScope(v *View) *scope {
	if v.Source == nil {
		return nil
	}
	s := &scope{noun: "field", of: "source " + v.Source.Name, names: v.Source.fieldNames()}
	s.lookup = func(name string) (term, found) {
		i := v.Source.field(name)
		if i < 0 {
			return term{}, unknown
		}
		if v.Source.Fields[i].Kind == windows.Null {
			return term{}, unusable
		}
		return columnTerm(i, v.Source.Fields[i].Kind), usable
	}
	return s
}

// compile compiles an expression and reports its mistakes where they stand in the file.
func (r *resolver) compile(f formula, in *scope) (term, bool) {
	t, wrong := compileExpression(f.text, in)
	if len(wrong) == 0 {
		return t, t.eval != nil
	}
	places := r.d.places(f.node, f.text)
	for _, w := range wrong {
		r.d.report(places[min(max(w.at, 0), len(places)-1)], w.what, w.fix)
	}
	return term{}, false
}

// machine compiles a view's windows, and gives its vectors their schema.
func (r *resolver) machine(v *View, at position) {
	specs := make([]windows.Spec, len(v.Features))
	for i, f := range v.Features {
		specs[i] = f.Spec
		v.Schema.Features = append(v.Schema.Features, SchemaFeature{Name: f.Name, Kind: f.Kind.String()})
	}
	v.Schema.ID = schemaID(v.Schema.Features)
	machine, err := windows.Compile(specs, v.TTL.Microseconds())
	if err != nil {
		r.d.report(at, fmt.Sprintf("feature view %s: %s", v.Name, strings.ReplaceAll(err.Error(), "\n", ", ")), "")
		return
	}
	v.Machine = machine
}

// schemaID names a shape by 8 hex digits of a hash of its features, in order.
func schemaID(features []SchemaFeature) string {
	text, _ := json.Marshal(features) // of strings alone, it cannot fail
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}

func (r *resolver) service(said named[[]located[string]], complete bool) {
	s := &Service{Name: said.name}
	r.p.Services = append(r.p.Services, s)
	listed := map[Reference]position{}
	for _, item := range said.value {
		if !item.ok {
			continue
		}
		for _, ref := range r.member(item, complete) {
			if first, twice := listed[ref]; twice {
				r.d.report(item.at, fmt.Sprintf("%s:%s stands twice in service %s", ref.View.Name, ref.View.Features[ref.Feature].Name, s.Name),
					fmt.Sprintf("line %d has it already; leave one of them out", first.line))
				break
			}
			listed[ref] = item.at
			s.Features = append(s.Features, ref)
		}
	}
}

// member returns the features that an item of a service stands for.
func (r *resolver) member(item located[string], complete bool) []Reference {
	viewName, featureName, one := strings.Cut(item.value, ":")
	v := resolveName(r, located[string]{value: viewName, at: item.at, ok: true}, "feature view", r.p.Views, complete, func(v *View) string { return v.Name })
	if v == nil {
		return nil
	}
	if one {
		i := v.Feature(featureName)
		if i >= 0 {
			return []Reference{{View: v, Feature: i}}
		}
		if len(v.Features) > 0 {
			r.d.report(item.at, fmt.Sprintf("feature view %s has no feature %s", v.Name, featureName), suggest("feature", featureName, v.FeatureNames()))
		}
		return nil
	}
	all := make([]Reference, len(v.Features))
	for i := range all {
		all[i] = Reference{View: v, Feature: i}
	}
	return all
}
