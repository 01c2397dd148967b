package features

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"highwater/windows"
)

// checker types an expression's tree from the leaves up, and compiles it on the way. It goes on after a mistake where that can find another.
type checker struct {
	in    *scope
	slips []slip
}

func (c *checker) refuse(at int, what, fix string) (term, bool) {
	c.slips = append(c.slips, slip{at: at, what: what, fix: fix})
	return term{}, false
}

// term checks one node. ok is false where it has a mistake, or names something that has one.
func (c *checker) term(n ast.Node) (t term, ok bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return c.name(n)
	case *ast.IntegerNode:
		return literal(windows.IntOf(int64(n.Value))), true
	case *ast.FloatNode:
		return literal(windows.DoubleOf(n.Value)), true
	case *ast.BoolNode:
		return literal(windows.BoolOf(n.Value)), true
	case *ast.StringNode:
		return literal(windows.StringOf(n.Value)), true
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.CallNode:
		return c.call(n)
	case *ast.BuiltinNode:
		return c.refuse(start(n), fmt.Sprintf("there is no function %s", n.Name), "the only one is is_null(x)")
	case *ast.NilNode:
		return c.refuse(start(n), "there is no null to write", "ask is_null(x); division by 0 gives null")
	case *ast.ArrayNode:
		return c.refuse(start(n), "a list stands only after in", "write it as in x in ['a', 'b']")
	case *ast.MemberNode, *ast.SliceNode, *ast.ChainNode:
		return c.refuse(start(n), "nothing can be taken out of a value", "fields are flat: name a declared field")
	}
	return c.refuse(start(n), "this is not part of expressions", grammar)
}

// start returns where a node begins. The library places an operator's node at the operator, and a conditional's after it.
func start(n ast.Node) int {
	switch n := n.(type) {
	case *ast.BinaryNode:
		return start(n.Left)
	case *ast.ConditionalNode:
		return start(n.Cond)
	case *ast.MemberNode:
		return start(n.Node)
	case *ast.SliceNode:
		return start(n.Node)
	case *ast.ChainNode:
		return start(n.Node)
	case *ast.CallNode:
		return start(n.Callee)
	}
	return n.Location().From
}

func (c *checker) name(n *ast.IdentifierNode) (term, bool) {
	t, found := c.in.lookup(n.Value)
	switch found {
	case usable:
		return t, true
	case unusable:
		return term{}, false
	case cyclic:
		return c.refuse(start(n), fmt.Sprintf("%s needs this very expression to be computed", n.Value), "break the cycle")
	}
	if slices.Contains([]string{"null", "none"}, strings.ToLower(n.Value)) {
		return c.refuse(start(n), "there is no null to write", "ask is_null(x); division by 0 gives null")
	}
	return c.refuse(start(n), fmt.Sprintf("%s has no %s %s", c.in.of, c.in.noun, n.Value), suggest(c.in.noun, n.Value, c.in.names))
}

func (c *checker) unary(n *ast.UnaryNode) (term, bool) {
	if n.Operator == "+" {
		return c.refuse(start(n), "a + before a value", "leave it out")
	}
	t, ok := c.term(n.Node)
	if !ok {
		return term{}, false
	}
	if n.Operator == "-" {
		if !numeric(t.kind) {
			return c.refuse(start(n.Node), fmt.Sprintf("- before %s", article(t.kind)), "it takes an int64 or a double")
		}
		return composed(t.kind, negation(t), t)
	}
	if t.kind != windows.Bool {
		return c.refuse(start(n.Node), fmt.Sprintf("%s before %s", n.Operator, article(t.kind)), "it takes a bool; put parentheses around what it shall turn, as in not (x == 1)")
	}
	return composed(windows.Bool, not(t.eval), t)
}

