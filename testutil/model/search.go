package model

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// machine is the protocol, under some rules, in a scenario.
type machine struct {
	Rules
	Scenario
	found *Violation // by the step that is being taken
}

// Step is one thing that happens, as it is told to people.
type Step struct {
	format string
	args   [6]int8
}

func step(format string, args ...int8) Step {
	s := Step{format: format}
	copy(s.args[:], args)
	return s
}

func (s Step) String() string {
	args := make([]any, strings.Count(s.format, "%"))
	for i := range args {
		args[i] = s.args[i]
	}
	return fmt.Sprintf(s.format, args...)
}

func who(owner int8) int8     { return 'A' + owner }
func entity(e int8) int8      { return 'a' + e }
func name(entity int8) string { return string(rune('a' + entity)) }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Generation, v.Sequence) }

func (v Vector) String() string {
	switch {
	case !v.exists():
		return "nothing"
	case v.Value == tombstone:
		return fmt.Sprintf("(%s: a tombstone as of %d)", v.Version, v.Frontier)
	}
	return fmt.Sprintf("(%s: %d as of %d)", v.Version, v.Value, v.Frontier)
}

// Result is what a search has found.
type Result struct {
	Worlds    int        // visited
	Steps     int        // taken
	Complete  bool       // all worlds of the scenario were visited
	Violation *Violation // nil for none
	Trace     []Step     // a shortest one to the violation
}

// Search visits the worlds of a scenario under some rules, breadth first, until one breaks a promise, all are visited, or enough says so; it asks that now and then.
func Search(s Scenario, r Rules, enough func(worlds int) bool) Result {
	m := &machine{Rules: r, Scenario: s}
	first := m.begin()
	seen := map[World]struct{}{first: {}}
	came := []arrival{{}}
	level, at := []World{first}, 0 // the worlds that are as far from the first, and the number of the first of them
	var res Result
	for len(level) > 0 && res.Violation == nil {
		var next []World
		for i, w := range level {
			if i%1024 == 0 && enough(len(came)) {
				res.Worlds = len(came)
				return res
			}
			moved := false
			take := func(s Step, n World) {
				if res.Violation != nil {
					return
				}
				res.Steps++
				_, known := seen[n]
				if m.found == nil && !known {
					m.checkReader(&n)
					m.checkEnd(&n)
				}
				if m.found != nil {
					res.Violation, res.Trace = m.found, trace(came, int32(at+i), s)
				}
				if !known {
					seen[n] = struct{}{}
					came = append(came, arrival{int32(at + i), s})
					next = append(next, n)
				}
			}
			m.steps(w, func(s Step, n World) { moved = true; take(s, n) })
			m.read(w, take)
			if !moved && res.Violation == nil {
				if m.checkStuck(&w); m.found != nil {
					res.Violation, res.Trace = m.found, trace(came, came[at+i].from, came[at+i].by)
				}
			}
			if res.Violation != nil {
				break
			}
		}
		at += len(level)
		level = next
	}
	res.Worlds, res.Complete = len(came), res.Violation == nil
	return res
}

// steps takes every step from a world, but for the reader's.
func (m *machine) steps(w World, to emit) {
	m.environment(w, to)
	for i := range int8(owners) {
		m.owner(w, i, to)
	}
}

// arrival says how a world was first come to.
type arrival struct {
	from int32
	by   Step
}

func trace(came []arrival, from int32, last Step) []Step {
	t := []Step{last}
	for i := from; i > 0; i = came[i].from {
		t = append(t, came[i].by)
	}
	slices.Reverse(t)
	return t
}

// Print writes a result as people read it.
func (r Result) Print(out io.Writer) {
	if r.Violation == nil {
		fmt.Fprintf(out, "no violation in %d worlds, %d steps; complete: %t\n", r.Worlds, r.Steps, r.Complete)
		return
	}
	fmt.Fprintf(out, "%s, after %d steps:\n", r.Violation.Kind, len(r.Trace))
	for i, s := range r.Trace {
		fmt.Fprintf(out, "%3d  %s\n", i+1, s)
	}
	fmt.Fprintf(out, "   → %s\n", r.Violation.What)
}
