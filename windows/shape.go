package windows

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Shape returns what shapes entities' bytes, one line an aggregate, in declared order, as a text that ParseShape reads back into a machine able to Decode them (expressions left out):
//
//	clicks_30m: count over sliding 30m by 5s
//	visitors: count_distinct of string over tumbling 1h limit 10000
//
// Equal shapes have equal texts. What an argument or a filter is made of does not shape bytes, nor does the ttl.
func (m *Machine) Shape() string {
	var b strings.Builder
	for _, s := range m.slots {
		b.WriteString(s.spec.Name + ": " + s.spec.what() + " over " + s.spec.Window.String() + s.spec.atMost() + "\n")
	}
	return b.String()
}

// what returns the aggregate and what of.
func (s Spec) what() string {
	if s.Input == Null {
		return s.Aggregate
	}
	return s.Aggregate + " of " + s.Input.String()
}

func (s Spec) atMost() string {
	if s.Limit == 0 {
		return ""
	}
	return " limit " + strconv.Itoa(s.Limit)
}

// String returns the window as shapes spell it: "sliding 30m by 5s".
func (w Window) String() string {
	switch w.Kind {
	case Lifetime:
		return w.Kind.String()
	case Sliding:
		return w.Kind.String() + " " + formatLength(w.Length) + " by " + formatLength(w.Resolution)
	}
	return w.Kind.String() + " " + formatLength(w.Length)
}

var windowKinds = [...]string{Lifetime: "lifetime", Sliding: "sliding", Exact: "exact", Tumbling: "tumbling", Running: "running"}

// String returns the kind's name in lower case.
func (k WindowKind) String() string {
	if int(k) < len(windowKinds) {
		return windowKinds[k]
	}
	return "window kind " + strconv.Itoa(int(k))
}

// units of length, longest first.
var units = [...]struct {
	name   string
	length int64
}{{"d", 24 * 3600e6}, {"h", 3600e6}, {"m", 60e6}, {"s", 1e6}, {"ms", 1e3}, {"us", 1}}

// formatLength writes a positive length as a whole number of the longest unit that divides it.
func formatLength(us int64) string {
	for _, u := range units {
		if us%u.length == 0 {
			return strconv.FormatInt(us/u.length, 10) + u.name
		}
	}
	return "" // not reached: every length is a whole number of µs
}

// ParseShape reads what [Machine.Shape] wrote.
func ParseShape(text string) (*Machine, error) {
	var specs []Spec
	for line := range strings.Lines(text) {
		s, err := parseSpec(line)
		if err != nil {
			return nil, fmt.Errorf("parse shape %q: %w", strings.TrimSuffix(line, "\n"), err)
		}
		specs = append(specs, s)
	}
	m, err := Compile(specs, 0)
	if err != nil {
		return nil, fmt.Errorf("parse shape: %w", err)
	}
	return m, nil
}

// words takes a line apart word by word; after the first failure everything is empty.
type words struct {
	rest []string
	err  error
}

func (w *words) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.rest = nil
}

// next returns the next word, "" at the end.
func (w *words) next() string {
	if len(w.rest) == 0 {
		return ""
	}
	word := w.rest[0]
	w.rest = w.rest[1:]
	return word
}

// take takes the next word if it is that one.
func (w *words) take(word string) bool {
	if len(w.rest) == 0 || w.rest[0] != word {
		return false
	}
	w.rest = w.rest[1:]
	return true
}

func (w *words) want(word string) {
	if !w.take(word) {
		w.fail(fmt.Errorf("want %q", word))
	}
}

func (w *words) length() int64 {
	word := w.next()
	digits := strings.TrimRight(word, "dhmsu")
	n, err := strconv.ParseInt(digits, 10, 64)
	for _, u := range units {
		if err == nil && word[len(digits):] == u.name && n > 0 && n <= maxTime/u.length {
			return n * u.length
		}
	}
	w.fail(fmt.Errorf("%q is no length", word))
	return 0
}