func (c *checker) binary(n *ast.BinaryNode) (term, bool) {
	if n.Operator == "in" {
		return c.membership(n)
	}
	if chained(n) {
		return c.refuse(n.Location().From, "comparisons in a row", "write a < b and b < c")
	}
	l, lok := c.term(n.Left)
	r, rok := c.term(n.Right)
	if !lok || !rok {
		return term{}, false
	}
	switch n.Operator {
	case "+", "-", "*", "/", "%":
		return c.arithmetic(n, l, r)
	case "==", "!=", "<", "<=", ">", ">=":
		return c.comparison(n, l, r)
	case "and", "&&", "or", "||":
		return c.logic(n, l, r)
	case "??":
		return c.coalesce(n, l, r)
	}
	return c.refuse(n.Location().From, fmt.Sprintf("no %s in expressions", n.Operator), operatorFix(n.Operator))
}

// chained reports whether n is what the parser makes of a < b < c: a < b and b < c, with one node for both b.
func chained(n *ast.BinaryNode) bool {
	left, ok := n.Left.(*ast.BinaryNode)
	for ok && (left.Operator == "&&") {
		left, ok = left.Right.(*ast.BinaryNode)
	}
	right, isBinary := n.Right.(*ast.BinaryNode)
	return n.Operator == "&&" && ok && isBinary && left.Right == right.Left
}

func (c *checker) arithmetic(n *ast.BinaryNode, l, r term) (term, bool) {
	lok, rok := c.number(n, n.Left, l), c.number(n, n.Right, r)
	if !lok || !rok {
		return term{}, false
	}
	if n.Operator != "/" && l.kind == windows.Int64 && r.kind == windows.Int64 {
		return composed(windows.Int64, integerArithmetic(n.Operator, l.eval, r.eval), l, r)
	}
	return composed(windows.Double, doubleArithmetic(n.Operator, promote(l), promote(r)), l, r)
}

func (c *checker) number(n *ast.BinaryNode, operand ast.Node, t term) bool {
	if !numeric(t.kind) {
		c.refuse(start(operand), fmt.Sprintf("%s takes numbers, and this is %s", n.Operator, article(t.kind)), "it takes int64 and double")
		return false
	}
	return true
}

func (c *checker) comparison(n *ast.BinaryNode, l, r term) (term, bool) {
	if !comparableKinds(l.kind, r.kind) {
		return c.refuse(n.Location().From, fmt.Sprintf("%s compares %s with %s", n.Operator, article(l.kind), article(r.kind)), "compare what is of one type, or int64 with double")
	}
	if l.kind == windows.Bool && n.Operator != "==" && n.Operator != "!=" {
		return c.refuse(n.Location().From, fmt.Sprintf("%s compares bools", n.Operator), "they are only equal or not: == and !=")
	}
	return composed(windows.Bool, comparison(n.Operator, l, r), l, r)
}

func (c *checker) logic(n *ast.BinaryNode, l, r term) (term, bool) {
	ok := true
	for _, side := range []struct {
		node ast.Node
		kind windows.Kind
	}{{n.Left, l.kind}, {n.Right, r.kind}} {
		if side.kind != windows.Bool {
			_, ok = c.refuse(start(side.node), fmt.Sprintf("%s joins bools, and this is %s", n.Operator, article(side.kind)), "compare it with something, as in price > 0")
		}
	}
	switch {
	case !ok:
		return term{}, false
	case n.Operator == "and" || n.Operator == "&&":
		return composed(windows.Bool, and(l.eval, r.eval), l, r)
	}
	return composed(windows.Bool, or(l.eval, r.eval), l, r)
}

func (c *checker) coalesce(n *ast.BinaryNode, l, r term) (term, bool) {
	kind, ok := unify(l.kind, r.kind)
	if !ok {
		return c.refuse(n.Location().From, fmt.Sprintf("%s ?? %s", article(l.kind), article(r.kind)), "both sides are of one type, or int64 and double")
	}
	return composed(kind, coalesce(as(l, kind), as(r, kind)), l, r)
}

