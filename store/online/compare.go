package online

import (
	"bytes"
	"context"
	"fmt"

	"highwater/features"
	"highwater/store/keys"
)

// Verdict is what a comparison says of one vector.
type Verdict uint8

// The verdicts.
const (
	Equal     Verdict = iota // stored under the same version, byte for byte
	Stale                    // stored under a newer version
	Missing                  // not stored, or only under an older version
	Divergent                // stored under the same version with other bytes, or the key holds something that is no vector of this task
)

// Comparison is how one vector compares with what is stored under its key.
type Comparison struct {
	Verdict Verdict
	Stored  features.Version // of what is stored; zero where that is nothing, or no vector
	Absent  bool             // nothing is stored at all
	Detail  string           // of Divergent, for people: what is stored instead
}

// Compare reads what is stored under the vectors' keys, and says of each how it compares, in their order. It writes nothing.
func (r *Reader) Compare(ctx context.Context, vectors []features.Vector) ([]Comparison, error) {
	act := fmt.Sprintf("compare %d vectors", len(vectors))
	found := make([]Comparison, 0, len(vectors))
	for rest := vectors; len(rest) > 0; {
		n := min(fetchKeys, len(rest))
		values, err := r.stored(ctx, rest[:n])
		if err != nil {
			return nil, r.link.fail(act, err)
		}
		var want []byte
		for i := range rest[:n] {
			if want, err = appendVector(want[:0], &rest[i], r.o.Task); err != nil {
				return nil, fmt.Errorf("%s: view %s, entity %q: %w", act, rest[i].View.Name, rest[i].Entity, err)
			}
			found = append(found, compare(values[i], want, rest[i].Version))
		}
		rest = rest[n:]
	}
	return found, nil
}

// stored returns what is stored under the vectors' keys: a string each, nil for nothing.
func (r *Reader) stored(ctx context.Context, vectors []features.Vector) (values []any, err error) {
	client, err := r.link.connect(ctx)
	if err != nil {
		return nil, err
	}
	wanted, names := make([]features.VectorKey, len(vectors)), make([]string, len(vectors))
	for i, v := range vectors {
		wanted[i] = features.VectorKey{View: v.View.Name, Entity: v.Entity}
		names[i] = string(keys.AppendVector(nil, r.o.Project, v.View.Name, v.Entity))
	}
	if isCluster(client) {
		_, values, err = r.readCluster(ctx, client, wanted, names)
	} else {
		_, values, err = r.readSingle(ctx, client, names)
	}
	return values, err
}

// compare holds a stored value against the one that a vector of version v is. Unlike upsert.lua, which trusts the hash, it looks at every byte.
func compare(stored any, want []byte, v features.Version) Comparison {
	text, ok := stored.(string)
	if !ok {
		return Comparison{Verdict: Missing, Absent: true}
	}
	got := []byte(text)
	if bytes.Equal(got, want) {
		return Comparison{Verdict: Equal, Stored: v}
	}
	if len(got) <= payloadStart {
		return Comparison{Verdict: Divergent, Detail: fmt.Sprintf("%d bytes, which are no vector", len(got))}
	}
	at, err := parseVersion(got[:taskStart])
	if err != nil {
		return Comparison{Verdict: Divergent, Detail: "something that is no vector"}
	}
	c := Comparison{Stored: at}
	switch {
	case !bytes.Equal(got[taskStart:hashStart], want[taskStart:hashStart]):
		c.Verdict, c.Detail = Divergent, fmt.Sprintf("a vector of task %s", got[taskStart:hashStart])
	case v.Less(at):
		c.Verdict = Stale
	case at.Less(v):
		c.Verdict = Missing
	default:
		c.Verdict, c.Detail = Divergent, difference(got, want)
	}
	return c
}

// difference says how two values of one version differ.
func difference(got, want []byte) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d bytes, where the plan makes %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Sprintf("byte %d of %d differs", i, len(got))
		}
	}
	return "the same bytes"
}
