package serve

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Selection is what a request asks for, resolved against one catalogue. It is immutable, and safe for concurrent use.
type Selection struct {
	Features []Feature // the columns of the answer, in the order asked
	JoinKeys []JoinKey // what every entity must carry: the join keys of all its views, in order of first mention

	asked  asked
	from   *catalogue
	groups []group  // one an entity
	views  []chosen // one a view
	column []place  // one a feature
}

// Feature is one feature that is asked for.
type Feature struct {
	View string
	Name string
	Kind string // windows.Kind's name: what its values are when not null
}

// asked is what a selection was resolved from: exactly one of the three.
type asked struct {
	view      string
	wholeView bool
	features  []string // nil for none
	service   string
}

// group is an entity that the selection needs, and where its join keys stand among JoinKeys.
type group struct {
	entity *entity
	keys   []int
}

// chosen is a view that the selection needs, and its group.
type chosen struct {
	*view
	group int
}

// place is where a feature's values come from: a view among the chosen, a feature of that view's schema.
type place struct{ view, feature int }

// Service resolves a feature service.
func (s *Server) Service(ctx context.Context, name string) (*Selection, error) {
	return s.resolve(ctx, asked{service: name})
}

// Features resolves references of the form view:feature, at least one, none twice.
func (s *Server) Features(ctx context.Context, references []string) (*Selection, error) {
	return s.resolve(ctx, asked{features: append([]string{}, references...)})
}

// View resolves all features of one view.
func (s *Server) View(ctx context.Context, name string) (*Selection, error) {
	return s.resolve(ctx, asked{view: name, wholeView: true})
}

// resolve resolves what is asked; a name that the cached catalogue does not know may be new, so that one is read again before the name is called unknown.
func (s *Server) resolve(ctx context.Context, a asked) (*Selection, error) {
	cached, err := s.catalogues.get(ctx)
	if err != nil {
		return nil, err
	}
	sel, err := cached.resolve(a)
	if err == nil || !unknown(err) {
		return sel, err
	}
	newer, refreshErr := s.catalogues.newerThan(ctx, cached, 0)
	if refreshErr != nil {
		return nil, refreshErr
	}
	return newer.resolve(a)
}

func unknown(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == UnknownView || e.Kind == UnknownFeature || e.Kind == UnknownService)
}

// resolve finds the names of a in c.
func (c *catalogue) resolve(a asked) (*Selection, error) {
	sel := &Selection{asked: a, from: c}
	if a.wholeView {
		if err := sel.addView(a.view); err != nil {
			return nil, err
		}
		return sel, nil
	}
	references := a.features
	if a.features == nil {
		var ok bool
		if references, ok = c.services[a.service]; !ok {
			return nil, c.unknownService(a.service)
		}
	}
	if len(references) == 0 {
		return nil, invalid("no feature is asked for")
	}
	for _, r := range references {
		if err := sel.addReference(r); err != nil {
			return nil, err
		}
	}
	return sel, nil
}

func (sel *Selection) addView(name string) error {
	at, err := sel.choose(name)
	if err != nil {
		return err
	}
	for i := range sel.views[at].schema.Features {
		sel.addFeature(place{at, i})
	}
	return nil
}

func (sel *Selection) addReference(reference string) error {
	viewName, featureName, ok := strings.Cut(reference, ":")
	if !ok || viewName == "" || featureName == "" || strings.Contains(featureName, ":") {
		return invalid("reference %s is not of the form view:feature", Quote(reference))
	}
	at, err := sel.choose(viewName)
	if err != nil {
		return err
	}
	feature, ok := sel.views[at].index[featureName]
	if !ok {
		return sel.views[at].unknownFeature(featureName)
	}
	p := place{at, feature}
	if sel.asked.features != nil && slices.Contains(sel.column, p) { // a service may name a view, and a feature of it beside
		return invalid("feature %s is asked for twice", reference)
	}
	sel.addFeature(p)
	return nil
}

func (sel *Selection) addFeature(p place) {
	v := sel.views[p.view]
	f := v.schema.Features[p.feature]
	sel.Features = append(sel.Features, Feature{View: v.name, Name: f.Name, Kind: f.Kind})
	sel.column = append(sel.column, p)
}

// choose returns the place of a view among the chosen, where it puts it at its first mention.
func (sel *Selection) choose(name string) (int, error) {
	at := slices.IndexFunc(sel.views, func(c chosen) bool { return c.name == name })
	if at >= 0 {
		return at, nil
	}
	v, ok := sel.from.views[name]
	if !ok {
		return 0, sel.from.unknownView(name)
	}
	g, err := sel.groupOf(v)
	if err != nil {
		return 0, err
	}
	sel.views = append(sel.views, chosen{v, g})
	return len(sel.views) - 1, nil
}

// groupOf returns the place of v's entity among the groups. Entities may share a join key, as long as it is of one type.
func (sel *Selection) groupOf(v *view) (int, error) {
	at := slices.IndexFunc(sel.groups, func(g group) bool { return g.entity == v.entity })
	if at >= 0 {
		return at, nil
	}
	g := group{entity: v.entity}
	for _, k := range v.entity.joinKeys {
		i := slices.IndexFunc(sel.JoinKeys, func(have JoinKey) bool { return have.Name == k.Name })
		if i < 0 {
			i = len(sel.JoinKeys)
			sel.JoinKeys = append(sel.JoinKeys, k)
		}
		if have := sel.JoinKeys[i]; have.Kind != k.Kind {
			return 0, invalid("join key %s is of type %s for entity %s and of type %s for another entity that is asked for: ask for them in two requests", k.Name, k.Kind, v.entity.name, have.Kind)
		}
		g.keys = append(g.keys, i)
	}
	sel.groups = append(sel.groups, g)
	return len(sel.groups) - 1, nil
}
