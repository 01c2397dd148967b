package testutil_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"highwater/testutil/promtest"
)

// rules is deploy/prometheus/alerts.yaml.
type rules struct {
	Groups []struct {
		Rules []struct {
			Record, Alert, Expr string
			Labels, Annotations map[string]string
		}
	}
}

// cases is deploy/prometheus/alerts_test.yaml.
type cases struct {
	Tests []struct {
		Name   string
		Alerts []struct {
			Alert    string `yaml:"alertname"`
			Expected []any  `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// Every alert has a severity and words for people, and promtool cases in which it fires and in which it does not.
func TestDeploy_AlertsAreWholeAndTested(t *testing.T) {
	var r rules
	var c cases
	readYAML(t, "deploy/prometheus/alerts.yaml", &r)
	readYAML(t, "deploy/prometheus/alerts_test.yaml", &c)
	fires, stays := map[string]bool{}, map[string]bool{}
	for _, test := range c.Tests {
		for _, a := range test.Alerts {
			fires[a.Alert] = fires[a.Alert] || len(a.Expected) > 0
			stays[a.Alert] = stays[a.Alert] || len(a.Expected) == 0
		}
	}
	n := 0
	for _, group := range r.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			n++
			if !fires[rule.Alert] || !stays[rule.Alert] {
				t.Errorf("%s: has a case in which it fires: %t, and one in which it does not: %t", rule.Alert, fires[rule.Alert], stays[rule.Alert])
			}
			if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s has the severity %q", rule.Alert, s)
			}
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s lacks a summary or a description", rule.Alert)
			}
			if want := "docs/runbook.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want {
				t.Errorf("%s has the runbook %q, want %q", rule.Alert, rule.Annotations["runbook_url"], want)
			}
		}
	}
	if n < 12 {
		t.Errorf("only %d alerts found: does the file still look as it did?", n)
	}
}

// Every alert has its section in the runbook, and no section is of an alert that is gone.
func TestDeploy_RunbookHasEveryAlert(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/runbook.md"))
	if os.IsNotExist(err) {
		t.Skip("SKIPPED: docs/runbook.md is not written yet")
	}
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (Highwater[A-Z]\w+)$`).FindAllStringSubmatch(string(text), -1) {
		sections[m[1]] = true
	}
	var r rules
	readYAML(t, "deploy/prometheus/alerts.yaml", &r)
	for _, group := range r.Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" && !sections[rule.Alert] {
				t.Errorf("docs/runbook.md has no section %s", rule.Alert)
			}
			delete(sections, rule.Alert)
		}
	}
	for name := range sections {
		t.Errorf("docs/runbook.md has a section %s, and there is no such alert", name)
	}
}

// Every metric that a rule, a case or the dashboard names is in docs/metrics.md with the labels that they match by, and every recorded series is recorded.
func TestDeploy_NamesOnlyMetricsThatExist(t *testing.T) {
	documented := promtest.Page(t, filepath.Join(root, "docs/metrics.md"))
	page := pages(t)["docs/metrics.md"]
	var r rules
	readYAML(t, "deploy/prometheus/alerts.yaml", &r)
	queries := map[string][]string{} // by where they stand
	recorded := map[string]bool{}
	for _, group := range r.Groups {
		for _, rule := range group.Rules {
			queries["alerts.yaml, "+rule.Alert+rule.Record] = []string{rule.Expr}
			if rule.Record != "" {
				recorded[rule.Record] = true
				if !strings.Contains(page, "`"+rule.Record+"`") {
					t.Errorf("docs/metrics.md does not list the recorded series %s", rule.Record)
				}
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/alerts_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`series: '([^']+)'`).FindAllStringSubmatch(string(text), -1) {
		queries["alerts_test.yaml"] = append(queries["alerts_test.yaml"], m[1])
	}
	for panel, exprs := range panels(t) {
		queries["highwater.json, "+panel] = exprs
	}
	n := 0
	for where, exprs := range queries {
		for _, expr := range exprs {
			for _, used := range promtest.InQuery(expr) {
				n++
				if strings.Contains(used.Name, ":") {
					if !recorded[used.Name] {
						t.Errorf("%s names %s, which no rule records", where, used.Name)
					}
					continue
				}
				d, ok := documented[used.Name]
				if !ok {
					t.Errorf("%s names %s, which docs/metrics.md does not list", where, used.Name)
				}
				for _, label := range used.Labels {
					if ok && !slices.Contains(d.Labels, label) {
						t.Errorf("%s matches %s by the label %s; it has %v", where, used.Name, label, d.Labels)
					}
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d names found: are the files still where they were?", n)
	}
}

// panels returns the dashboard's queries by panel.
func panels(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy/grafana/highwater.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct {
			List []struct{ Name, Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			found[p.Title] = append(found[p.Title], target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		found[a.Name] = []string{a.Expr}
	}
	return found
}
