package features_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"highwater/features"
	"highwater/windows"
)

// good returns the paths of definitions that have no mistake: the design's own, the examples', and testdata/good.
func good(t testing.TB) []string {
	t.Helper()
	files := []string{"testdata/design.yml"}
	for _, pattern := range []string{"../examples/*/definitions.yaml", "testdata/good/*.yml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	return files
}

func load(t testing.TB, path string) *features.Project {
	t.Helper()
	p, err := features.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// outline is a compiled project as a text, expressions left out.
func outline(p *features.Project) string {
	var b strings.Builder
	line := func(format string, of ...any) { fmt.Fprintf(&b, format+"\n", of...) }
	line("project %s, clock %s, a batch of %s, %d records or %d bytes", p.Name, p.Clock, p.Batch.Interval, p.Batch.MaxRecords, p.Batch.MaxBytes)
	for _, e := range p.Entities {
		line("entity %s: %v", e.Name, e.JoinKeys)
	}
	for _, s := range p.Sources {
		line("source %s: topic %s, dead letters to %q, %s, timestamp %s, key %q, lateness %s, future %s, idle %s, record %d bytes",
			s.Name, s.Topic, s.DeadLetter, s.Format, s.Timestamp, s.Key, s.MaxLateness, s.MaxFuture, s.IdleAfter, s.MaxRecordBytes)
		for _, f := range s.Fields {
			line("  field %s: %s in %s", f.Name, f.Kind, f.Place())
		}
	}
	for _, v := range p.Views {
		line("feature view %s: source %s, entity %s, ttl %s, where %v, keys %v, columns %v", v.Name, v.Source.Name, v.Entity.Name, v.TTL, v.Where != nil, v.Keys, v.Columns)
		for _, f := range v.Features {
			line("  feature %s: %s, where %v: %s of %s, argument %d, over %s, limit %d, after %v", f.Name, f.Kind, f.Where != nil, f.Spec.Aggregate, f.Spec.Input, f.Spec.Arg, f.Spec.Window, f.Spec.Limit, f.Spec.After)
		}
	}
	for _, s := range p.Services {
		var names []string
		for _, r := range s.Features {
			names = append(names, r.View.Name+":"+r.View.Features[r.Feature].Name)
		}
		line("feature service %s: %s", s.Name, strings.Join(names, ", "))
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, file := range good(t) {
		if !strings.HasPrefix(file, "testdata") {
			continue // examples are free to change
		}
		t.Run(file, func(t *testing.T) {
			golden(t, strings.TrimSuffix(file, ".yml")+".txt", []byte(outline(load(t, file))))
		})
	}
}

func TestParse_Good(t *testing.T) {
	for _, file := range good(t) {
		p := load(t, file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if p.Text != string(text) || len(p.Hash) != 16 {
			t.Errorf("%s: the text or its hash %q is not the file's", file, p.Hash)
		}
		for _, v := range p.Views {
			if v.Machine == nil || len(v.Keys) != len(v.Entity.JoinKeys) || len(v.Schema.Features) != len(v.Features) || len(v.Schema.ID) != 8 {
				t.Errorf("%s: feature view %s is not whole", file, v.Name)
			}
		}
	}
}

// A test of an example belongs beside the example, but the examples import nothing of ours.
func TestParse_ExamplesDeclareWhatTheirEventsHave(t *testing.T) {
	for name, header := range map[string]string{
		"ads": "ts_ms,user_segment,campaign,item,position,event_type", "logs": "ts_s,host_hash,url,status,bytes", "surge": "ts_s,event,zone,trip,amount",
	} {
		p := load(t, filepath.Join("../examples", name, "definitions.yaml"))
		if p.Name != name || len(p.Sources) != 1 || p.Clock != features.EventClock {
			t.Errorf("%s: project %s with %d sources and clock %s", name, p.Name, len(p.Sources), p.Clock)
		}
		cells := strings.Split(header, ",")
		for _, f := range append(slices.Clone(p.Sources[0].Fields), features.Field{Name: p.Sources[0].Timestamp.Field}) {
			if !slices.Contains(cells, f.Name) {
				t.Errorf("%s: the events have no field %s", name, f.Name)
			}
		}
	}
}

func TestParse_SaysWhatItIs(t *testing.T) {
	_, err := features.Load(filepath.Join(t.TempDir(), "none.yaml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("want a file that is not there, have %v", err)
	}
	_, err = features.Parse("f.yaml", []byte("project: 7\nproject: 8\n"))
	var mistakes features.Mistakes
	if !errors.As(err, &mistakes) || len(mistakes) < 2 {
		t.Fatalf("want mistakes, have %v", err)
	}
	want := features.Mistake{File: "f.yaml", Line: 2, Column: 1, What: "project is given twice", Fix: "line 1 has it already; leave one of them out"}
	if !slices.Contains(mistakes, want) {
		t.Errorf("want %+v among %+v", want, mistakes)
	}
}

func TestParse_TenMistakesAreTen(t *testing.T) {
	_, err := features.Load("testdata/bad/ten_mistakes.bad.yml")
	var mistakes features.Mistakes
	if !errors.As(err, &mistakes) || len(mistakes) != 10 {
		t.Errorf("want ten mistakes, have %d:\n%v", len(mistakes), err)
	}
	if !slices.IsSortedFunc(mistakes, func(a, b features.Mistake) int { return a.Line - b.Line }) {
		t.Error("not in the order of the file")
	}
}

// Whatever way a text is written in YAML, a mistake in it points at the character that it is about.
func TestParse_PlacesWithinTexts(t *testing.T) {
	const file = "testdata/bad/where_in_every_style.bad.yml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	var mistakes features.Mistakes
	if _, err = features.Parse(file, text); !errors.As(err, &mistakes) || len(mistakes) != 7 {
		t.Fatalf("want 7 mistakes, have %v", err)
	}
	for _, m := range mistakes {
		if at := string([]rune(lines[m.Line-1])[m.Column-1:]); !strings.HasPrefix(at, "nope") && !strings.HasPrefix(at, "é") {
			t.Errorf("%v: points at %q", m, at)
		}
	}
}

func TestDefaultResolution(t *testing.T) {
	ladder := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
		15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour}
	for window := time.Second; window < 400*24*time.Hour; window = window*17/16/time.Second*time.Second + time.Second {
		var want time.Duration
		for _, step := range ladder {
			if float64(step) >= float64(window)/360 && window%step == 0 {
				want = step
				break
			}
		}
		if want == 0 && window > 360*24*time.Hour && window%(24*time.Hour) == 0 {
			want = 24 * time.Hour
		}
		if have, ok := features.DefaultResolution(window); have != want || ok != (want != 0) {
			t.Errorf("%s: want %s, have %s", window, want, have)
		}
	}
	for window, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, 30 * time.Minute: 5 * time.Second, time.Hour: 10 * time.Second, 24 * time.Hour: 5 * time.Minute, 7 * 24 * time.Hour: 30 * time.Minute, 7 * time.Hour: 2 * time.Minute, 365 * 24 * time.Hour: 24 * time.Hour,
	} {
		if have, _ := features.DefaultResolution(window); have != want {
			t.Errorf("%s: want %s, have %s", window, want, have)
		}
	}
}

// Expressions name features in any order, and each other.
func TestParse_ExpressionsReadWhatIsDeclaredLater(t *testing.T) {
	p, err := features.Parse("f.yaml", []byte(`
project: p
entities: {user: {join_key: user, type: string}}
sources: {events: {kafka: {topic: t}, fields: {user: string, n: int64}}}
feature_views:
  v:
    source: events
    entity: user
    features:
      a: {expression: b * 2 + half}
      b: {expression: events + 1}
      half: {expression: "(total ?? 0) / 2"}
      events: {aggregate: count, where: n > 1}
      total: {aggregate: sum, of: n}
`))
	if err != nil {
		t.Fatal(err)
	}
	v := p.View("v")
	entity, tally := v.Machine.New(), v.Machine.NewTally()
	for offset, n := range []int64{1, 2, 3} {
		row := []windows.Value{windows.StringOf("u"), windows.IntOf(n)}
		event := &windows.Event{Time: int64(offset), Offset: int64(offset), Takes: []uint64{0}}
		for i, f := range v.Features {
			if f.Where == nil || f.Where(row).Bool() {
				event.Takes[0] |= 1 << i
			}
		}
		for _, c := range v.Columns {
			event.Args = append(event.Args, row[c])
		}
		v.Machine.Apply(entity, event, windows.NoTime, tally)
	}
	var have []string
	for _, value := range v.Machine.Advance(entity, 10, windows.NoTime, nil, tally).Values {
		have = append(have, show(value))
	}
	if diff := cmp.Diff([]string{"9.0", "3", "3.0", "2", "6"}, have); diff != "" {
		t.Error(diff)
	}
}

func TestProject_Lookups(t *testing.T) {
	p := load(t, "testdata/design.yml")
	if v := p.View("user_clicks"); v == nil || v.Name != "user_clicks" || v.Feature("recent") != 1 || v.Feature("nope") != -1 {
		t.Error("the view user_clicks, or its features, are not found")
	}
	if p.Source("ad_events") == nil || p.Entity("campaign") == nil || p.Service("ranker") == nil {
		t.Error("what is declared is not found")
	}
	if p.View("nope") != nil || p.Source("nope") != nil || p.Entity("nope") != nil || p.Service("nope") != nil {
		t.Error("what is not declared is found")
	}
	if n, ok := features.Nearest("user_click", p.ViewNames()); !ok || n != "user_clicks" {
		t.Errorf("want user_clicks, have %q", n)
	}
}

func TestNearest(t *testing.T) {
	of := []string{"aggregate", "window", "where", "of", "limit", "emit"}
	for name, want := range map[string]string{
		"agregate": "aggregate", "Window": "window", "windwo": "window", "were": "where", "fo": "of", "limits": "limit", "emti": "emit", "aggregates": "aggregate",
		"expression": "", "x": "", "": "", "zzzz": "",
	} {
		if have, ok := features.Nearest(name, of); have != want || ok != (want != "") {
			t.Errorf("%q: want %q, have %q", name, want, have)
		}
	}
	for pair, want := range map[[2]string]int{{"", ""}: 0, {"a", ""}: 1, {"", "ab"}: 2, {"abc", "abc"}: 0, {"abc", "acb"}: 1, {"abc", "abd"}: 1, {"kitten", "sitting"}: 3, {"é", "e"}: 1} {
		if have := features.EditDistance(pair[0], pair[1]); have != want {
			t.Errorf("%v: want %d, have %d", pair, want, have)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range append(good(f), bad(f)...) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := features.Parse("f", text)
		if err == nil {
			for _, v := range p.Views {
				if v.Machine == nil {
					t.Fatalf("feature view %s has no machine", v.Name)
				}
			}
			if err := schema.Validate(asJSON(t, text)); err != nil {
				t.Fatalf("what Parse takes, the schema refuses: %v", err)
			}
			again, err := features.Parse("again", []byte(p.Text))
			if err != nil {
				t.Fatalf("what Parse takes, it refuses when it is read back: %v", err)
			}
			if again.Hash != p.Hash || !slices.EqualFunc(again.Views, p.Views, func(a, b *features.View) bool {
				return a.Schema.ID == b.Schema.ID && a.Machine.Shape() == b.Machine.Shape()
			}) {
				t.Fatalf("read back, it is another: %s and %s", again.Hash, p.Hash)
			}
			if reasons := features.CompatibleWith(p, again); len(reasons) > 0 {
				t.Fatalf("it cannot go on from itself: %v", reasons)
			}
			return
		}
		var mistakes features.Mistakes
		if !errors.As(err, &mistakes) || len(mistakes) == 0 {
			t.Fatalf("no mistakes, but %v", err)
		}
		lines := strings.Count(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n") + strings.Count(string(text), "\r") + 1 // to YAML, a CR alone ends a line too
		for i, m := range mistakes {
			if i > 0 && (m.Line < mistakes[i-1].Line || m.Line == mistakes[i-1].Line && m.Column < mistakes[i-1].Column) {
				t.Fatalf("mistakes are out of order: %v", mistakes)
			}
			if !strings.HasPrefix(m.Error(), fmt.Sprintf("f:%d:%d: ", m.Line, m.Column)) {
				t.Fatalf("a mistake that does not say where: %v", m)
			}
			if m.Line < 1 || m.Line > lines || m.Column < 1 || m.What == "" || strings.ContainsAny(m.Error(), "\n\r") {
				t.Fatalf("a mistake that is none: %+v", m)
			}
		}
	})
}
