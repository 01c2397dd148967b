package testutil_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository, as seen from this package.
const root = ".."

// pages returns the pages that people read, by path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	read := func(name string) {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	read("README.md")
	read("CONTRIBUTING.md")
	for _, folder := range []string{"docs", "examples", "deploy"} {
		err := fs.WalkDir(os.DirFS(root), folder, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && path.Ext(name) == ".md" {
				read(name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(texts) < 12 {
		t.Fatalf("only %d pages found: is this test still where it was?", len(texts))
	}
	return texts
}

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, name))
	return err == nil
}

var (
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// file is a path from the root as the pages write it. A * stands for anything.
	file = regexp.MustCompile(`\b(?:api|batch|cmd|deploy|docs|examples|features|serve|store|testutil|windows)/[\w*./-]*\w\.(?:go|lua|md|ya?ml|json|gz)\b`)
)

func TestDocs_LinksLeadSomewhere(t *testing.T) {
	for page, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if !exists(path.Join(path.Dir(page), target)) {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
		for _, name := range file.FindAllString(text, -1) {
			found, err := filepath.Glob(filepath.Join(root, name))
			if err != nil || len(found) == 0 && !strings.Contains(name, "NAME") {
				t.Errorf("%s names %s, which is not there", page, name)
			}
		}
	}
}

// The guarantees name the tests that show them. Those must exist: as functions, or as cases of a suite.
func TestDocs_NamedTestsExist(t *testing.T) {
	tests := strings.Builder{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, ".") {
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		tests.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+|[A-Z][a-zA-Z]+_\\w+)`")
	n := 0
	for page, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if strings.ToUpper(m[1]) == m[1] { // an environment variable, a status
				continue
			}
			n++
			if !strings.Contains(tests.String(), "func "+m[1]+"(") && !strings.Contains(tests.String(), `"`+m[1]+`"`) {
				t.Errorf("%s names the test %s, which does not exist", page, m[1])
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d tests named: does the expression still fit the pages?", n)
	}
}

func TestDocs_DecisionsAreWhole(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs/decisions/*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no decisions found: %v", err)
	}
	for i, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(name)
		if want := fmt.Sprintf("%04d-", i+1); !strings.HasPrefix(base, want) {
			t.Errorf("%s: decisions are numbered without gaps, want %s…", base, want)
		}
		if want := fmt.Sprintf("# %d. ", i+1); !strings.HasPrefix(string(text), want) {
			t.Errorf("%s does not begin with %q", base, want)
		}
		at := 0
		for _, part := range []string{"Context", "Decision", "Consequences"} {
			found := strings.Index(string(text[at:]), "\n**"+part+".** ")
			if found < 0 {
				t.Errorf("%s has no **%s.**, or not in its place", base, part)
				continue
			}
			at += found + 1
		}
	}
}

// unlisted are the packages that the README's table leaves out: they are no part of the engine.
var unlisted = []string{"examples", "bench/e2e", "deploy/dashboard", "deploy/dashboard/draw"}

// The README's table of layers says what the table of the imports says, folder by folder.
func TestReadme_LayersAreTheImportTable(t *testing.T) {
	listed := map[string]string{} // folder → what it may import, as written
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z/]+)/` \\|[^|]*\\| ([^|]+) \\|$").FindAllStringSubmatch(pages(t)["README.md"], -1) {
		listed[m[1]] = m[2]
	}
	may := map[string]map[string]bool{} // folder → the folders that its packages may import
	for dir, l := range layers {
		folder := folderOf(dir, listed)
		if folder == "" {
			if !slices.Contains(unlisted, dir) {
				t.Errorf("package %s is in no folder of the README's table", dir)
			}
			continue
		}
		if may[folder] == nil {
			may[folder] = map[string]bool{}
		}
		for _, m := range l.may {
			if other := folderOf(strings.TrimSuffix(m, "/"), listed); other != folder && other != "" {
				may[folder][other] = true
			}
		}
	}
	for folder, text := range listed {
		want := strings.Join(slices.Sorted(maps.Keys(may[folder])), ", ")
		switch {
		case may[folder] == nil:
			t.Errorf("the README lists %s/, of which testutil/arch_test.go knows nothing", folder)
		case len(may[folder]) == 0:
			want = "nothing"
		case len(may[folder]) == len(listed)-1:
			want = "everything"
		}
		if have := strings.Split(text, ", "); strings.Join(slices.Sorted(slices.Values(have)), ", ") != want {
			t.Errorf("README: %s/ may import %s; testutil/arch_test.go says %s", folder, text, want)
		}
	}
}

