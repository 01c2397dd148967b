package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	"highwater/store/state"
	"highwater/windows"
)

// drillVector is what a reader finds of one vector, without what the cuts decide: its version, and how many batches wrote it.
type drillVector struct {
	expired   bool
	eventTime int64
	values    map[string]windows.Value // by feature
}

// difference is something that is not as it must be.
type difference struct {
	What    string `json:"what"` // value, vector (its bytes in Redis), state (its bytes on disk), counter
	View    string `json:"view,omitempty"`
	Entity  string `json:"entity,omitempty"`
	Feature string `json:"feature,omitempty"`
	Key     string `json:"key,omitempty"`
	Want    string `json:"want"`
	Got     string `json:"got"`
}

func (d difference) String() string {
	where := d.Key
	if d.View != "" {
		where = fmt.Sprintf("%s %q", d.View, d.Entity)
	}
	if d.Feature != "" {
		where += " " + d.Feature
	}
	return fmt.Sprintf("%s of %s: want %s, got %s", d.What, where, d.Want, d.Got)
}

// differences counts what differs, and describes the first few.
type differences struct {
	count int64
	first []difference
}

const mostDifferences = 10

func (d *differences) add(one difference) {
	d.count++
	if len(d.first) < mostDifferences {
		d.first = append(d.first, one)
	}
}

func sortVectorKeys(all []features.VectorKey) {
	slices.SortFunc(all, func(a, b features.VectorKey) int {
		return cmp.Or(cmp.Compare(a.View, b.View), cmp.Compare(a.Entity, b.Entity))
	})
}

// storedBytes returns all of a project's vectors as they lie in Redis.
func storedBytes(ctx context.Context, redis redisFlags, project string) (map[string]string, error) {
	store, err := online.Open(ctx, redis.options(project, online.DefaultTombstoneTTL, nil))
	if err != nil {
		return nil, err
	}
	vectors, err := store.Vectors(ctx)
	return vectors, errors.Join(err, store.Close())
}

// readVectors returns all of a project's vectors as readers find them.
func readVectors(ctx context.Context, redis redisFlags, project string) (map[features.VectorKey]drillVector, error) {
	stored, err := storedBytes(ctx, redis, project)
	if err != nil {
		return nil, err
	}
	reader, err := online.NewReader(redis.options(project, 0, nil))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	all := map[features.VectorKey]drillVector{}
	const page = 1000
	for names := range slices.Chunk(slices.Sorted(maps.Keys(stored)), page) {
		var wanted []features.VectorKey
		for _, name := range names {
			_, view, entity, _ := keys.ParseVector(name)
			wanted = append(wanted, features.VectorKey{View: view, Entity: entity})
		}
		fetched, err := reader.Fetch(ctx, wanted)
		if err != nil {
			return nil, err
		}
		for i, v := range fetched.Vectors {
			all[wanted[i]] = vectorOf(v)
		}
	}
	return all, nil
}

func vectorOf(v features.StoredVector) drillVector {
	out := drillVector{expired: v.Tombstone, eventTime: v.EventTime, values: map[string]windows.Value{}}
	for i, value := range v.Values {
		out.values[v.Schema.Features[i].Name] = value
	}
	return out
}

// compareValues holds a round's end against that of the run left alone. It returns how many values that were.
func compareValues(got, want drillEnd, found *differences) (values int64) {
	counter := func(name string, got, want int64) {
		if got != want {
			found.add(difference{What: "counter", Key: name, Want: fmt.Sprint(want), Got: fmt.Sprint(got)})
		}
	}
	counter("events", got.counters.Events, want.counters.Events)
	counter("late", got.counters.Late, want.counters.Late)
	counter("dead letters", got.counters.DeadLetter, want.counters.DeadLetter)
	counter("frontier", got.frontier, want.frontier)
	for k, w := range want.values {
		g, there := got.values[k]
		if !there {
			found.add(difference{What: "value", View: k.View, Entity: k.Entity, Want: "a vector", Got: "none"})
			continue
		}
		values += int64(len(w.values))
		compareVector(k, g, w, found)
	}
	for k := range got.values {
		if _, there := want.values[k]; !there {
			found.add(difference{What: "value", View: k.View, Entity: k.Entity, Want: "no vector", Got: "one"})
		}
	}
	return values
}

