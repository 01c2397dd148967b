package keys_test

import (
	"strings"
	"testing"

	"highwater/store/keys"

	"pgregory.net/rapid"
)

func TestVectorKey_Golden(t *testing.T) {
	for _, c := range []struct{ view, entity, want string }{
		{"user_clicks", "u1", "ads:{user_clicks:3f}:u1"},
		{"user_clicks", "42", "ads:{user_clicks:b9}:42"},
		{"pairs", "a\x00\x01b", "ads:{pairs:d1}:a\x00\x01b"},
	} {
		if got := string(keys.AppendVector(nil, "ads", c.view, c.entity)); got != c.want {
			t.Errorf("key of %s %q = %q, want %q", c.view, c.entity, got, c.want)
		}
	}
	for got, want := range map[string]string{
		keys.Task("ads", 0):               "ads:{task:0}",
		keys.Heartbeat("ads", 12):         "ads:{task:12}:heartbeat",
		keys.Catalogue("ads"):             "ads:catalogue",
		keys.SchemaField("v", "0badcafe"): "schema:v:0badcafe",
	} {
		if got != want {
			t.Errorf("have %q, want %q", got, want)
		}
	}
}

func TestVectorKey_ParsesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		view := rapid.StringMatching(`[a-z][a-z0-9_]{0,12}`).Draw(t, "view")
		entity := string(rapid.SliceOfN(rapid.Byte(), 1, 24).Draw(t, "entity"))
		project, v, e, ok := keys.ParseVector(string(keys.AppendVector(nil, "ads", view, entity)))
		if !ok || project != "ads" || v != view || e != entity {
			t.Fatalf("parsed %q %q %q %v", project, v, e, ok)
		}
	})
}

func TestParseVector_RefusesOtherKeys(t *testing.T) {
	others := []string{"", "ads", "ads:catalogue", "ads:{v:00}", "ads:{v:00}:", "ads:{v:00}:not-of-that-bucket", "ads:{v:FF}:u1", ":{v:3f}:u1", "ads:{:3f}:u1"}
	for task := range 300 {
		others = append(others, keys.Task("ads", task), keys.Heartbeat("ads", task))
	}
	for _, key := range others {
		if _, _, _, ok := keys.ParseVector(key); ok {
			t.Errorf("%q was taken for a vector", key)
		}
	}
}

func TestVectorKey_OneSlotABucket(t *testing.T) {
	tags := map[int]string{}
	for _, entity := range strings.Fields("a b c d e f g h i j k l m n o p q r s t u v w x y z") {
		key := string(keys.AppendVector(nil, "ads", "v", entity))
		tag := key[strings.IndexByte(key, '{') : strings.IndexByte(key, '}')+1]
		if was, ok := tags[keys.Bucket(entity)]; ok && was != tag {
			t.Errorf("bucket %d has the tags %s and %s", keys.Bucket(entity), was, tag)
		}
		tags[keys.Bucket(entity)] = tag
	}
	if len(tags) < 20 {
		t.Errorf("26 entities fall into %d buckets", len(tags))
	}
}
