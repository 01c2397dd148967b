package testutil_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// layer says what a package may import of ours, and why the wall is where it is. The README's table is the same.
type layer struct {
	may []string // packages, or folders ending in /
	why string
}

// layers is design.md §11's import table. "." stands for the package itself.
var layers = map[string]layer{
	"windows":               {nil, "it is pure arithmetic: no clock, no I/O, no words of ours"},
	"features":              {[]string{"windows"}, "it holds the words that everyone speaks"},
	"examples":              {nil, "it is data"},
	"batch":                 {[]string{"features", "windows"}, "the driver only routes: Kafka, Pebble and Redis stand behind its interfaces"},
	"batch/decode":          {[]string{"batch", "features", "windows"}, "a decoder knows records and fields, and nothing of where they come from"},
	"batch/kafka":           {[]string{"batch", "batch/certs", "features", "windows"}, "it implements the driver's interfaces"},
	"batch/kafka/embedded":  {nil, "it is a broker, and knows nothing of what is sent through it"},
	"batch/certs":           {nil, "it reads files"},
	"batch/capacity":        {nil, "it is arithmetic on numbers that people give it"},
	"batch/faults":          {[]string{"batch", "features", "windows"}, "it stands between the driver and what the driver is wired with, whatever that is"},
	"batch/faults/disk":     {nil, "it is a disk, and knows nothing of what is kept on it"},
	"batch/faults/resp":     {nil, "it is a relay, and knows nothing of what is sent through it"},
	"store/keys":            {[]string{"batch", "features", "windows"}, "keys are made of words, and of the driver's timer clocks"},
	"store/state":           {[]string{"batch", "features", "windows", "store/keys"}, "it implements the driver's interfaces"},
	"store/online":          {[]string{"batch", "batch/certs", "features", "windows", "store/keys"}, "it implements the driver's interfaces; readers know it by serve's"},
	"store/online/embedded": {nil, "it is a Redis, and knows nothing of what is kept in it"},
	"serve":                 {[]string{"features", "windows"}, "reading never touches the state: it declares what it reads through"},
	"serve/servetest":       {[]string{"features", "windows"}, "a store in memory, for tests alone"},
	"api":                   {[]string{"serve", "features", "windows"}, "HTTP is one way to ask serve"},
	"deploy/dashboard":      {nil, "it knows Prometheus and Grafana's format, and nothing of the engine"},
	"deploy/dashboard/draw": {[]string{"deploy/dashboard"}, "a command"},
	"cmd/highwater":         {[]string{"examples", "features", "windows", "batch/", "store/", "serve", "api"}, "wiring lives here and nowhere else"},
	"bench/e2e":             {[]string{"features", "windows", "batch/", "store/"}, "a benchmark wires the parts it measures"},
}

const module = "highwater/"

// TestImports_FollowTheTable holds every package's imports against the table. Tests may import anything; only tests import testutil.
func TestImports_FollowTheTable(t *testing.T) {
	for dir, imports := range importsByPackage(t) {
		if strings.HasPrefix(dir, "testutil") || dir == "." {
			continue
		}
		l, known := layers[dir]
		if !known {
			t.Errorf("package %s is not in the import table of testutil/arch_test.go: add it, with what it may import and why", dir)
			continue
		}
		for _, imported := range imports {
			if !allowed(l.may, imported) {
				t.Errorf("%s must not import %s: %s", dir, imported, l.why)
			}
		}
	}
}

func allowed(may []string, imported string) bool {
	for _, m := range may {
		if imported == m || strings.HasSuffix(m, "/") && (strings.HasPrefix(imported, m) || imported == strings.TrimSuffix(m, "/")) {
			return true
		}
	}
	return false
}

// TestPackages_HaveOneComment wants exactly one package comment in each package: a glossary, or what it is for.
func TestPackages_HaveOneComment(t *testing.T) {
	comments := map[string]int{}
	eachFile(t, func(dir, path string) {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		comments[dir] += 0
		if f.Doc != nil {
			comments[dir]++
		}
	})
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want one", dir, n)
		}
	}
}

func importsByPackage(t *testing.T) map[string][]string {
	imports := map[string][]string{}
	eachFile(t, func(dir, path string) {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		imports[dir] = append(imports[dir], nil...)
		for _, spec := range f.Imports {
			if p := strings.Trim(spec.Path.Value, `"`); strings.HasPrefix(p, module) {
				imports[dir] = append(imports[dir], strings.TrimPrefix(p, module))
			}
		}
	})
	if len(imports) < 8 {
		t.Fatalf("only %d packages found: is this test still where it was?", len(imports))
	}
	return imports
}

// eachFile calls f for every Go file of the module that is no test.
func eachFile(t *testing.T, f func(dir, path string)) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "tools") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		f(filepath.ToSlash(rel), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
}
