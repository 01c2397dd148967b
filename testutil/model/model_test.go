package model_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"highwater/testutil/model"
)

var update = flag.Bool("update", false, "write testdata/traces.txt and the table of docs/guarantees.md again")

func endless(int) bool { return false }

func TestSearch_TheProtocolHolds(t *testing.T) {
	for _, s := range model.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			res := model.Search(s, model.AllRules(), endless)
			if res.Violation != nil || !res.Complete {
				t.Errorf("%s:\n%s", s.About, printed(res))
			}
		})
	}
}

// The larger worlds share a stated time: HIGHWATER_MODEL=1m (make model). Each gets an equal part of what is left; one and a half million worlds are about 2 GB.
func TestSearch_TheProtocolHoldsInLargerWorlds(t *testing.T) {
	text := os.Getenv("HIGHWATER_MODEL")
	if text == "" {
		t.Skip("HIGHWATER_MODEL says for how long larger worlds are searched, such as 1m; make model sets it")
	}
	left, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	larger := model.Larger()
	for i, s := range larger {
		t.Run(s.Name, func(t *testing.T) {
			start := time.Now()
			until := start.Add(left / time.Duration(len(larger)-i))
			res := model.Search(s, model.AllRules(), func(worlds int) bool { return worlds > 1_500_000 || time.Now().After(until) })
			left -= time.Since(start)
			if t.Logf("%s: %s", s.About, printed(res)); res.Violation != nil {
				t.Fail()
			}
		})
	}
}

// Each rule left out breaks a promise, in the scenario that the table names and in the way that it says. The traces, shortest by the order of the search, are in testdata/traces.txt, and the table of docs/guarantees.md has their lengths.
func TestRules_EachIsNeeded(t *testing.T) {
	var traces bytes.Buffer
	steps := map[string]int{}
	for _, rule := range model.Table() {
		rules, err := model.AllRules().Without(append([]string{rule.Name}, rule.Besides...)...)
		if err != nil {
			t.Fatal(err)
		}
		res := model.Search(scenario(t, rule.Scenario), rules, endless)
		steps[rule.Name] = len(res.Trace)
		fmt.Fprintf(&traces, "== without %s, in %s\n", strings.Join(append([]string{rule.Name}, rule.Besides...), " and "), rule.Scenario)
		res.Print(&traces)
		fmt.Fprintln(&traces)
		if res.Violation == nil || res.Violation.Kind != rule.Breaks {
			t.Errorf("without %s %s gives %s; want %q", rule.Name, rule.Scenario, printed(res), rule.Breaks)
		}
	}
	golden(t, "testdata/traces.txt", traces.Bytes())
	goldenTable(t, steps)
}

// A rule that is a second line of defence breaks nothing by itself: what it stands behind does hold.
func TestRules_BehindOthersAreSecondLines(t *testing.T) {
	for _, rule := range model.Table() {
		if len(rule.Besides) == 0 {
			continue
		}
		for _, name := range append([]string{rule.Name}, rule.Besides...) {
			rules, err := model.AllRules().Without(name)
			if err != nil {
				t.Fatal(err)
			}
			res := model.Search(scenario(t, rule.Scenario), rules, endless)
			if name == rule.Name && res.Violation != nil {
				t.Errorf("%s alone breaks a promise in %s: it needs no other rule left out beside it\n%s", name, rule.Scenario, printed(res))
			}
			if res.Violation != nil && res.Violation.Kind == rule.Breaks {
				t.Errorf("without %s alone the same promise is broken as without %s besides", name, rule.Name)
			}
		}
	}
}

func TestTable_HasEveryRuleOnce(t *testing.T) {
	switches := map[*bool]string{}
	var r model.Rules
	for _, rule := range model.Table() {
		if other, twice := switches[rule.In(&r)]; twice {
			t.Errorf("%s and %s are one switch", rule.Name, other)
		}
		switches[rule.In(&r)] = rule.Name
		if slices.ContainsFunc(rule.Besides, func(name string) bool { _, err := model.Find(name); return err != nil }) {
			t.Errorf("%s stands behind rules that there are not: %v", rule.Name, rule.Besides)
		}
	}
	if want := reflect.TypeFor[model.Rules]().NumField(); len(switches) != want {
		t.Errorf("the table has %d rules, the struct %d", len(switches), want)
	}
}

