package features

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing that is wrong with a definitions file.
type Mistake struct {
	File   string
	Line   int    // from 1
	Column int    // from 1, in characters
	What   string // what was wrong
	Fix    string // what would be right; "" where What says it all
}

// Error returns FILE:LINE:COLUMN: what was wrong; what would be right.
func (m Mistake) Error() string {
	if m.Fix == "" {
		return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.What)
	}
	return fmt.Sprintf("%s:%d:%d: %s; %s", m.File, m.Line, m.Column, m.What, m.Fix)
}

// Mistakes is everything that is wrong with a definitions file, in the order of the file. It is never empty where it is an error.
type Mistakes []Mistake

// Error returns one line a mistake.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, one := range m {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// position is a place in a file: line and column from 1, columns in characters.
type position struct{ line, column int }

// reporter collects the mistakes of one file.
type reporter struct {
	file     string
	mistakes Mistakes
}

func (r *reporter) report(at position, what, fix string) {
	r.mistakes = append(r.mistakes, Mistake{File: r.file, Line: at.line, Column: at.column, What: what, Fix: fix})
}

// sorted returns the mistakes in the order of the file, each once.
func (r *reporter) sorted() Mistakes {
	slices.SortStableFunc(r.mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(r.mistakes)
}
