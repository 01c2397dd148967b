package features

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ChangeKind says what a changed definition does to the state it finds.
type ChangeKind string

// The kinds of change that definitions cannot make silently.
const (
	// ChangedShape: the state cannot hold it at all. New definitions that make one are refused.
	ChangedShape ChangeKind = "shape"
	// ChangedMeaning: the state can hold it, but what was aggregated before means something else than what will be: it takes a new generation.
	ChangedMeaning ChangeKind = "meaning"
)

// Change is one changed definition that keeps a project from carrying on the state of its last definitions as if nothing were.
type Change struct {
	Kind ChangeKind
	What string // what changed, by its name
	Fix  string // the way out; of a change of meaning: what it takes, and what else could be done
}

// Error returns what changed, and the way out.
func (c *Change) Error() string { return c.What + "; " + c.Fix }

// StartOver is the way out of every change: the words that end its Fix. A reset from "here" is none, for it keeps the state.
const StartOver = "begin a new generation with highwater reset --definitions FILE --from earliest (or latest, or a time)"

// CompatibleWith reports what about the change from old to new the state of old cannot carry on as if nothing were; each error is a [*Change]. It is nil where it can:
// views, features, services, entities, sources and fields may come, go and change places; entities may change their names; ttl, lateness and all other limits may change.
// What has gone takes its state with it, and starts empty where it comes back: so old alone is compared, and nothing before it.
func CompatibleWith(old, new *Project) []error {
	c := &changes{}
	if old.Name != new.Name {
		c.shape(fmt.Sprintf("the project was called %s, and is called %s", old.Name, new.Name), "a project has a data directory of its own: name another")
	}
	if old.Clock != new.Clock {
		c.meaning(fmt.Sprintf("clock was %s, is %s", old.Clock, new.Clock), "")
	}
	for _, now := range new.Sources {
		if was := old.Source(now.Name); was != nil {
			c.source(was, now, readOn(old, new, now))
		}
	}
	for _, now := range new.Views {
		if was := old.View(now.Name); was != nil {
			c.view(was, now)
		}
	}
	return c.all
}

// readOn reports whether a view of both projects reads the source: only then has its state seen it under either.
func readOn(old, new *Project, s *Source) bool {
	return slices.ContainsFunc(new.Views, func(now *View) bool {
		was := old.View(now.Name)
		return now.Source == s && was != nil && was.Source.Name == s.Name
	})
}

// changes collects what cannot be carried on.
type changes struct{ all []error }

// shape notes a change of shape.
func (c *changes) shape(what, fix string) {
	c.all = append(c.all, &Change{Kind: ChangedShape, What: what, Fix: fix})
}

// meaning notes a change of meaning of thing, which starts empty under another name; "" where that is no way.
func (c *changes) meaning(what, thing string) {
	fix := "it takes a new generation"
	if thing != "" {
		fix += fmt.Sprintf(", which keeps what was aggregated before; to have that empty, rename %s, or %s", thing, StartOver)
	}
	c.all = append(c.all, &Change{Kind: ChangedMeaning, What: what, Fix: fix})
}

// source notes what changed about a source. What its records mean matters only to views that go on.
func (c *changes) source(was, now *Source, readOn bool) {
	name := "source " + now.Name
	if was.Topic != now.Topic {
		c.shape(fmt.Sprintf("%s: its topic was %s, is %s", name, was.Topic, now.Topic), "rename the source and the feature views on it, or "+StartOver)
	}
	if !readOn {
		return
	}
	changed := func(what, was, now string) {
		if was != now {
			c.meaning(fmt.Sprintf("%s: %s %s, is %s", name, what, was, now), "the feature views on it")
		}
	}
	changed("its format was", string(was.Format), string(now.Format))
	changed("its timestamp was", was.timestampText(), now.timestampText())
	if now.Format == CSV && was.Format == CSV {
		changed("a row was", was.row(), now.row())
	}
	for _, f := range now.Fields {
		if i := was.field(f.Name); i >= 0 {
			changed(fmt.Sprintf("field %s was", f.Name), was.Fields[i].Kind.String(), f.Kind.String())
			if f.Name != now.Timestamp.Field { // of which that has been said
				changed(fmt.Sprintf("field %s was", f.Name), "in "+was.Fields[i].Place(), "in "+f.Place())
			}
		}
	}
}

