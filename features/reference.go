package features

import (
	"fmt"
	"strings"

	"highwater/windows"
)

// ReferencePage returns the reference page of definitions files, in Markdown: docs/reference.md. It is made of the tables that decoding is made of.
func ReferencePage() []byte {
	p := &page{}
	p.line("<!-- Generated from features/keys.go and the table of aggregates in windows/: go test ./features -run Reference -update -->")
	p.line("# Definitions: the reference")
	p.line("")
	p.line("A project is one YAML file. `highwater validate FILE` checks it and reports every mistake at once; `highwater schema` prints its JSON Schema, for editors. examples/ has three whole files to start from.")
	p.line("")
	p.line("Decoding is strict: an unknown key is a mistake, and so are YAML's tags, anchors, aliases, merge keys and second documents. Names are lower-case letters, digits and `_`, a letter first; the names of fields are the records' own.")
	p.line("Durations are a non-negative integer with a unit: `ms`, `s`, `m`, `h` or `d`. Sizes are a number of bytes, or one with `KiB`, `MiB` or `GiB`.")
	p.line("")
	p.line("## Keys")
	p.object(projectShape().description.object)
	p.aggregates()
	p.raw(expressionReference)
	return []byte(p.text.String())
}

// page is the text of the reference as far as it is written.
type page struct{ text strings.Builder }

func (p *page) line(text string) { p.text.WriteString(text + "\n") }
func (p *page) raw(text string)  { p.text.WriteString(text) }

// row writes a table's row. Cells show < and | as they are.
func (p *page) row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", "\\|")
	}
	p.line("| " + strings.Join(cells, " | ") + " |")
}

// object writes a mapping's section, and then those of the mappings within it.
func (p *page) object(o *object) {
	p.line("")
	p.line("### " + o.name)
	p.line("")
	if o.path != "" {
		p.line("`" + o.path + "`: " + o.doc)
	} else {
		p.line(o.doc)
	}
	p.line("")
	p.row("key", "value", "default", "meaning")
	p.row("---", "---", "---", "---")
	var within []*object
	for _, k := range o.keys {
		p.row("`"+k.name+"`", k.value.cell(), k.defaultCell(), k.doc)
		within = k.value.objects(within)
	}
	for _, inner := range within {
		p.object(inner)
	}
}

func (k keyDescription) defaultCell() string {
	switch {
	case k.required:
		return "required"
	case k.constant:
		return "`" + k.fallback + "`"
	}
	return k.fallback
}

// cell is a shape as a table shows it.
func (d *description) cell() string {
	switch {
	case d.object != nil:
		return fmt.Sprintf("[%s](#%s)", d.object.name, strings.ReplaceAll(d.object.name, " ", "-"))
	case d.names != nil:
		return "by name: " + d.each.cell()
	case d.each != nil:
		return "a list of: " + d.each.cell()
	case d.either != nil:
		var all []string
		for _, one := range d.either {
			all = append(all, one.cell())
		}
		return strings.Join(all, ", or ")
	}
	return d.what
}

// objects appends the mappings of fixed keys that a value holds.
func (d *description) objects(to []*object) []*object {
	if d.object != nil {
		return append(to, d.object)
	}
	if d.each != nil {
		return d.each.objects(to)
	}
	for _, one := range d.either {
		to = one.objects(to)
	}
	return to
}

// aggregates writes the table of aggregates.
func (p *page) aggregates() {
	p.line("")
	p.line("## Aggregates")
	p.line("")
	p.line("`of` names the field that is aggregated; events in which it is null are skipped.")
	p.line("")
	p.row("aggregate", "of", "gives", "over no events", "limit", "meaning")
	p.row("---", "---", "---", "---", "---", "---")
	for _, a := range windows.Aggregates() {
		p.row("`"+a.Name+"`", argumentCell(a), outputCell(a), emptyCell(a), limitCell(a), a.Summary)
	}
}

func argumentCell(a windows.Info) string {
	switch a.Argument {
	case windows.ArgumentNone:
		return "no field"
	case windows.ArgumentOptional:
		return "no field, or " + kindNames(a.Inputs)
	}
	return kindNames(a.Inputs)
}

func outputCell(a windows.Info) string {
	if len(a.Inputs) == 0 {
		return a.Output(windows.Null).String()
	}
	for _, k := range a.Inputs {
		if a.Output(k) != a.Output(a.Inputs[0]) {
			return "the field's type"
		}
	}
	return a.Output(a.Inputs[0]).String()
}

func emptyCell(a windows.Info) string {
	input := windows.Null
	if a.Argument == windows.ArgumentRequired {
		input = a.Inputs[0]
	}
	if empty := a.Empty(input); !empty.IsNull() {
		return fmt.Sprint(empty.Int())
	}
	return "null"
}

func limitCell(a windows.Info) string {
	if a.Limit > 0 {
		return fmt.Sprint(a.Limit)
	}
	return fmt.Sprintf("exact windows: %d", a.DefaultLimit(windows.Exact))
}

const expressionReference = `
## Expressions

A ` + "`where`" + ` is an expression over the source's fields; an ` + "`expression`" + ` is one over the view's other features. An expression has a type, which is checked before anything runs, and nulls follow SQL.

| written | of | gives | null |
| --- | --- | --- | --- |
| ` + "`+ - * %`, `-x`" + ` | int64, double | int64 of two int64, else double | where an operand is, where an int64 overflows, ` + "`x % 0`" + `, and in place of NaN and infinities |
| ` + "`/`" + ` | int64, double | double | where an operand is, ` + "`x / 0`" + `, and in place of infinities |
| ` + "`== !=`" + ` | two of one type, or int64 and double | bool | where an operand is |
| ` + "`< <= > >=`" + ` | the same, but for bool | bool | where an operand is |
| ` + "`and or not`, `&& \\|\\| !`" + ` | bool | bool | three-valued: ` + "`false and null`" + ` is false, ` + "`true or null`" + ` is true, all else with null is null |
| ` + "`c ? a : b`" + ` | c a bool; a and b of one type, or int64 and double | their type | a null c counts as false |
| ` + "`x in [1, 2]`, `not in`" + ` | literals of x's type | bool | where x is |
| ` + "`a ?? b`" + ` | of one type, or int64 and double | their type | where both are |
| ` + "`is_null(x)`" + ` | anything | bool | never |

- Literals: ` + "`'click'` or `\"click\"`, `1`, `1.5`, `0x1F`, `1_000`, `true`, `false`" + `. There is no null to write, and no timestamp.
- Where int64 meets double, arithmetic is in doubles; comparisons are exact.
- Strings compare by their bytes. Timestamps compare with timestamps, and that is all they do. Lists of timestamps can only be asked whether they are null.
- ` + "`not`" + ` binds tighter than comparisons: write ` + "`not (a == b)`, or `a != b`. `??`" + ` binds tightest of all: put parentheses around it beside other operators.
- Comparisons do not chain: ` + "`a < b and b < c`" + `.
- A name is a declared field or feature that is an identifier: letters, digits and ` + "`_`" + `, and none of ` + "`true false nil and or not in let if else matches contains startsWith endsWith`" + `. A field with another name can be aggregated and can be a join key; an expression cannot name it.
- Nothing else of the grammar is there: no functions, no regular expressions, no clock. What a vector holds follows from the log.
- In YAML, an expression with ` + "`: `" + ` or ` + "` #`" + ` in it, or one that begins with a quote, a bracket, ` + "`!`, `&`, `*` or `%`" + `, stands between quotes: ` + "`where: \"!bot\"`" + `; within braces, also one with a comma or a bracket.
`
