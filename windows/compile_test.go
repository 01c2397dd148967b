package windows_test

import (
	"strings"
	"testing"

	"highwater/windows"
)

func TestCompile_SaysAllThatIsWrong(t *testing.T) {
	derive := orElse(0, windows.Value{})
	for _, c := range []struct {
		want string
		spec windows.Spec
	}{
		{`"" is no name`, windows.Spec{Aggregate: "count"}},
		{`"a b" is no name`, windows.Spec{Name: "a b", Aggregate: "count"}},
		{"neither an aggregate nor an expression", windows.Spec{Name: "f"}},
		{"both an aggregate and an expression", windows.Spec{Name: "f", Aggregate: "count", Derive: derive}},
		{`no aggregate is called "median"`, windows.Spec{Name: "f", Aggregate: "median"}},
		{"sum does not take string", windows.Spec{Name: "f", Aggregate: "sum", Input: windows.String}},
		{"sum does not take null", windows.Spec{Name: "f", Aggregate: "sum"}},
		{"sum lacks the index of its argument", windows.Spec{Name: "f", Aggregate: "sum", Input: windows.Int64, Arg: -1}},
		{"count does not take a window of kind 9", windows.Spec{Name: "f", Aggregate: "count", Window: windows.Window{Kind: 9}}},
		{"a limit of -1", windows.Spec{Name: "f", Aggregate: "count", Limit: -1}},
		{"a lifetime has no length", windows.Spec{Name: "f", Aggregate: "count", Window: windows.Window{Length: 1}}},
		{"a window of 0 µs", windows.Spec{Name: "f", Aggregate: "count", Window: windows.Window{Kind: windows.Tumbling}}},
		{"only sliding windows have a resolution", windows.Spec{Name: "f", Aggregate: "count", Window: windows.Window{Kind: windows.Exact, Length: 2, Resolution: 1}}},
		{"a resolution of 0 µs", windows.Spec{Name: "f", Aggregate: "count", Window: windows.Window{Kind: windows.Sliding, Length: 2}}},
		{"a resolution of 3 µs", windows.Spec{Name: "f", Aggregate: "count", Window: windows.Window{Kind: windows.Sliding, Length: 4, Resolution: 3}}},
		{"reads feature 2 of 2", windows.Spec{Name: "f", Derive: derive, After: []int{2}}},
		{"its expression reads itself", windows.Spec{Name: "f", Derive: derive, After: []int{0}}},
	} {
		_, err := windows.Compile([]windows.Spec{c.spec, {Name: "other", Aggregate: "count"}}, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
	_, err := windows.Compile([]windows.Spec{{Name: "f", Aggregate: "median"}, {Name: "f", Aggregate: "count"}}, -1)
	for _, want := range []string{"ttl", "median", "declared twice"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from %v", want, err)
		}
	}
}

// Expressions are computed after what they read, wherever it is declared.
func TestDerive_InAnOrderThatWorks(t *testing.T) {
	plusOne := func(i int) func([]windows.Value) windows.Value {
		return func(row []windows.Value) windows.Value { return windows.IntOf(row[i].Int() + 1) }
	}
	m := compile(t, []windows.Spec{
		{Name: "d", Derive: plusOne(2), After: []int{2}},
		{Name: "b", Derive: plusOne(3), After: []int{3}},
		{Name: "c", Derive: plusOne(1), After: []int{1, 3}},
		{Name: "a", Aggregate: "count", Arg: -1},
	}, 0)
	e := m.New()
	m.Apply(e, &windows.Event{Time: 1, Takes: []uint64{^uint64(0)}}, 0, nil)
	got := m.Advance(e, 1, 0, ints(7), nil).Values
	for i, want := range []int64{7, 4, 2, 3, 1} { // what was in dst comes first
		if got[i].Int() != want {
			t.Errorf("value %d is %d, want %d", i, got[i].Int(), want)
		}
	}
	cycle := []windows.Spec{{Name: "p", Derive: plusOne(1), After: []int{1}}, {Name: "q", Derive: plusOne(0), After: []int{0}}}
	if _, err := windows.Compile(cycle, 0); err == nil {
		t.Error("two expressions that read one another were compiled")
	}
}