func (c *checker) conditional(n *ast.ConditionalNode) (term, bool) {
	if n.Cond == n.Exp1 {
		return c.refuse(start(n), "no ?: without a middle", "write a ? b : c, or a ?? b")
	}
	cond, cok := c.term(n.Cond)
	yes, yok := c.term(n.Exp1)
	no, nok := c.term(n.Exp2)
	if cok && cond.kind != windows.Bool {
		_, cok = c.refuse(start(n.Cond), fmt.Sprintf("? asks for a bool, and this is %s", article(cond.kind)), "compare it with something, as in price > 0")
	}
	if !cok || !yok || !nok {
		return term{}, false
	}
	kind, ok := unify(yes.kind, no.kind)
	if !ok {
		return c.refuse(start(n.Exp2), fmt.Sprintf("%s or %s, by the condition", article(yes.kind), article(no.kind)), "both are of one type, or int64 and double")
	}
	return composed(kind, choice(cond.eval, as(yes, kind), as(no, kind)), cond, yes, no)
}

func (c *checker) call(n *ast.CallNode) (term, bool) {
	if name, ok := n.Callee.(*ast.IdentifierNode); !ok || name.Value != "is_null" {
		return c.refuse(start(n), fmt.Sprintf("there is no function %s", n.Callee), "the only one is is_null(x)")
	}
	if len(n.Arguments) != 1 {
		return c.refuse(start(n), fmt.Sprintf("is_null of %d values", len(n.Arguments)), "it takes one: is_null(x)")
	}
	t, ok := c.term(n.Arguments[0])
	if !ok {
		return term{}, false
	}
	return composed(windows.Bool, isNull(t.eval), t)
}

// membership checks x in ['a', 'b']: the list holds literals alone.
func (c *checker) membership(n *ast.BinaryNode) (term, bool) {
	x, ok := c.term(n.Left)
	list, isList := n.Right.(*ast.ArrayNode)
	if !isList {
		return c.refuse(start(n.Right), "in takes a list", "write it as in x in ['a', 'b']")
	}
	if len(list.Nodes) == 0 {
		return c.refuse(start(list), "an empty list", "put a value into it")
	}
	values := make([]windows.Value, 0, len(list.Nodes))
	for _, item := range list.Nodes {
		v, fine := c.literal(item)
		if fine && ok && !comparableKinds(x.kind, v.Kind()) {
			_, fine = c.refuse(start(item), fmt.Sprintf("in compares %s with %s", article(x.kind), article(v.Kind())), "list what is of one type with it")
		}
		ok = ok && fine
		values = append(values, v)
	}
	if !ok {
		return term{}, false
	}
	return composed(windows.Bool, member(x.eval, values), x)
}

// literal returns what a literal or a negative one stands for.
func (c *checker) literal(n ast.Node) (windows.Value, bool) {
	inner := n
	if minus, ok := n.(*ast.UnaryNode); ok && minus.Operator == "-" {
		inner = minus.Node
	}
	switch inner.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode:
		if t, ok := c.term(n); ok {
			return t.eval(nil), true
		}
		return windows.Value{}, false
	}
	_, ok := c.refuse(start(n), "a list holds literals alone", "write it as in x in ['a', 'b']; join comparisons with or")
	return windows.Value{}, ok
}

// composed makes the term of an operator's result.
func composed(kind windows.Kind, eval Expression, parts ...term) (term, bool) {
	t := term{kind: kind, eval: eval, column: -1, constant: true}
	for _, p := range parts {
		t.constant = t.constant && p.constant
	}
	return t, true
}

func literal(v windows.Value) term {
	return term{kind: v.Kind(), column: -1, constant: true, eval: func([]windows.Value) windows.Value { return v }}
}

func numeric(k windows.Kind) bool { return k == windows.Int64 || k == windows.Double }

// comparableKinds reports whether values of two kinds can be compared: those of one kind, lists excepted, and numbers.
func comparableKinds(a, b windows.Kind) bool {
	return a == b && a != windows.Timestamps || numeric(a) && numeric(b)
}

// unify returns the kind of a value that is either of one kind or of another.
func unify(a, b windows.Kind) (windows.Kind, bool) {
	if a == b {
		return a, true
	}
	return windows.Double, numeric(a) && numeric(b)
}

// article is a kind as it stands in a sentence.
func article(k windows.Kind) string {
	switch k {
	case windows.Int64:
		return "an int64"
	case windows.Timestamps:
		return "a list of timestamps"
	}
	return "a " + k.String()
}
