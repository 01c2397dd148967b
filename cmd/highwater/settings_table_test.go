package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// settingRow is one line of the table of settings: commands whose setting of that name is the same share a line.
type settingRow struct {
	name, value, byDefault, meaning string
	reload                          bool
	commands                        []string
}

// settingRows lists every setting that may stand in a deployment file, in the order of their names.
func settingRows(app *kong.Application) []settingRow {
	var rows []settingRow
	add := func(command string, f *kong.Flag) {
		if !inFile(f) {
			return
		}
		row := settingRow{name: f.Name, value: valueWords(f), byDefault: f.Default, meaning: f.Help, reload: f.Tag.Has("reload")}
		if f.Required {
			row.byDefault = "required"
		}
		same := func(r settingRow) bool {
			return r.name == row.name && r.value == row.value && r.byDefault == row.byDefault && r.meaning == row.meaning
		}
		i := slices.IndexFunc(rows, same)
		if i < 0 {
			i, rows = len(rows), append(rows, row)
		}
		rows[i].commands = append(rows[i].commands, command)
	}
	for _, f := range app.Flags {
		add("all", f)
	}
	for _, c := range app.Children {
		for _, f := range c.Flags {
			add(c.Name, f)
		}
	}
	slices.SortStableFunc(rows, func(a, b settingRow) int { return strings.Compare(a.name, b.name) })
	return rows
}

// valueWords says what a setting takes.
func valueWords(f *kong.Flag) string {
	switch f.Target.Interface().(type) {
	case bool:
		return "true or false"
	case time.Duration:
		return "a duration"
	case byteSize:
		return "a size"
	case int, int64:
		return "a number"
	case secretFile:
		return "a path"
	case []string:
		return "a list"
	}
	switch {
	case f.Enum != "":
		return "one of " + strings.Join(f.EnumSlice(), ", ")
	case f.Tag.Type == "path":
		return "a path"
	}
	return "a text"
}

// writeSettingsTable writes the table of settings, for docs/settings.md.
func writeSettingsTable(w io.Writer, app *kong.Application) {
	fmt.Fprintln(w, "| setting | of | value | default | while running | meaning |\n| --- | --- | --- | --- | --- | --- |")
	for _, r := range settingRows(app) {
		changes, byDefault := "", r.byDefault
		if r.reload {
			changes = "reload"
		}
		if byDefault != "" && byDefault != "required" {
			byDefault = "`" + byDefault + "`"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s | %s |\n", r.name, strings.Join(r.commands, ", "), r.value, byDefault, changes, strings.ReplaceAll(r.meaning, "|", `\|`))
	}
}

var update = flag.Bool("update", false, "write the table of docs/settings.md again")

// The table in docs/settings.md is made of the structs that kong makes flags of. What people read between the marks is what the program takes, and nothing else.
func TestSettings_AreDocumented(t *testing.T) {
	const page, from, to = "../../docs/settings.md", "<!-- settings: go test ./cmd/highwater -run TestSettings -update -->\n", "<!-- end of settings -->"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), from)
	have, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("%s has lost the marks around its table", page)
	}
	var want bytes.Buffer
	writeSettingsTable(&want, grammar(t))
	if *update {
		if err := os.WriteFile(page, []byte(before+from+want.String()+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != want.String() {
		t.Errorf("%s does not have the settings that the program has (-update writes it again):\n%s", page, want.String())
	}
}

// grammar returns the program's commands and flags.
func grammar(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := (&settings{}).parser(io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}