func compareVector(k features.VectorKey, got, want drillVector, found *differences) {
	differs := func(feature, want, got string) {
		found.add(difference{What: "value", View: k.View, Entity: k.Entity, Feature: feature, Want: want, Got: got})
	}
	if got.expired != want.expired {
		differs("expired", fmt.Sprint(want.expired), fmt.Sprint(got.expired))
		return
	}
	if got.eventTime != want.eventTime {
		differs("event time", timeText(want.eventTime), timeText(got.eventTime))
	}
	for feature, w := range want.values {
		if g, there := got.values[feature]; !there || !sameValue(g, w) {
			differs(feature, featureText(w), featureText(g))
		}
	}
	for feature, g := range got.values {
		if _, there := want.values[feature]; !there {
			differs(feature, "no such feature", featureText(g))
		}
	}
}

// sameValue reports whether two values are equal; doubles to rounding, as their sums follow the cuts (I6): to 10⁻⁹ of the greater of them, and of 1 where both are smaller.
func sameValue(a, b windows.Value) bool {
	if a.Kind() == windows.Double && b.Kind() == windows.Double {
		const rounding = 1e-9
		x, y := a.Double(), b.Double()
		return math.Abs(x-y) <= rounding*max(1, math.Abs(x), math.Abs(y))
	}
	return a == b
}

func featureText(v windows.Value) string {
	if v.Kind() == windows.Timestamps {
		return fmt.Sprint(v.Times())
	}
	return v.String()
}

// compareBytes holds the vectors in Redis against those of a clean execution of the same plans.
func compareBytes(got, want map[string]string, found *differences) {
	name := func(key string, d difference) difference {
		_, d.View, d.Entity, _ = keys.ParseVector(key)
		return d
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if g, there := got[key]; !there {
			found.add(name(key, difference{What: "vector", Want: fmt.Sprintf("%q", want[key]), Got: "none"}))
		} else if g != want[key] {
			found.add(name(key, difference{What: "vector", Want: fmt.Sprintf("%q", want[key]), Got: fmt.Sprintf("%q", g)}))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, there := want[key]; !there {
			found.add(name(key, difference{What: "vector", Want: "none", Got: fmt.Sprintf("%q", got[key])}))
		}
	}
}

type keyValue struct{ key, value []byte }

// dumped goes through a state in key order; *err is how it ended. What it yields lives until the next.
func dumped(s *state.Store, err *error) iter.Seq[keyValue] {
	return func(yield func(keyValue) bool) {
		*err = s.Dump(func(key, value []byte) error {
			if !yield(keyValue{bytes.Clone(key), bytes.Clone(value)}) {
				return context.Canceled
			}
			return nil
		})
	}
}

// compareStates holds two states against each other, in one pass through both.
func compareStates(got, want *state.Store, found *differences) (entries int64, err error) {
	var gotErr, wantErr error
	nextGot, stopGot := iter.Pull(dumped(got, &gotErr))
	defer stopGot()
	nextWant, stopWant := iter.Pull(dumped(want, &wantErr))
	defer stopWant()
	g, moreGot := nextGot()
	w, moreWant := nextWant()
	for moreGot || moreWant {
		order := 0
		switch {
		case !moreGot:
			order = 1
		case !moreWant:
			order = -1
		default:
			order = bytes.Compare(g.key, w.key)
		}
		switch {
		case order < 0:
			found.add(difference{What: "state", Key: fmt.Sprintf("%q", g.key), Want: "none", Got: fmt.Sprintf("%q", g.value)})
		case order > 0:
			found.add(difference{What: "state", Key: fmt.Sprintf("%q", w.key), Want: fmt.Sprintf("%q", w.value), Got: "none"})
		case !bytes.Equal(g.value, w.value):
			found.add(difference{What: "state", Key: fmt.Sprintf("%q", w.key), Want: fmt.Sprintf("%q", w.value), Got: fmt.Sprintf("%q", g.value)})
		}
		if order <= 0 {
			g, moreGot = nextGot()
		}
		if order >= 0 {
			w, moreWant = nextWant()
			entries++
		}
	}
	return entries, cmp.Or(gotErr, wantErr)
}
