package features

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What a definitions file may be at most. Both bounds are far beyond what people write; they keep the YAML library's recursion bounded.
const (
	maxFileBytes = 1 << 20
	maxNesting   = 64
)

// decoder reads the tree of one file, and reports what is wrong with it.
type decoder struct {
	reporter
	lines [][]rune // the text, to find places within scalars
}

// root returns the file's top mapping. ok is false where the text is not YAML, is empty, or is something else than a mapping: that has been reported, and there is nothing to go on with.
func (d *decoder) root(text []byte) (top ast.Node, ok bool) {
	text, ok = d.clean(text)
	if !ok {
		return nil, false
	}
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		d.lines = append(d.lines, []rune(string(line)))
	}
	file, ok := d.syntax(string(text))
	if !ok {
		return nil, false
	}
	top, ok = d.onlyDocument(file)
	if !ok {
		return nil, false
	}
	if _, isMapping := top.(*ast.MappingNode); !isMapping {
		d.report(placeOf(top), "the file is "+nodeWords(top), "it is a mapping: project: NAME, and so on")
		return nil, false
	}
	return top, true
}

// clean refuses what is no text, and takes off a byte order mark and carriage returns, neither of which moves a line or a column of what is left.
func (d *decoder) clean(text []byte) ([]byte, bool) {
	start := position{1, 1}
	if len(text) > maxFileBytes {
		d.report(start, fmt.Sprintf("the file has %d bytes", len(text)), fmt.Sprintf("a definitions file has at most %d", maxFileBytes))
		return nil, false
	}
	if !utf8.Valid(text) {
		d.report(invalidUTF8(text), "not UTF-8", "save the file in UTF-8")
		return nil, false
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), true
}

func invalidUTF8(text []byte) position {
	at := position{1, 1}
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			return at
		case r == '\n':
			at = position{at.line + 1, 1}
		default:
			at.column++
		}
		text = text[size:]
	}
	return at
}

// syntax parses the text. The library is handed texts that people wrote, so a panic of its is a syntax error like any other.
func (d *decoder) syntax(text string) (file *ast.File, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			d.report(position{1, 1}, "the YAML library could not read the file", "simplify it, or send it to us")
			file, ok = nil, false
		}
	}()
	tokens := lexer.Tokenize(text)
	if at, deep := nestedTooDeep(tokens); deep {
		d.report(at, fmt.Sprintf("nested more than %d deep", maxNesting), "definitions nest 6 deep")
		return nil, false
	}
	file, err := parser.Parse(d.withoutTags(tokens), 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return file, true
	}
	var located interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &located) || located.GetToken() == nil {
		d.report(position{1, 1}, "not YAML: "+err.Error(), "")
		return nil, false
	}
	message := located.GetMessage()
	d.report(placeOfToken(located.GetToken()), "not YAML: "+message, syntaxFix(message))
	return nil, false
}

// withoutTags reports tags, and makes them the texts that they were meant to be: where: !bot is a tag without a value, on which the parser stops, or which takes the keys after it for its value.
func (d *decoder) withoutTags(tokens token.Tokens) token.Tokens {
	kept := tokens[:0]
	var tag *token.Token
	for _, t := range tokens {
		if tag != nil && t.Type == token.StringType && t.Position.Line == tag.Position.Line {
			tag.Value += " " + t.Value // the rest of the text: !bot == true
			tag = nil
			continue
		}
		tag = nil
		if t.Type == token.TagType {
			d.report(placeOfToken(t), fmt.Sprintf("%s is a YAML tag here", t.Value), fmt.Sprintf("put the whole text between quotes, as in \"%s\"", t.Value))
			t.Type, t.CharacterType, t.Indicator = token.StringType, token.CharacterTypeMiscellaneous, token.NotIndicator
			tag = t
		}
		kept = append(kept, t)
	}
	return kept
}

// nestedTooDeep bounds brackets, and the "- - -" and "? ? ?" of one line. Nesting by indentation bounds itself: it costs a column a level.
func nestedTooDeep(tokens token.Tokens) (position, bool) {
	brackets, inLine, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, inLine = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			brackets++
		case token.MappingEndType, token.SequenceEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			inLine++
		}
		if brackets > maxNesting || inLine > maxNesting {
			return placeOfToken(t), true
		}
	}
	return position{}, false
}

