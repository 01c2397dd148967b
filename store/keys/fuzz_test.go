package keys_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"highwater/features"
	"highwater/store/keys"
)

// FuzzParse: a key that is read as one of ours is ours, to the byte.
func FuzzParse(f *testing.F) {
	for _, k := range [][]byte{nil, []byte("c"), []byte("m"), keys.AppendState(nil, "clicks", "u1"), keys.AppendTimer(nil, 1, -7, "clicks", "u\x001"), keys.AppendPlan(nil, features.Version{Generation: 1, Sequence: 7}),
		keys.AppendVector(nil, "ads", "clicks", "a:{b}:c"), []byte(keys.Task("ads", 3)), []byte(keys.Heartbeat("ads", 3)), []byte(keys.Catalogue("ads"))} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, k []byte) {
		if view, entity, err := keys.ParseState(k); err == nil && !bytes.Equal(keys.AppendState(nil, string(view), string(entity)), k) {
			t.Errorf("%q was read as the state of %q, %q", k, view, entity)
		}
		if clock, at, view, entity, err := keys.ParseTimer(k); err == nil && !bytes.Equal(keys.AppendTimer(nil, clock, at, string(view), string(entity)), k) {
			t.Errorf("%q was read as timer %d at %d of %q, %q", k, clock, at, view, entity)
		}
		if v, err := keys.ParsePlan(k); err == nil && !bytes.Equal(keys.AppendPlan(nil, v), k) {
			t.Errorf("%q was read as plan %s", k, v)
		}
		if project, view, entity, ok := keys.ParseVector(string(k)); ok && string(keys.AppendVector(nil, project, view, entity)) != string(k) {
			t.Errorf("%q was read as vector %q, %q, %q", k, project, view, entity)
		}
	})
}

// FuzzOrder draws keys from the fuzzer's bytes, and compares their order with that of what they stand for.
func FuzzOrder(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		checkStateOrder(t)
		checkTimerOrder(t)
	}))
}
