package features_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"highwater/features"
)

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(features.JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("definitions.json", text); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("definitions.json") // holds it against the meta-schema too
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON turns YAML into what a JSON Schema is held against.
func asJSON(t testing.TB, text []byte) any {
	t.Helper()
	j, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestJSONSchema_TakesWhatParseTakes(t *testing.T) {
	s := compileSchema(t)
	for _, file := range good(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(asJSON(t, text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// onlyParse is what files of testdata/bad do wrong that a schema cannot see: the text's own form, what names refer to, what expressions mean, and numbers that have to fit one another.
var onlyParse = []string{
	"byte_order_mark", "unknown_source", "unknown_entity", "unknown_field", "unknown_view", "unknown_feature", "unknown_view_feature", "unknown_key_field", "key_of_wrong_type", "member_twice",
	"join_key", "feature_named", "topic_of_two", "topic_is_dead", "csv_timestamp", "timestamp_of", "of_wrong_kind", "resolution_does_not_divide", "no_default_resolution",
	"where_", "origin_", "expression_cycle", "expression_names", "expression_of_itself", "expression_on_lists", "crlf", "directive", "second_document", "empty_second_document", "open_quote", "tag_of", "endless_duration", "huge_size", "max_records_huge", "merge_key", "complex_key", "number_as_key", "alias", "anchor",
}

func TestJSONSchema_RefusesMistakes(t *testing.T) {
	s := compileSchema(t)
	held := 0
	for _, file := range bad(t) {
		name := filepath.Base(file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		j, err := yaml.YAMLToJSON(text)
		if err != nil || slices.ContainsFunc(onlyParse, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			continue
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
		if err != nil {
			continue
		}
		held++
		if err := s.Validate(v); err == nil {
			t.Errorf("%s: the schema takes it", name)
		}
	}
	if held < 50 {
		t.Errorf("only %d files were held against the schema", held)
	}
}

// A default in the table's words is the default that Parse applies.
func TestDefaults_AreWhatTheyAreSaidToBe(t *testing.T) {
	for key, said := range features.Defaults() {
		words := strings.NewReplacer("10m", "10m0s", "1m", "1m0s", "64 MiB", "67108864", "1 MiB", "1048576").Replace(said[0])
		if key == "max_future" {
			words = "10m0s"
		}
		if said[0] == "" || words != said[1] {
			t.Errorf("%s: said to be %q, is %q", key, said[0], said[1])
		}
	}
}

func TestReferencePage(t *testing.T) {
	golden(t, "../docs/reference.md", features.ReferencePage())
}
