package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"highwater/testutil/model"
)

// root is the repository, seen from here.
const root = "../.."

// Run asks for the mutants to be run, which takes some minutes; "1" for all, else those whose name holds the text.
const run = "HIGHWATER_MUTANTS"

// TestMutants_AreCaught builds the code with each bug in place of the line that it breaks, runs the test that is to notice, and wants it to fail.
func TestMutants_AreCaught(t *testing.T) {
	wanted := os.Getenv(run)
	if wanted == "" {
		t.Skip("it takes minutes: make mutants, or " + run + "=1")
	}
	for _, m := range mutants {
		if wanted != "1" && !strings.Contains(m.name, wanted) {
			continue
		}
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			out, err := m.run(t)
			switch {
			case err == nil:
				t.Errorf("%s in ./%s does not notice", m.test, m.in)
			case !strings.Contains(out, "--- FAIL: "+strings.Split(m.test, "/")[0]):
				t.Errorf("the test did not come to an end of its own:\n%s", out)
			}
		})
	}
}

// run runs the mutant's test over the mutant's code.
func (m mutant) run(t *testing.T) (string, error) {
	t.Helper()
	dir, replace := t.TempDir(), map[string]string{}
	for i, e := range m.edits {
		path, err := filepath.Abs(filepath.Join(root, e.file))
		if err != nil {
			t.Fatal(err)
		}
		from := path
		if earlier, ok := replace[path]; ok {
			from = earlier
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		replace[path] = filepath.Join(dir, string(rune('a'+i))+filepath.Ext(path))
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	pattern := "^" + strings.ReplaceAll(m.test, "/", "$/^") + "$"
	args := []string{"test", "-overlay", file, "-count=1", "-failfast", "-timeout=3m", "-run", pattern, "./" + m.in}
	if m.usesRapid(t) {
		args = append(args, "-rapid.nofailfile") // the bug's, not ours
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// usesRapid reports whether the tests of the mutant's package have rapid's flags.
func (m mutant) usesRapid(t *testing.T) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, m.in, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil {
			t.Fatal(err)
		} else if strings.Contains(string(text), `"pgregory.net/rapid"`) {
			return true
		}
	}
	return false
}

// Every edit finds its line, once, and every mutant stands in the documentation with its test.
func TestMutants_FindTheirLines(t *testing.T) {
	guarantees, err := os.ReadFile(filepath.Join(root, "docs/guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		for _, e := range m.edits {
			text, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), e.old); n != 1 {
				t.Errorf("%s: %s holds %d times\n%s", m.name, e.file, n, e.old)
			}
		}
		if line := "| " + m.name + " | " + m.breaks + " | `" + strings.TrimPrefix(strings.TrimPrefix(m.test, "TestUpsert_Miniredis/"), "TestMiniredis/") + "` (" + m.in + ") |"; !strings.Contains(string(guarantees), line) {
			t.Errorf("docs/guarantees.md lacks the line\n%s", line)
		}
	}
}

// Every rule of the protocol is broken by a mutant.
func TestMutants_BreakEveryRule(t *testing.T) {
	for _, rule := range model.Table() {
		if !slices.ContainsFunc(mutants, func(m mutant) bool { return m.name == byRule[rule.Name] }) {
			t.Errorf("rule %s: no mutant is called %q", rule.Name, byRule[rule.Name])
		}
	}
	if rules := len(model.Table()); len(byRule) != rules {
		t.Errorf("byRule has %d rules, and the model %d", len(byRule), rules)
	}
}
