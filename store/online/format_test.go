package online_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"highwater/features"
	"highwater/store/online"
	"highwater/windows"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// goldens are the vectors that docs/format/online.md shows, by the heading they stand under.
func goldens() map[string]features.Vector {
	view := clicks()
	return map[string]features.Vector{
		"A live vector": {View: view, Entity: "u1", Version: version(3, 1207), Frontier: 1_700_000_000_000_000, EventTime: 1_699_999_999_500_000, Values: []windows.Value{
			windows.BoolOf(true), windows.IntOf(-300), windows.DoubleOf(2.5), windows.StringOf("/home"), {}, windows.TimesOf([]int64{1_699_999_998_000_000, 1_699_999_999_500_000}),
		}},
		"A tombstone": {View: view, Entity: "u1", Version: version(3, 1208), Frontier: 1_700_086_400_000_000, EventTime: 1_699_999_999_500_000, Tombstone: true},
	}
}

// hexDump shows a stored value as the page does: the header as text, the payload in hex, 16 bytes a line.
func hexDump(b []byte) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n%s\n%s\n", b[:20], b[20:25], b[25:41])
	for rest := b[41:]; len(rest) > 0; {
		n := min(16, len(rest))
		fmt.Fprintf(&s, "% x\n", rest[:n])
		rest = rest[n:]
	}
	return s.String()
}

func TestFormat_Golden(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/online.md")
	if err != nil {
		t.Fatal(err)
	}
	for heading, v := range goldens() {
		b, err := online.AppendVector(nil, &v, 7)
		if err != nil {
			t.Fatal(err)
		}
		if _, section, ok := strings.Cut(string(page), "### "+heading+"\n"); !ok || !strings.Contains(section, "```\n"+hexDump(b)+"```") {
			t.Errorf("docs/format/online.md does not show, under %q, what is stored:\n%s", heading, hexDump(b))
		}
	}
}

func TestFormat_ReadsBackWhatWasWritten(t *testing.T) {
	kinds := []string{"bool", "int64", "double", "string", "timestamp", "timestamps"}
	rapid.Check(t, func(t *rapid.T) {
		view := &features.View{Name: "v", Schema: features.Schema{ID: "00c0ffee"}}
		v := features.Vector{View: view, Entity: "e", Version: version(rapid.Uint32Max(99_999).Draw(t, "generation"), rapid.Uint64Max(999_999_999_999_999).Draw(t, "sequence")),
			Frontier: rapid.Int64().Draw(t, "frontier"), EventTime: rapid.Int64().Draw(t, "event time"), Tombstone: rapid.Bool().Draw(t, "tombstone")}
		for i, kind := range rapid.SliceOfN(rapid.SampledFrom(kinds), 0, 20).Draw(t, "kinds") {
			view.Schema.Features = append(view.Schema.Features, features.SchemaFeature{Name: fmt.Sprint("f", i), Kind: kind})
			v.Values = append(v.Values, drawValue(t, kind))
		}
		if v.Tombstone {
			v.Values = nil
		}
		task := rapid.IntRange(0, 99_999).Draw(t, "task")
		b, err := online.AppendVector([]byte("before"), &v, task)
		if err != nil {
			t.Fatal(err)
		}
		got, err := online.DecodeVector(b[len("before"):], view.Schema)
		if err != nil {
			t.Fatal(err)
		}
		want := features.StoredVector{Found: true, Version: v.Version, Task: task, SchemaID: "00c0ffee", Schema: view.Schema, Frontier: v.Frontier, EventTime: v.EventTime, Tombstone: v.Tombstone, Values: v.Values}
		if !v.Tombstone && want.Values == nil {
			want.Values = []windows.Value{}
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b windows.Value) bool { return a == b })); diff != "" {
			t.Fatal(diff)
		}
		if string(b[len("before"):][:20]) != v.Version.String() {
			t.Fatalf("version %q, want %q", b[len("before"):][:20], v.Version)
		}
	})
}

