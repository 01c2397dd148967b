package features

import (
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// places returns, for each character of a scalar's value and for its end, where in the file it stands. YAML takes quotes, escapes, line breaks and indentation out of a text;
// so the value's characters are found again in the file one after the other, white space aside.
func (d *decoder) places(n ast.Node, value string) []position {
	w := &walker{lines: d.lines, at: placeOf(n)}
	switch n := n.(type) {
	case *ast.LiteralNode:
		w.at = position{placeOf(n).line + 1, 1} // its text begins below the | or >
	case *ast.StringNode:
		switch n.GetToken().Type {
		case token.SingleQuoteType, token.DoubleQuoteType:
			w.quote = w.char()
			w.at.column++
		}
	}
	var places []position
	for _, r := range value {
		if !unicode.IsSpace(r) {
			w.skipSpace()
		}
		places = append(places, w.at)
		w.take(r)
	}
	return append(places, w.at)
}

// walker walks the file's characters from within a scalar.
type walker struct {
	lines [][]rune
	at    position
	quote rune // ' or " within quotes; 0 elsewhere
}

// char returns the character at w, a line break at a line's end, 0 at the file's.
func (w *walker) char() rune { return w.ahead(0) }

func (w *walker) ahead(n int) rune {
	if w.at.line > len(w.lines) {
		return 0
	}
	line := w.lines[w.at.line-1]
	switch i := w.at.column - 1 + n; {
	case i < len(line):
		return line[i]
	case w.at.line < len(w.lines):
		return '\n'
	}
	return 0
}

func (w *walker) step() {
	if w.char() == '\n' {
		w.at = position{w.at.line + 1, 1}
		return
	}
	w.at.column++
}

// skipSpace goes on to what is no white space: breaks and indentation that the value has less of, or none.
func (w *walker) skipSpace() {
	for c := w.char(); c != 0; c = w.char() {
		brokenLine := w.quote == '"' && c == '\\' && w.ahead(1) == '\n'
		if !unicode.IsSpace(c) && !brokenLine {
			return
		}
		w.step()
	}
}

// take goes past what stands in the file for the value's character r.
func (w *walker) take(r rune) {
	c := w.char()
	switch {
	case c == 0:
	case w.quote == '"' && c == '\\':
		for range escapeLength(w.ahead(1)) {
			w.step()
		}
	case w.quote == '\'' && c == '\'':
		w.step()
		w.step()
	case unicode.IsSpace(r) && !unicode.IsSpace(c): // a space that the file writes otherwise, or not at all
	default:
		w.step()
	}
}

// escapeLength returns how many characters an escape in double quotes takes, by the one after the backslash.
func escapeLength(kind rune) int {
	switch kind {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	}
	return 2
}