func parseSpec(line string) (Spec, error) {
	w := &words{rest: strings.Fields(line)}
	name, ok := strings.CutSuffix(w.next(), ":")
	s := Spec{Name: name, Aggregate: w.next(), Arg: -1}
	if !ok || s.Aggregate == "" {
		return s, errors.New("want a name, a colon and an aggregate")
	}
	if w.take("of") {
		s.Input, s.Arg = w.kind(), 0
	}
	w.want("over")
	s.Window = w.window()
	if w.take("limit") {
		n, err := strconv.Atoi(w.next())
		if err != nil {
			w.fail(fmt.Errorf("limit: %w", err))
		}
		s.Limit = n
	}
	if len(w.rest) > 0 {
		w.fail(fmt.Errorf("%q is too much", w.rest[0]))
	}
	return s, w.err
}

func (w *words) kind() Kind {
	word := w.next()
	for k := Bool; k <= Timestamps; k++ {
		if k.String() == word {
			return k
		}
	}
	w.fail(fmt.Errorf("%q is no kind", word))
	return Null
}

func (w *words) window() Window {
	word := w.next()
	for k, name := range windowKinds {
		if name != word {
			continue
		}
		v := Window{Kind: WindowKind(k)}
		if v.Kind != Lifetime {
			v.Length = w.length()
		}
		if v.Kind == Sliding {
			w.want("by")
			v.Resolution = w.length()
		}
		return v
	}
	w.fail(fmt.Errorf("%q is no window", word))
	return Window{}
}

// Compatible reports, by feature, why state of shape old cannot be carried on by m; nil when it can (features may be added, removed and put in another order).
// Entities of old then want Upgrade, unless the shapes are equal.
func (m *Machine) Compatible(old *Machine) []error {
	var wrong []error
	for _, s := range m.slots {
		was, ok := old.slot(s.spec.Name)
		if !ok {
			continue
		}
		if changes := s.spec.changes(was.spec); len(changes) > 0 {
			wrong = append(wrong, fmt.Errorf("feature %s: %s: the state cannot hold both", s.spec.Name, strings.Join(changes, ", ")))
		}
	}
	return wrong
}

// changes lists how the bytes of s differ from those of was.
func (s Spec) changes(was Spec) []string {
	var changes []string
	note := func(what, old, new string) {
		if old != new {
			changes = append(changes, what+" was "+old+", is "+new)
		}
	}
	note("aggregate", was.what(), s.what())
	note("window", was.Window.String(), s.Window.String())
	if was.Limit > 0 && s.Limit > 0 {
		note("limit", strconv.Itoa(was.Limit), strconv.Itoa(s.Limit))
	}
	return changes
}

// slot finds an aggregate by name.
func (m *Machine) slot(name string) (slot, bool) {
	for _, s := range m.slots {
		if s.spec.Name == name {
			return s, true
		}
	}
	return slot{}, false
}

// Upgrade turns an entity of shape old into one of m's: features known to both keep their state, new ones start empty. m must be compatible with old; e must not be used any more.
func (m *Machine) Upgrade(old *Machine, e *Entity) *Entity {
	u := m.New()
	u.eventTime = e.eventTime
	for _, to := range m.slots {
		from, ok := old.slot(to.spec.Name)
		if !ok || len(to.spec.changes(from.spec)) > 0 {
			continue
		}
		if to.track < 0 {
			u.exacts[to.column] = e.exacts[from.column]
			continue
		}
		columns := len(m.tracks[to.track].features)
		was := &e.tracks[from.track]
		for row, tile := range was.index {
			p := was.partials[row*len(old.tracks[from.track].features)+from.column]
			if p.n > 0 {
				is := &u.tracks[to.track]
				at := is.row(tile, columns)
				is.partials[at+to.column] = p
			}
		}
	}
	return u
}
