package windows

import (
	"errors"
	"fmt"
	"strings"
)

// Machine is a view's features, compiled. It is immutable, and safe for concurrent use on different entities.
type Machine struct {
	specs  []Spec // as given, limits filled in
	ttl    int64  // 0 for none
	tracks []track
	exacts []exact
	slots  []slot // one an aggregate, in declared order
	derive []int  // the expressions, in an order in which each comes after what it reads
}

// slot is where a machine keeps an aggregate.
type slot struct {
	spec   Spec
	track  int // in tracks; −1: among exacts
	column int // in the track, or in exacts
}

// maxLimit bounds limits: an entity that holds a billion events is a mistake.
const maxLimit = 1 << 30

// Compile checks specs and returns their machine. ttl is in µs, 0 for none. A Limit of 0 is the aggregate's default; one where no limit applies is ignored. The error joins all that is wrong.
func Compile(specs []Spec, ttl int64) (*Machine, error) {
	m := &Machine{ttl: ttl}
	var wrong []error
	if ttl < 0 || ttl > maxTime {
		wrong = append(wrong, fmt.Errorf("a ttl of %d µs; it must be positive, or 0 for none", ttl))
	}
	names := make(map[string]bool, len(specs))
	for i, s := range specs {
		if names[s.Name] {
			wrong = append(wrong, fmt.Errorf("feature %s: declared twice", s.Name))
		}
		names[s.Name] = true
		if err := s.check(len(specs)); err != nil {
			wrong = append(wrong, fmt.Errorf("feature %s: %w", s.Name, err))
			continue
		}
		if s.Aggregate != "" {
			s = s.complete()
			m.place(i, s)
		}
		m.specs = append(m.specs, s)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	order, err := deriveOrder(specs)
	m.derive = order
	return m, err
}

// check reports what is wrong with s, one of n features.
func (s Spec) check(n int) error {
	switch {
	case s.Name == "" || strings.ContainsAny(s.Name, " \t\r\n:"):
		return fmt.Errorf("%q is no name", s.Name)
	case s.Aggregate == "" && s.Derive == nil:
		return errors.New("neither an aggregate nor an expression")
	case s.Aggregate == "":
		return s.checkAfter(n)
	case s.Derive != nil:
		return errors.New("both an aggregate and an expression")
	}
	info, ok := Lookup(s.Aggregate)
	switch {
	case !ok:
		return fmt.Errorf("no aggregate is called %q", s.Aggregate)
	case !info.Accepts(s.Input):
		return fmt.Errorf("%s does not take %s", s.Aggregate, s.Input)
	case s.Input != Null && s.Arg < 0:
		return fmt.Errorf("%s lacks the index of its argument", s.Aggregate)
	case !info.Allows(s.Window.Kind):
		return fmt.Errorf("%s does not take a window of kind %d", s.Aggregate, s.Window.Kind)
	case s.Limit < 0 || s.Limit > maxLimit:
		return fmt.Errorf("a limit of %d; it must be from 1 to %d", s.Limit, maxLimit)
	}
	return s.Window.check()
}

func (s Spec) checkAfter(n int) error {
	for _, i := range s.After {
		if i < 0 || i >= n {
			return fmt.Errorf("reads feature %d of %d", i, n)
		}
	}
	return nil
}

func (w Window) check() error {
	if w.Kind == Lifetime {
		if w.Length != 0 || w.Resolution != 0 {
			return errors.New("a lifetime has no length")
		}
		return nil
	}
	if w.Length <= 0 || w.Length > maxTime {
		return fmt.Errorf("a window of %d µs; it must be positive, and at most %d", w.Length, int64(maxTime))
	}
	if w.Kind != Sliding {
		if w.Resolution != 0 {
			return errors.New("only sliding windows have a resolution")
		}
		return nil
	}
	if w.Resolution <= 0 || w.Length%w.Resolution != 0 {
		return fmt.Errorf("a resolution of %d µs; it must divide the window, %d µs", w.Resolution, w.Length)
	}
	return nil
}

// complete fills in what s, which is an aggregate and sound, leaves to defaults, so that specs that mean the same are equal.
func (s Spec) complete() Spec {
	info, _ := Lookup(s.Aggregate)
	if d := info.DefaultLimit(s.Window.Kind); s.Limit == 0 || d == 0 {
		s.Limit = d
	}
	if s.Input == Null {
		s.Arg = -1
	}
	return s
}

// place gives aggregate s, feature i, its place: with the features whose window is equal, or for itself if exact.
func (m *Machine) place(i int, s Spec) {
	info, _ := Lookup(s.Aggregate)
	f := feature{index: i, arg: s.Arg, aggregate: info.build(s.Input, s.Limit)}
	if s.Window.Kind == Exact {
		m.slots = append(m.slots, slot{s, -1, len(m.exacts)})
		m.exacts = append(m.exacts, newExact(f, s))
		return
	}
	sp := spanOf(s.Window)
	for k := range m.tracks {
		if tr := &m.tracks[k]; tr.span == sp {
			m.slots = append(m.slots, slot{s, k, len(tr.features)})
			tr.features = append(tr.features, f)
			return
		}
	}
	m.slots = append(m.slots, slot{s, len(m.tracks), 0})
	m.tracks = append(m.tracks, track{sp, []feature{f}})
}

// deriveOrder returns the expressions among specs, each after those it reads, otherwise as declared; an error names one that reads itself, if only through others.
func deriveOrder(specs []Spec) ([]int, error) {
	const (
		unseen = iota
		open
		done
	)
	state := make([]int, len(specs))
	var order []int
	var visit func(i int) error
	visit = func(i int) error {
		if specs[i].Aggregate != "" || state[i] == done {
			return nil
		}
		if state[i] == open {
			return fmt.Errorf("feature %s: its expression reads itself", specs[i].Name)
		}
		state[i] = open
		for _, j := range specs[i].After {
			if err := visit(j); err != nil {
				return err
			}
		}
		state[i] = done
		order = append(order, i)
		return nil
	}
	for i := range specs {
		if err := visit(i); err != nil {
			return nil, err
		}
	}
	return order, nil
}
