package features_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"highwater/features"
	"highwater/windows"
)

// keyText draws a key, with the bytes that the escape is made of more often than chance would have them.
func keyText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		pieces := rapid.SliceOfN(rapid.SampledFrom([]string{"\x00", "\x01", "\xff", "\x00\x01", "\x00\xff", "a", "é", "7"}), 1, 6).Draw(t, "pieces")
		return strings.Join(pieces, "")
	})
}

// keys draws an entity of one to three join keys, and values for it.
func keys(t *rapid.T) (*features.Entity, func(label string) []windows.Value) {
	e := &features.Entity{Name: "e"}
	for range rapid.IntRange(1, 3).Draw(t, "join keys") {
		kind := rapid.SampledFrom([]windows.Kind{windows.String, windows.Int64}).Draw(t, "kind")
		e.JoinKeys = append(e.JoinKeys, features.JoinKey{Name: "k", Kind: kind})
	}
	return e, func(label string) []windows.Value {
		values := make([]windows.Value, len(e.JoinKeys))
		for i, k := range e.JoinKeys {
			if k.Kind == windows.String {
				values[i] = windows.StringOf(keyText().Draw(t, label))
			} else {
				values[i] = windows.IntOf(rapid.Int64().Draw(t, label))
			}
		}
		return values
	}
}

func TestAppendEntity_ReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, draw := keys(t)
		values := draw("value")
		text, ok := features.AppendEntity([]byte("before"), values...)
		if !ok {
			t.Fatalf("%v is no entity", values)
		}
		have, err := e.EntityValues(strings.TrimPrefix(string(text), "before"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(have, values) {
			t.Fatalf("%q: want %v, have %v", text, values, have)
		}
	})
}

func TestAppendEntity_DifferentEntitiesHaveDifferentTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, draw := keys(t)
		a, b := draw("a"), draw("b")
		if rapid.Bool().Draw(t, "share all but the last") {
			copy(b[:len(b)-1], a)
		}
		textA, _ := features.AppendEntity(nil, a...)
		textB, _ := features.AppendEntity(nil, b...)
		if slices.Equal(a, b) != (string(textA) == string(textB)) {
			t.Fatalf("%v is %q, %v is %q", a, textA, b, textB)
		}
	})
}

func TestAppendEntity_NullAndEmptyKeysAreNone(t *testing.T) {
	for name, values := range map[string][]windows.Value{
		"null":         {{}},
		"empty":        {windows.StringOf("")},
		"second null":  {windows.StringOf("a"), {}},
		"second empty": {windows.IntOf(1), windows.StringOf("")},
	} {
		dst := []byte("before")
		if text, ok := features.AppendEntity(dst, values...); ok || string(text) != "before" {
			t.Errorf("%s: have %q, %v", name, text, ok)
		}
	}
}

func TestEntityValues_RefusesOtherTexts(t *testing.T) {
	two := &features.Entity{Name: "pair", JoinKeys: []features.JoinKey{{Name: "a", Kind: windows.String}, {Name: "n", Kind: windows.Int64}}}
	for _, text := range []string{"", "a", "a\x00\x01", "a\x00\x01x", "a\x00\x011\x00\x012", "a\x00\x019223372036854775808"} {
		if values, err := two.EntityValues(text); err == nil {
			t.Errorf("%q: have %v, want an error", text, values)
		}
	}
}

func TestVersion_TextsSortAsVersionsDo(t *testing.T) {
	version := rapid.Custom(func(t *rapid.T) features.Version {
		return features.Version{
			Generation: rapid.Uint32Range(0, 99_999).Draw(t, "generation"),
			Sequence:   rapid.Uint64Range(0, 1e15-1).Draw(t, "sequence"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := version.Draw(t, "a"), version.Draw(t, "b")
		if a.Less(b) != (a.String() < b.String()) {
			t.Fatalf("%+v is %s, %+v is %s", a, a, b, b)
		}
		if back, err := features.ParseVersion(a.String()); err != nil || back != a {
			t.Fatalf("%+v reads back as %+v, %v", a, back, err)
		}
	})
	for _, text := range []string{"", "1", strings.Repeat("9", 21), "0000x000000000000001", "00001-00000000000001"} {
		if v, err := features.ParseVersion(text); err == nil {
			t.Errorf("%q reads as %+v", text, v)
		}
	}
}

// FuzzEntityValues: a text that reads as an entity is the entity's own: there is no second one.
func FuzzEntityValues(f *testing.F) {
	for _, text := range []string{"", "a", "7", "-7", "a\x00\x017", "\x00\xff\x00\x01-9223372036854775808", "a\x00", "a\x00\x0107", "é\x00\x01+1"} {
		f.Add(text)
	}
	kinds := map[string]windows.Kind{"a": windows.String, "n": windows.Int64}
	entities := []*features.Entity{
		{Name: "one", JoinKeys: []features.JoinKey{{Name: "a", Kind: kinds["a"]}}}, {Name: "number", JoinKeys: []features.JoinKey{{Name: "n", Kind: kinds["n"]}}},
		{Name: "pair", JoinKeys: []features.JoinKey{{Name: "a", Kind: kinds["a"]}, {Name: "n", Kind: kinds["n"]}}},
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range entities {
			values, err := e.EntityValues(text)
			if err != nil {
				continue
			}
			if again, ok := features.AppendEntity(nil, values...); !ok || string(again) != text {
				t.Errorf("%s: %q reads as %v, whose text is %q", e.Name, text, values, again)
			}
		}
	})
}
