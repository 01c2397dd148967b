package features

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// shape is what a value of the file may be: how it is decoded, and how people and editors are told of it, in one place, so that the three agree.
type shape[T any] struct {
	description
	// read decodes a node, which is neither nil nor a tag, an anchor or an alias. It reports what is wrong; ok says that the value can be used all the same.
	read func(d *decoder, n ast.Node) (value T, ok bool)
	// blank is what stands where the file says nothing: the defaults, for a mapping.
	blank func(at position) T
}

// description is a shape for people and editors.
type description struct {
	what   string         // completes "want …"
	schema map[string]any // the JSON Schema of a scalar; nil for what follows
	object *object        // a mapping of fixed keys
	each   *description   // the values of a mapping by name, or the items of a list
	names  *names         // the names of a mapping by name; nil for a list
	either []*description // one of several
}

// object describes a mapping of fixed keys.
type object struct {
	name  string // "source"
	path  string // where it stands in a file: "sources.S"
	doc   string
	keys  []keyDescription
	rules map[string]any // what the JSON Schema says of the keys together
}

// keyDescription describes one key of an object.
type keyDescription struct {
	name     string
	doc      string
	required bool
	fallback string // the default: as the file would say it where it is constant, else in words
	constant bool
	value    description
}

// key is one key of the mapping that fills an O.
type key[O any] struct {
	keyDescription
	read  func(d *decoder, e entry, into *O)
	spoil func(at position, into *O) // the key was meant, but misspelt
	blank func(at position, into *O)
}

// keyOf makes a key of a name, the shape of its value, the place in O that it fills, and what the reference page says of it.
func keyOf[O, T any](name string, s shape[T], place func(*O) *located[T], doc string) key[O] {
	return key[O]{
		keyDescription: keyDescription{name: name, doc: doc, value: s.description},
		read: func(d *decoder, e entry, into *O) {
			l := place(into)
			*l = located[T]{at: e.at, given: true}
			if n, usable := d.valueOf(e, s.what); usable {
				l.at = placeOf(n)
				l.value, l.ok = s.read(d, n)
			}
		},
		spoil: func(at position, into *O) { *place(into) = located[T]{at: at, given: true} },
		blank: func(at position, into *O) {
			l := place(into)
			l.at = at
			if s.blank != nil {
				l.value, l.ok = s.blank(at), true
			}
		},
	}
}

// must makes a key one that has to be given.
func (k key[O]) must() key[O] {
	k.required = true
	return k
}

// falls gives a key that is left out its default: value, which the file would write as text.
func falls[O, T any](k key[O], text string, place func(*O) *located[T], value T) key[O] {
	k.fallback, k.constant = text, true
	k.blank = func(at position, into *O) {
		*place(into) = located[T]{value: value, at: at, ok: true}
	}
	return k
}

// says tells the reference page of a default that depends on other keys.
func (k key[O]) says(fallback string) key[O] {
	k.fallback = fallback
	return k
}

// valueOf returns an entry's value, unless there is none.
func (d *decoder) valueOf(e entry, want string) (ast.Node, bool) {
	if e.value == nil {
		return nil, false
	}
	if _, empty := e.value.(*ast.NullNode); empty {
		d.report(e.at, e.key+" has no value", "want "+want)
		return nil, false
	}
	return e.value, true
}

// mapping makes the shape of a mapping of fixed keys.
func mapping[O any](o object, keys []key[O]) shape[O] {
	var known []string
	for _, k := range keys {
		o.keys = append(o.keys, k.keyDescription)
		known = append(known, k.name)
	}
	what := "a mapping of " + strings.Join(known, ", ")
	blank := func(at position) O {
		var value O
		for _, k := range keys {
			k.blank(at, &value)
		}
		return value
	}
	read := func(d *decoder, n ast.Node) (value O, ok bool) {
		if !isMapping(n) {
			d.report(placeOf(n), nodeWords(n)+" where a mapping belongs", "want "+what)
			return value, false
		}
		value, ok = blank(placeOf(n)), true
		given := map[string]bool{}
		for _, e := range d.entries(n) {
			given[e.key] = true
			if i := slices.Index(known, e.key); i >= 0 {
				keys[i].read(d, e, &value)
				continue
			}
			d.report(e.at, fmt.Sprintf("%s has no key %s", o.name, shorten(e.key)), suggest("key", e.key, known))
			if meant, ok := Nearest(e.key, known); ok && !given[meant] {
				given[meant] = true
				keys[slices.Index(known, meant)].spoil(e.at, &value)
			}
		}
		for _, k := range keys {
			if k.required && !given[k.name] {
				d.report(placeOf(n), fmt.Sprintf("%s lacks %s", o.name, k.name), fmt.Sprintf("add %s: %s", k.name, k.value.what))
			}
		}
		return value, ok
	}
	return shape[O]{description: description{what: what, object: &o}, read: read, blank: blank}
}

func isMapping(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// names is what the names of a mapping by name may be.
type names struct {
	what    string // completes "want …"
	pattern *regexp.Regexp
}

// byName makes the shape of a mapping whose keys are names that people choose, at least one. noun is what it maps, in the singular.
func byName[T any](noun string, rule names, item shape[T]) shape[[]named[T]] {
	what := fmt.Sprintf("a mapping of %s by name", plural(noun))
	read := func(d *decoder, n ast.Node) (all []named[T], ok bool) {
		if !isMapping(n) {
			d.report(placeOf(n), nodeWords(n)+" where a mapping belongs", "want "+what)
			return nil, false
		}
		for _, e := range d.entries(n) {
			one := named[T]{name: e.key, at: e.at}
			if !rule.pattern.MatchString(e.key) {
				d.report(e.at, fmt.Sprintf("%q is no name for a %s", shorten(e.key), noun), "want "+rule.what)
			}
			if n, usable := d.valueOf(e, item.what); usable {
				one.value, one.ok = item.read(d, n)
			}
			all = append(all, one)
		}
		if len(all) == 0 {
			d.report(placeOf(n), fmt.Sprintf("no %s here", noun), fmt.Sprintf("name at least one %s", noun))
		}
		return all, true
	}
	return shape[[]named[T]]{description: description{what: what, each: &item.description, names: &rule}, read: read}
}

func plural(noun string) string {
	if stem, ok := strings.CutSuffix(noun, "ty"); ok {
		return stem + "ties"
	}
	return noun + "s"
}

// listOf makes the shape of a list, of at least one item.
func listOf[T any](noun string, item shape[T]) shape[[]located[T]] {
	what := fmt.Sprintf("a list of %s in brackets", plural(noun))
	read := func(d *decoder, n ast.Node) (all []located[T], ok bool) {
		list, isList := n.(*ast.SequenceNode)
		if !isList {
			d.report(placeOf(n), nodeWords(n)+" where a list belongs", "want "+what)
			return nil, false
		}
		for _, value := range list.Values {
			one := located[T]{at: placeOf(value), given: true}
			if n, usable := d.valueOf(entry{key: "the item", at: one.at, value: d.plain(value)}, item.what); usable {
				one.value, one.ok = item.read(d, n)
			}
			all = append(all, one)
		}
		if len(all) == 0 {
			d.report(placeOf(n), "an empty list", fmt.Sprintf("name at least one %s", noun))
		}
		return all, true
	}
	return shape[[]located[T]]{description: description{what: what, each: &item.description}, read: read}
}