// syntaxFix says in our users' terms what the library's messages most often come from.
func syntaxFix(message string) string {
	for _, known := range []struct{ part, fix string }{
		{"cannot start any token", "indent with spaces, not with tabs"},
		{"tab character", "indent with spaces, not with tabs"},
		{"end character of", "close the quote"},
		{"flow mapping end token", "close the brace"},
		{"sequence end token", "close the bracket"},
		{"reserved character", "put the text between quotes"},
		{"must be specified", "close the bracket or brace; within braces, a text with a bracket or a comma in it, or a quote at its beginning, stands between quotes, whole"},
		{"directive value", "put the text between quotes"},
		{"mapping value is not allowed", "a text with ': ' or '? ' in it stands between quotes; else check the indentation"},
		{"value is not allowed in this context", "a text that begins with a quote or a bracket stands between other quotes, whole; else check the indentation"},
	} {
		if strings.Contains(message, known.part) {
			return known.fix
		}
	}
	return "a text with special characters stands between quotes; else check indentation and brackets"
}

// onlyDocument returns the file's document, and refuses a second one.
func (d *decoder) onlyDocument(file *ast.File) (ast.Node, bool) {
	var top ast.Node
	for i, doc := range file.Docs {
		if directive, ok := doc.Body.(*ast.DirectiveNode); ok {
			d.report(placeOf(directive), "a YAML directive", "leave the line out")
			continue
		}
		if top != nil || i > 0 && doc.Body != nil && doc.Start != nil && file.Docs[i-1].Body == nil {
			at := position{1, 1}
			if doc.Start != nil {
				at = placeOfToken(doc.Start)
			}
			d.report(at, "a second YAML document", "a definitions file has one; leave out the --- and what follows it")
			break
		}
		top = doc.Body
	}
	if top == nil {
		d.report(position{1, 1}, "the file is empty", "begin with project: NAME")
	}
	return top, top != nil
}

func placeOfToken(t *token.Token) position {
	return position{max(1, t.Position.Line), max(1, t.Position.Column)}
}

// placeOf returns where a node begins, for people: the library puts a block mapping at its first colon.
func placeOf(n ast.Node) position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return placeOf(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return placeOf(n.Key)
	}
	if t := n.GetToken(); t != nil {
		return placeOfToken(t)
	}
	return position{1, 1}
}

// nodeWords says what a node is: "a list", "the number 5".
func nodeWords(n ast.Node) string {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "empty"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + n.GetToken().Value
	case *ast.BoolNode:
		return "the boolean " + n.GetToken().Value
	case *ast.StringNode:
		return fmt.Sprintf("the text %q", shorten(n.Value))
	case *ast.LiteralNode:
		return fmt.Sprintf("the text %q", shorten(n.Value.Value))
	}
	return "something else"
}

// shorten keeps messages to a line's length.
func shorten(text string) string {
	if r := []rune(text); len(r) > 40 {
		return string(r[:39]) + "…"
	}
	return text
}

// entry is one key and its value within a mapping.
type entry struct {
	key   string
	at    position
	value ast.Node // nil where the value is unusable, which has been reported
}

// entries returns the entries of a mapping, each key once, and reports keys that are given twice or are no texts.
func (d *decoder) entries(n ast.Node) []entry {
	var all []entry
	seen := map[string]position{}
	for _, pair := range pairsOf(n) {
		key, ok := d.key(pair.Key)
		if !ok {
			continue
		}
		at := placeOf(pair.Key)
		if first, twice := seen[key]; twice {
			d.report(at, fmt.Sprintf("%s is given twice", key), fmt.Sprintf("line %d has it already; leave one of them out", first.line))
			continue
		}
		seen[key] = at
		all = append(all, entry{key: key, at: at, value: d.plain(pair.Value)})
	}
	return all
}

func pairsOf(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

func (d *decoder) key(k ast.MapKeyNode) (string, bool) {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.MergeKeyNode:
		d.report(placeOf(k), "a merge key (<<)", "write the keys out")
	case *ast.MappingKeyNode:
		d.report(placeOf(k), "a complex key (?)", "write KEY: VALUE")
	default:
		d.report(placeOf(k), fmt.Sprintf("a key that is %s", nodeWords(k)), "a key is a text; put it between quotes")
	}
	return "", false
}

// plain returns n, or nil where it is an anchor or an alias, which it reports.
func (d *decoder) plain(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		d.report(placeOf(n), "a YAML anchor (&)", "write the value out; a text that begins with & stands between quotes")
		return nil
	case *ast.AliasNode:
		d.report(placeOf(n), "a YAML alias (*)", "write the value out; a text that begins with * stands between quotes")
		return nil
	}
	return n
}
