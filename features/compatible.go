package features

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ChangeKind says what a changed definition does to the state it finds.
type ChangeKind string

// The kinds of change that stop new definitions from carrying on.
const (
	// ChangedShape: the state cannot hold it at all.
	ChangedShape ChangeKind = "shape"
	// ChangedMeaning: the state could hold it, but what was aggregated before means something else than what will be: it takes a new generation.
	ChangedMeaning ChangeKind = "meaning"
)

// Change is one changed definition that keeps a project from carrying on the state of its last definitions.
type Change struct {
	Kind ChangeKind
	What string // what changed, by its name
	Fix  string // the way out
}

// Error returns what changed, and the way out.
func (c *Change) Error() string { return c.What + "; " + c.Fix }

// CompatibleWith reports what about the change from old to new the state of old cannot carry on; each error is a [*Change]. It is nil where it can:
// views, features, services, entities, sources and fields may come, go and change places; ttl, lateness and batch limits may change.
func CompatibleWith(old, new *Project) []error {
	c := &changes{}
	if old.Name != new.Name {
		c.shape(fmt.Sprintf("the project was called %s, and is called %s", old.Name, new.Name), "start over in a new data directory")
	}
	if old.Clock != new.Clock {
		c.meaning(fmt.Sprintf("clock was %s, is %s", old.Clock, new.Clock), "the project")
	}
	for _, now := range new.Entities {
		if was := old.Entity(now.Name); was != nil {
			c.entity(was, now)
		}
	}
	for _, now := range new.Sources {
		if was := old.Source(now.Name); was != nil {
			c.source(was, now)
		}
	}
	for _, now := range new.Views {
		if was := old.View(now.Name); was != nil {
			c.view(was, now)
		}
	}
	return c.all
}

// changes collects what cannot be carried on.
type changes struct{ all []error }

func (c *changes) shape(what, fix string) {
	c.all = append(c.all, &Change{Kind: ChangedShape, What: what, Fix: fix})
}

// meaning notes a change of meaning of thing, which may be renamed instead.
func (c *changes) meaning(what, thing string) {
	c.all = append(c.all, &Change{Kind: ChangedMeaning, What: what, Fix: fmt.Sprintf("rename %s, or begin a new generation", thing)})
}

func (c *changes) entity(was, now *Entity) {
	if !slices.Equal(was.JoinKeys, now.JoinKeys) {
		c.shape(fmt.Sprintf("entity %s: its join keys were %s, are %s", now.Name, joinKeysText(was), joinKeysText(now)),
			"rename the entity and its views, or start over in a new data directory")
	}
}

func joinKeysText(e *Entity) string {
	parts := make([]string, len(e.JoinKeys))
	for i, k := range e.JoinKeys {
		parts[i] = k.Name + " " + k.Kind.String()
	}
	return strings.Join(parts, ", ")
}

func (c *changes) source(was, now *Source) {
	name := "source " + now.Name
	if was.Topic != now.Topic {
		c.shape(fmt.Sprintf("%s: its topic was %s, is %s", name, was.Topic, now.Topic), "rename the source and the views on it, or start over in a new data directory")
	}
	if was.Format != now.Format {
		c.meaning(fmt.Sprintf("%s: its format was %s, is %s", name, was.Format, now.Format), "the source")
	}
	if was.Timestamp != now.Timestamp {
		c.meaning(fmt.Sprintf("%s: its timestamp was %s, is %s", name, was.Timestamp, now.Timestamp), "the source")
	}
	if now.Format == CSV && was.Format == CSV && !slices.Equal(was.fieldNames(), now.fieldNames()) {
		c.meaning(fmt.Sprintf("%s: the cells of its rows were %s, are %s", name, strings.Join(was.fieldNames(), ", "), strings.Join(now.fieldNames(), ", ")), "the source")
	}
	for _, f := range now.Fields {
		if i := was.field(f.Name); i >= 0 && was.Fields[i].Kind != f.Kind {
			c.meaning(fmt.Sprintf("%s: field %s was %s, is %s", name, f.Name, was.Fields[i].Kind, f.Kind), "the source")
		}
	}
}

// String returns a timestamp as messages have it.
func (t Timestamp) String() string {
	if t == (Timestamp{}) {
		return "the record's own"
	}
	return fmt.Sprintf("%s in %s", t.Field, t.Unit)
}

func (c *changes) view(was, now *View) {
	name := "feature view " + now.Name
	const away = "rename the feature view, or start over in a new data directory"
	moved := false
	if was.Source.Name != now.Source.Name {
		c.shape(fmt.Sprintf("%s: its source was %s, is %s", name, was.Source.Name, now.Source.Name), away)
		moved = true
	}
	if was.Entity.Name != now.Entity.Name {
		c.shape(fmt.Sprintf("%s: its entity was %s, is %s", name, was.Entity.Name, now.Entity.Name), away)
		moved = true
	}
	if moved {
		return // with another entity or source everything in it is another
	}
	if was.where != now.where {
		c.meaning(fmt.Sprintf("%s: its where was %s, is %s", name, orNone(was.where), orNone(now.where)), "the feature view")
	}
	for _, err := range now.Machine.Compatible(was.Machine) {
		c.shape(fmt.Sprintf("%s: %v", name, err), "rename the feature or the feature view, or start over in a new data directory")
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
			c.meaning(fmt.Sprintf("%s: its %s was %s, is %s", name, part.key, orNone(part.was), orNone(part.now)), "the feature")
		}
	}
}

// source says what a feature is made of.
func (f *Feature) source() string {
	return cmp.Or(f.Spec.Aggregate, f.expression)
}

func orNone(text string) string { return cmp.Or(text, "none") }