func drawValue(t *rapid.T, kind string) windows.Value {
	if rapid.IntRange(0, 3).Draw(t, "null") == 0 {
		return windows.Value{}
	}
	switch kind {
	case "bool":
		return windows.BoolOf(rapid.Bool().Draw(t, kind))
	case "int64":
		return windows.IntOf(rapid.Int64().Draw(t, kind))
	case "double":
		return windows.DoubleOf(rapid.Float64().Draw(t, kind))
	case "string":
		return windows.StringOf(string(rapid.SliceOf(rapid.Byte()).Draw(t, kind)))
	case "timestamp":
		return windows.TimeOf(rapid.Int64().Draw(t, kind))
	}
	times := rapid.SliceOf(rapid.Int64Range(0, math.MaxInt64/64)).Draw(t, kind)
	for i := 1; i < len(times); i++ {
		times[i] = times[i-1] + times[i]/1000
	}
	return windows.TimesOf(times)
}

// FuzzDecode: whatever bytes stand in Redis, the decoder answers with a vector or an error; and what it takes, it takes whole: written again, it gives the same vector.
func FuzzDecode(f *testing.F) {
	for _, v := range goldens() {
		b, err := online.AppendVector(nil, &v, 7)
		if err != nil {
			f.Fatal(err)
		}
		for cut := range b {
			f.Add(b[:cut])
		}
		f.Add(b)
	}
	f.Add(append(bytes.Repeat([]byte{'0'}, 41), 0xdd, 0xff, 0xff, 0xff, 0xff))
	view := clicks()
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		if len(b) > 41 {
			online.Rehash(b) // else the hash would turn nearly everything away
		}
		got, err := online.DecodeVector(b, view.Schema)
		if err != nil {
			return
		}
		view := *view
		view.Schema.ID = got.SchemaID
		v := features.Vector{View: &view, Version: got.Version, Frontier: got.Frontier, EventTime: got.EventTime, Tombstone: got.Tombstone, Values: got.Values}
		again, err := online.AppendVector(nil, &v, got.Task)
		if err != nil {
			t.Fatalf("%q was read as %+v and cannot be written: %v", b, got, err)
		}
		back, err := online.DecodeVector(again, view.Schema)
		got.Schema, back.Schema = features.Schema{}, features.Schema{}
		if diff := cmp.Diff(got, back, cmp.Comparer(func(a, b windows.Value) bool { return a == b })); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

func TestDecode_RefusesBytesItDidNotWrite(t *testing.T) {
	v := goldens()["A live vector"]
	whole, err := online.AppendVector(nil, &v, 7)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x80
		if _, err := online.DecodeVector(b, v.View.Schema); err == nil {
			t.Errorf("a flipped bit in byte %d was not noticed", i)
		}
	}
	change := func(name string, change func(v *features.Vector)) {
		other := goldens()["A live vector"]
		other.Values = append([]windows.Value(nil), other.Values...)
		change(&other)
		b, err := online.AppendVector(nil, &other, 7)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := online.DecodeVector(b, v.View.Schema); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	change("an int64 for a double", func(v *features.Vector) { v.Values[2] = windows.IntOf(2) })
	change("a string for a bool", func(v *features.Vector) { v.Values[0] = windows.StringOf("true") })
	change("timestamps that descend", func(v *features.Vector) { v.Values[5] = windows.TimesOf([]int64{2, 1}) })
	change("a feature too many", func(v *features.Vector) {
		view := *v.View
		view.Schema.Features = append(view.Schema.Features[:6:6], features.SchemaFeature{Name: "more", Kind: "bool"})
		v.View, v.Values = &view, append(v.Values, windows.Value{})
	})
	schema := v.View.Schema
	schema.Features = append(schema.Features[:0:0], schema.Features...)
	schema.Features[0].Kind = "sketch"
	if _, err := online.DecodeVector(whole, schema); err == nil || !strings.Contains(err.Error(), `"sketch"`) {
		t.Errorf("a kind of the future: %v", err)
	}
}

// A batch's vectors are encoded without an allocation, but for lists of timestamps.
func TestEncode_DoesNotAllocate(t *testing.T) {
	v := goldens()["A live vector"]
	v.Values = append(v.Values[:5:5], windows.Value{})
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf, _ = online.AppendVector(buf[:0], &v, 7) }); n != 0 {
		t.Errorf("%v allocations a vector", n)
	}
}