// folderOf returns which of the listed folders a package lies in, "" for none.
func folderOf(dir string, listed map[string]string) string {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, ok := listed[dir]; ok {
			return dir
		}
	}
	return ""
}

// Every command that a page names exists, and the README's table has them all.
func TestDocs_CommandsExist(t *testing.T) {
	commands := commandsOf(t)
	for page, text := range pages(t) {
		for _, m := range regexp.MustCompile("(?m)(?:`|^|\\./)highwater ([a-z]+)").FindAllStringSubmatch(text, -1) {
			if !slices.Contains(commands, m[1]) {
				t.Errorf("%s names `highwater %s`; there are %s", page, m[1], strings.Join(commands, ", "))
			}
		}
	}
	_, table, _ := strings.Cut(pages(t)["README.md"], "| command | does |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var listed []string
	for _, row := range strings.Split(table, "\n")[1:] {
		cell := strings.SplitN(row, "|", 3)[1]
		for _, m := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(cell, -1) {
			listed = append(listed, m[1])
		}
	}
	listed = append(listed, "version") // not worth a line there
	slices.Sort(listed)
	if !slices.Equal(listed, commands) {
		t.Errorf("the README's table has the commands %v, the program %v", listed, commands)
	}
}

// commandsOf reads the program's commands from the struct that kong makes them of.
func commandsOf(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "cmd/highwater/main.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	ast.Inspect(f, func(n ast.Node) bool {
		field, ok := n.(*ast.Field)
		if !ok || field.Tag == nil {
			return true
		}
		if _, is := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Lookup("cmd"); is {
			commands = append(commands, strings.ToLower(field.Names[0].Name))
		}
		return true
	})
	if len(commands) == 0 {
		t.Fatal("cmd/highwater/main.go has no commands: are they declared somewhere else now?")
	}
	slices.Sort(commands)
	return commands
}

// Every alert leads to its page in the runbook, and every page of an alert has one.
func TestRunbook_HasAPageForEachAlert(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	named := func(expression, text string) []string {
		var names []string
		for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		slices.Sort(names)
		return names
	}
	alerts := named(`(?m)^ +- alert: (\w+)$`, string(rules))
	have := named(`(?m)^### (Highwater\w+)$`, pages(t)["docs/runbook.md"])
	if !slices.Equal(alerts, have) || len(alerts) < 10 {
		t.Errorf("the alerts are %v; the runbook's pages are %v", alerts, have)
	}
	for i, anchor := range named(`runbook_url: docs/runbook\.md#(\w+)`, string(rules)) {
		if anchor != strings.ToLower(alerts[i]) {
			t.Errorf("%s leads to #%s of the runbook", alerts[i], anchor)
		}
	}
}

// A link to a part of a page leads to a heading of it.
func TestDocs_AnchorsLeadToHeadings(t *testing.T) {
	texts := pages(t)
	for page, text := range texts {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if anchor == "" || strings.Contains(target, "://") {
				continue
			}
			if target != "" {
				target = path.Join(path.Dir(page), target)
			} else {
				target = page
			}
			if other, ok := texts[target]; ok && !slices.Contains(anchors(other), anchor) {
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
	}
}

// anchors returns the headings of a page as links name them.
func anchors(text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(regexp.MustCompile(`[^\w -]`).ReplaceAllString(m[1], ""))
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// A merge that was not finished leaves its markers at the beginnings of lines. No text of ours begins one so.
func TestDocs_NoConflictMarkers(t *testing.T) {
	marker := regexp.MustCompile(`(?m)^(?:<{7}|>{7})`)
	n := 0
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == ".highwater"): // what git keeps, and what tests left
			return fs.SkipDir
		case d.IsDir() || !d.Type().IsRegular() || !isText(name):
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		n++
		if at := marker.FindIndex(text); at != nil {
			t.Errorf("%s:%d begins with a conflict marker", name, 1+strings.Count(string(text[:at[0]]), "\n"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 300 {
		t.Errorf("only %d files looked at: is this test still where it was?", n)
	}
}

// isText reports whether a file's name says that people write it.
func isText(name string) bool {
	switch path.Ext(name) {
	case "", ".go", ".md", ".yml", ".yaml", ".json", ".txt", ".txtar", ".lua", ".http", ".html", ".mod", ".sum", ".service", ".sysusers", ".properties", ".xml":
		return path.Base(name) != "highwater" // the binary
	}
	return false
}