// Every rule names tests of the real code, and they are there.
func TestTable_NamesTestsThatExist(t *testing.T) {
	known := map[string]map[string]bool{}
	for _, rule := range model.Table() {
		if len(rule.Tests) == 0 {
			t.Errorf("%s names no test of the real code", rule.Name)
		}
		for _, test := range rule.Tests {
			dir, name, _ := strings.Cut(test, ".")
			if known[dir] == nil {
				known[dir] = testsIn(t, filepath.Join("..", "..", dir))
			}
			if !known[dir][name] {
				t.Errorf("%s: there is no test or case %s in %s", rule.Name, name, dir)
			}
		}
	}
}

// goldenTable holds the table of rules in docs/guarantees.md against the rules as they are, and the lengths of their traces.
func goldenTable(t *testing.T, steps map[string]int) {
	t.Helper()
	const page, begins, ends = "../../docs/guarantees.md", "<!-- rules: written by go test ./testutil/model -update -->\n", "<!-- /rules -->"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begins)
	_, after, closed := strings.Cut(rest, ends)
	if !found || !closed {
		t.Fatalf("%s has no place for the table of rules", page)
	}
	comments := ruleComments(t)
	var table strings.Builder
	table.WriteString("| rule | says | without it | breaks, after | shown by, against the real code |\n| --- | --- | --- | --- | --- |\n")
	fields := reflect.TypeFor[model.Rules]()
	for i, rule := range model.Table() {
		says, otherwise, ok := strings.Cut(comments[fields.Field(i).Name], " Without: ")
		if !ok {
			t.Errorf("the comment of %s does not say what happens without it", fields.Field(i).Name)
		}
		besides := ""
		for _, name := range rule.Besides {
			besides += ", without `" + name + "` besides"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s, %d steps%s | %s |\n", rule.Name, strings.TrimSuffix(says, "."), strings.TrimSuffix(otherwise, "."), rule.Breaks, steps[rule.Name], besides, shown(rule.Tests))
	}
	golden(t, page, []byte(before+begins+table.String()+ends+after))
}

func shown(tests []string) string {
	byDir, dirs := map[string][]string{}, []string{}
	for _, test := range tests {
		dir, name, _ := strings.Cut(test, ".")
		if byDir[dir] == nil {
			dirs = append(dirs, dir)
		}
		byDir[dir] = append(byDir[dir], "`"+name+"`")
	}
	var out []string
	for _, dir := range dirs {
		out = append(out, strings.Join(byDir[dir], ", ")+" ("+dir+")")
	}
	return strings.Join(out, "; ")
}

func scenario(t *testing.T, name string) model.Scenario {
	t.Helper()
	all := model.Scenarios()
	i := slices.IndexFunc(all, func(s model.Scenario) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("no scenario %q", name)
	}
	return all[i]
}

func printed(r model.Result) string {
	var b bytes.Buffer
	r.Print(&b)
	return b.String()
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the model says; go test ./testutil/model -update writes it again, and the diff tells what moved", path)
	}
}

// testsIn returns the names of a package's tests, and the strings in their files: the cases of its suites.
func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				names[n.Name.Name] = n.Recv == nil && strings.HasPrefix(n.Name.Name, "Test")
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
					names[s] = true
				}
			}
			return true
		})
	}
	return names
}

// ruleComments returns what the fields of Rules say of themselves, after their names.
func ruleComments(t *testing.T) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "rules.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		if field, ok := n.(*ast.Field); ok && len(field.Names) == 1 && field.Doc != nil {
			name := field.Names[0].Name
			comments[name] = strings.TrimPrefix(strings.TrimSpace(field.Doc.Text()), name+": ")
		}
		return true
	})
	return comments
}
