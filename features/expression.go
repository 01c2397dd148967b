package features

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/parser/lexer"

	"highwater/windows"
)

// Expressions are written in the grammar of expr-lang/expr, of which we take the lexer and the parser. Its checker, optimizer and virtual machine stay out: they fail on null, wrap integers, and let now() through.
// What the grammar allows is cut down twice. Tokens come first (tokens.go of the library drops comments, and a // b would silently be a), then the tree, node by node, from an allow-list (expression_check.go), which also
// types it and turns it into closures (expression_eval.go). What is left: + - * / %, comparisons, and or not, ?:, in, ??, is_null(x), literals, and names.

// maxExpressionLength bounds an expression, and so the parser's recursion, in characters. Nobody comes near it.
const maxExpressionLength = 4096

// grammar is what an expression may be, for mistakes that ask for something else.
const grammar = "expressions have + - * / %, comparisons, and, or, not, ?:, in, ?? and is_null(x)"

// scope is what the names of an expression mean.
type scope struct {
	noun   string // "field"
	of     string // "source clicks"
	names  []string
	lookup func(name string) (term, found)
}

// found is what a lookup comes to.
type found uint8

const (
	unknown  found = iota
	unusable       // its own mistake has been reported: nothing more is said
	cyclic
	usable
)

// term is a checked expression, or a part of one.
type term struct {
	kind     windows.Kind
	eval     Expression
	column   int    // eval is row[column]; -1 for anything else
	constant bool   // eval reads no row
	text     string // canonical spelling; of whole expressions only
}

func columnTerm(column int, kind windows.Kind) term {
	return term{kind: kind, column: column, eval: func(row []windows.Value) windows.Value { return row[column] }}
}

// slip is a mistake within an expression.
type slip struct {
	at        int // characters from the expression's beginning
	what, fix string
}

// compileExpression checks and compiles an expression's text. Where nothing is said and the term's eval is nil, a name in it is unusable.
func compileExpression(text string, in *scope) (term, []slip) {
	root, wrong := parseExpression(text)
	if len(wrong) > 0 {
		return term{}, wrong
	}
	c := &checker{in: in}
	t, ok := c.term(root)
	if !ok {
		return term{}, c.slips
	}
	t.text = root.String()
	return t, nil
}

// parseExpression parses text with expr-lang's parser. The library is handed texts that people wrote, so a panic of its is a mistake like any other.
func parseExpression(text string) (root ast.Node, wrong []slip) {
	defer func() {
		if r := recover(); r != nil {
			root, wrong = nil, []slip{{what: "this is no expression", fix: grammar}}
		}
	}()
	if n := len([]rune(text)); n > maxExpressionLength {
		return nil, []slip{{what: fmt.Sprintf("an expression of %d characters", n), fix: fmt.Sprintf("at most %d are allowed", maxExpressionLength)}}
	}
	tokens, err := lexer.Lex(file.NewSource(text))
	if err != nil {
		return nil, []slip{syntaxSlip(err, nil, text)}
	}
	if wrong = refusedTokens(tokens, text); len(wrong) > 0 {
		return nil, wrong
	}
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, []slip{syntaxSlip(err, tokens, text)}
	}
	return tree.Node, nil
}

// syntaxSlip says in our terms what the library's lexer or parser says of text.
func syntaxSlip(err error, tokens []lexer.Token, text string) slip {
	var e *file.Error
	if !errors.As(err, &e) {
		return slip{what: "this is no expression: " + err.Error(), fix: grammar}
	}
	switch {
	case strings.Contains(e.Message, "literal not terminated"):
		return slip{at: e.From, what: "a text that does not end", fix: "close its quote"}
	case strings.Contains(e.Message, "coalesce"):
		return slip{at: e.From, what: "?? beside another operator", fix: "put parentheses around it, as in (price ?? 0) > 1"}
	case !strings.HasPrefix(e.Message, "unexpected token"):
		return slip{at: e.From, what: e.Message, fix: grammar}
	}
	i := slices.IndexFunc(tokens, func(t lexer.Token) bool { return t.Location == e.Location })
	if i < 0 || e.Message == "unexpected token "+string(lexer.EOF) {
		return slip{at: len([]rune(text)), what: "the expression ends too early", fix: "something is missing here"}
	}
	return slip{at: e.From, what: fmt.Sprintf("unexpected %s", spelling(tokens[i], text)), fix: "an operator or a parenthesis is missing or too many"}
}

// spelling is a token as text has it.
func spelling(t lexer.Token, text string) string {
	return string([]rune(text)[t.From:t.To])
}

// allowedOperators is every token of kind operator that may stand in an expression.
var allowedOperators = []string{"+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "&&", "or", "||", "not", "!", "?", ":", "??", "in", ","}

// refusedTokens finds what can be refused before parsing, all at once: operators we do not have, comments, and integers that an int64 cannot hold.
func refusedTokens(tokens []lexer.Token, text string) (wrong []slip) {
	runes := []rune(text)
	end := 0
	for _, t := range tokens {
		from := t.From
		if t.Kind == lexer.EOF {
			from = len(runes)
		}
		if i := slices.IndexFunc(runes[min(end, from):from], func(r rune) bool { return !unicode.IsSpace(r) }); i >= 0 {
			wrong = append(wrong, slip{at: end + i, what: "a comment in an expression", fix: "division is a single /; comments are YAML's, after #"})
		}
		if t.Kind != lexer.EOF {
			end = t.To
		}
		if s, refused := refusedToken(t); refused && !slices.ContainsFunc(wrong, func(w slip) bool { return w.fix == s.fix }) {
			wrong = append(wrong, s) // of those for one reason, the first: if { } else { } is one mistake
		}
	}
	return wrong
}

func refusedToken(t lexer.Token) (slip, bool) {
	switch t.Kind {
	case lexer.Bytes:
		return slip{t.From, "a text of bytes (b'…')", "write '…'"}, true
	case lexer.Bracket:
		return slip{t.From, fmt.Sprintf("no %s in expressions", t.Value), grammar}, t.Value == "{" || t.Value == "}"
	case lexer.Number:
		digits := strings.ReplaceAll(t.Value, "_", "")
		_, err := strconv.ParseInt(digits, base(digits), 64)
		if errors.Is(err, strconv.ErrRange) {
			return slip{t.From, t.Value + " is no int64", "the greatest is 9223372036854775807; a double has a decimal point"}, true
		}
		_, err = strconv.ParseFloat(digits, 64)
		return slip{t.From, t.Value + " is no double", "the greatest is about 1.8e308"}, errors.Is(err, strconv.ErrRange)
	case lexer.Operator:
		return slip{t.From, fmt.Sprintf("no %s in expressions", t.Value), operatorFix(t.Value)}, !slices.Contains(allowedOperators, t.Value)
	}
	return slip{}, false
}

// base is what strconv.ParseInt wants to know of a number: 0 to read its prefix (0x1F), 10 so that 010 is ten.
func base(digits string) int {
	if len(digits) > 1 && digits[0] == '0' && strings.ContainsRune("xXoObB", rune(digits[1])) {
		return 0
	}
	return 10
}

func operatorFix(operator string) string {
	switch operator {
	case "=":
		return "compare with =="
	case "&":
		return "write and"
	case "|":
		return "write or"
	case ".", "?.":
		return "fields are flat: name a declared field"
	case "matches", "contains", "startsWith", "endsWith":
		return "compare with == or in; " + grammar
	}
	return grammar
}