// timestampText says where the event time stands, for messages.
func (s *Source) timestampText() string {
	if i := s.field(s.Timestamp.Field); i >= 0 && !s.Fields[i].InValue() {
		return s.Timestamp.String() + ", in " + s.Fields[i].Place()
	}
	return s.Timestamp.String()
}

// row returns the cells of a csv source's row, for messages.
func (s *Source) row() string {
	var cells []string
	for _, f := range s.Fields {
		if f.InValue() {
			cells = append(cells, f.Name)
		}
	}
	return strings.Join(cells, ", ")
}

// String returns a timestamp as messages have it.
func (t Timestamp) String() string {
	if t == (Timestamp{}) {
		return "the record's own"
	}
	return fmt.Sprintf("%s in %s", t.Field, t.Unit)
}

// entityWords is an entity as messages have it: "user (user_id string)".
func entityWords(e *Entity) string {
	parts := make([]string, len(e.JoinKeys))
	for i, k := range e.JoinKeys {
		parts[i] = k.Name + " " + k.Kind.String()
	}
	return fmt.Sprintf("%s (%s)", e.Name, strings.Join(parts, ", "))
}

func (c *changes) view(was, now *View) {
	name := "feature view " + now.Name
	const away = "rename the feature view, or " + StartOver
	moved := false
	if was.Source.Name != now.Source.Name {
		c.shape(fmt.Sprintf("%s: its source was %s, is %s", name, was.Source.Name, now.Source.Name), away)
		moved = true
	}
	if !slices.Equal(was.Entity.JoinKeys, now.Entity.JoinKeys) {
		c.shape(fmt.Sprintf("%s: its entity was %s, is %s", name, entityWords(was.Entity), entityWords(now.Entity)), away)
		moved = true
	}
	if moved {
		return // with another entity or source everything in it is another
	}
	if was.where != now.where {
		c.meaning(fmt.Sprintf("%s: its where was %s, is %s", name, orNone(was.where), orNone(now.where)), "the feature view")
	}
	for _, err := range now.Machine.Compatible(was.Machine) {
		c.shape(fmt.Sprintf("%s: %v", name, err), "rename the feature or the feature view, or "+StartOver)
	}
	for _, f := range now.Features {
		if i := was.Feature(f.Name); i >= 0 {
			c.feature(fmt.Sprintf("%s: feature %s", name, f.Name), was.Features[i], f)
		}
	}
}

// feature notes what changed about a feature besides what its bytes are, which is the machine's to say.
func (c *changes) feature(name string, was, now *Feature) {
	if (was.Spec.Aggregate == "") != (now.Spec.Aggregate == "") {
		c.meaning(fmt.Sprintf("%s was %s, is %s", name, was.source(), now.source()), "the feature")
		return
	}
	for _, part := range []struct{ key, was, now string }{
		{"of", was.of, now.of}, {"where", was.where, now.where}, {"expression", was.expression, now.expression},
	} {
		ofAnotherKind := part.key == "of" && was.Spec.Input != now.Spec.Input // which is a change of shape
		if part.was != part.now && !ofAnotherKind {
			thing := "the feature"
			if part.key == "expression" {
				thing = "" // it aggregates nothing
			}
			c.meaning(fmt.Sprintf("%s: its %s was %s, is %s", name, part.key, orNone(part.was), orNone(part.now)), thing)
		}
	}
}

// source says what a feature is made of.
func (f *Feature) source() string {
	return cmp.Or(f.Spec.Aggregate, f.expression)
}

func orNone(text string) string { return cmp.Or(text, "none") }
