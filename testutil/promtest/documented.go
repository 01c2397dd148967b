package promtest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Documented is one row of docs/metrics.md.
type Documented struct {
	Type   string   // counter, gauge or histogram
	Labels []string // sorted
}

// row is one metric in a table of the page: name, type, labels, meaning.
var row = regexp.MustCompile("(?m)^\\| `(highwater_[a-z0-9_]+)` \\| (\\w+) \\|([^|]*)\\|([^|]*)\\|$")

// Page reads the tables of docs/metrics.md, by name. A name that stands twice, or has no meaning, fails the test.
func Page(tb testing.TB, path string) map[string]Documented {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	documented := map[string]Documented{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		if _, twice := documented[m[1]]; twice {
			tb.Errorf("%s lists %s twice", path, m[1])
		}
		if strings.TrimSpace(m[4]) == "" {
			tb.Errorf("%s does not say what %s means", path, m[1])
		}
		documented[m[1]] = Documented{Type: m[2], Labels: labels(m[3])}
	}
	if n := strings.Count(string(text), "\n| `highwater_"); n != len(documented) {
		tb.Errorf("%s has %d rows that begin with a metric, of which %d read as name, type, labels, meaning", path, n, len(documented))
	}
	return documented
}

// labels reads a cell of labels in backquotes.
func labels(cell string) []string {
	found := []string{}
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cell, -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return found
}

// named is a metric, or a series that a rule records, in a text of PromQL.
var named = regexp.MustCompile(`\b(highwater[_:][a-zA-Z0-9_:]+)(\{[^}]*\})?`)

// Used is a metric or recorded series that a query names.
type Used struct {
	Name   string   // a histogram's without _bucket, _sum or _count
	Labels []string // that its matchers name, but le, job, instance and __name__
}

// InQuery returns what a query names of ours. It reads names and matchers, and knows no more of PromQL.
func InQuery(query string) []Used {
	var used []Used
	for _, m := range named.FindAllStringSubmatch(query, -1) {
		u := Used{Name: m[1]}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			u.Name = strings.TrimSuffix(u.Name, suffix)
		}
		for _, l := range regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`).FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains([]string{"le", "job", "instance"}, l[1]) {
				u.Labels = append(u.Labels, l[1])
			}
		}
		used = append(used, u)
	}
	return used
}
