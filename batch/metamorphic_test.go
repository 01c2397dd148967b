package batch_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"highwater/features"
	"highwater/testutil/oracle"
	"highwater/testutil/random"
	"highwater/windows"
)

// relation is a change of a case that is known to change the vectors in one way, or not at all. No oracle is asked. It holds with the event clock: with the wall clock, when an event comes matters.
type relation struct {
	name   string
	change func(c random.Case, r *rand.Rand) random.Case
	vector func(v *features.View, entity string, values []windows.Value) (string, []windows.Value) // what becomes of a vector; nil for nothing
}

const shift = 1000 * time.Hour // a multiple of every window

var relations = []relation{
	{name: "cut elsewhere", change: func(c random.Case, r *rand.Rand) random.Case {
		c.MaxRecords, c.Interval = 1+r.Int64N(20), time.Duration(1+r.IntN(9000))*time.Millisecond
		return c
	}},
	{name: "all there from the start", change: func(c random.Case, _ *rand.Rand) random.Case {
		for i := range c.Events {
			c.Events[i].At = 0
		}
		return c
	}},
	{name: "partitions interleaved otherwise", change: interleaved},
	{name: "late duplicates at the end", change: withLateDuplicates},
	{name: "restarted elsewhere", change: func(c random.Case, r *rand.Rand) random.Case {
		c.Lives = random.Draw(r.Uint64()).Lives
		return c
	}},
	{name: "users renamed", change: func(c random.Case, _ *rand.Rand) random.Case {
		for i, e := range c.Events {
			if e.User != nil {
				renamed := "another " + *e.User
				c.Events[i].User = &renamed
			}
		}
		return c
	}, vector: func(v *features.View, entity string, values []windows.Value) (string, []windows.Value) {
		if v.Entity.JoinKeys[0].Name == "user" {
			entity = "another " + entity
		}
		return entity, values
	}},
	{name: "all of it later", change: func(c random.Case, _ *rand.Rand) random.Case {
		for i := range c.Events {
			c.Events[i].Time += shift.Microseconds()
			c.Events[i].Stamp += shift.Microseconds()
		}
		return c
	}, vector: func(_ *features.View, entity string, values []windows.Value) (string, []windows.Value) {
		values = slices.Clone(values) // nil stays nil
		for i, v := range values {
			if v.Kind() == windows.Timestamps {
				var times []int64
				for _, at := range v.Times() {
					times = append(times, at+shift.Microseconds())
				}
				values[i] = windows.TimesOf(times)
			}
		}
		return entity, values
	}},
}

// interleaved lets the same records arrive in another order, but for that within each partition.
func interleaved(c random.Case, r *rand.Rand) random.Case {
	log, order, times := c.Log(), []int{}, []time.Duration{}
	for _, e := range c.Events {
		order, times = append(order, c.Place(e)), append(times, e.At)
	}
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i, place := range order {
		c.Events[i], log[place] = log[place][0], log[place][1:]
		c.Events[i].At = times[i]
	}
	return c
}

// withLateDuplicates appends copies of events that are behind their partition's watermark by then.
func withLateDuplicates(c random.Case, r *rand.Rand) random.Case {
	newest := map[int]int64{}
	for _, e := range c.Events {
		if e.Bad == "" && (e.Stamp <= 0 || e.Time <= e.Stamp+random.MaxFuture.Microseconds()) {
			if at, known := newest[c.Place(e)]; !known || e.Time > at {
				newest[c.Place(e)] = e.Time
			}
		}
	}
	for _, e := range c.Events[:len(c.Events):len(c.Events)] {
		if at, known := newest[c.Place(e)]; known && e.Time < at-c.Sources[e.Source].MaxLateness.Microseconds() && r.IntN(2) == 0 {
			e.At = c.Events[len(c.Events)-1].At
			c.Events = append(c.Events, e)
		}
	}
	return c
}

// vectorsOf runs a case, and returns its vectors: nil for a tombstone.
func vectorsOf(t *testing.T, c random.Case) (vectors map[string][]windows.Value, p *features.Project, err error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		var g *rig
		if g, err = newRig(c); err != nil {
			return
		}
		p = g.project
		if err = g.run(); err != nil {
			return
		}
		vectors = map[string][]windows.Value{}
		for key, v := range g.world.stored {
			vectors[key] = nil
			if !v.tombstone {
				vectors[key] = v.vector.Values
			}
		}
	})
	return vectors, p, err
}

// holds runs a case and the changed one, and says how their vectors are not as the relation has it.
func (rel relation) holds(t *testing.T, c random.Case) error {
	t.Helper()
	before, p, err := vectorsOf(t, c)
	if err != nil {
		return err
	}
	after, _, err := vectorsOf(t, rel.change(c.Clone(), rand.New(rand.NewPCG(c.Seed, 22))))
	if err != nil {
		return fmt.Errorf("%s: %w", rel.name, err)
	}
	if len(before) != len(after) {
		return fmt.Errorf("%s: %d vectors, %d before", rel.name, len(after), len(before))
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		name, entity, _ := strings.Cut(key, "\x00")
		view, want := p.View(name), before[key]
		if rel.vector != nil {
			entity, want = rel.vector(view, entity, want)
		}
		got, there := after[name+"\x00"+entity]
		if !there || (got == nil) != (want == nil) {
			return fmt.Errorf("%s: %q is %v, want %v", rel.name, key, got, want)
		}
		if got == nil {
			continue
		}
		if diff := oracle.Diff(random.Specs(view), want, got); diff != "" {
			return fmt.Errorf("%s: %q: %s", rel.name, key, diff)
		}
	}
	return nil
}

// TestRandom_Relations changes random cases in ways that must not show, or in one way only.
func TestRandom_Relations(t *testing.T) {
	for seed := range random.Seeds(t, 5, 0.25) {
		c := random.Draw(seed)
		c.Clock = features.EventClock
		for _, rel := range relations {
			err := rel.holds(t, c)
			if err == nil {
				continue
			}
			small := random.Shrink(c, time.Minute, func(c random.Case) bool {
				now := rel.holds(t, c)
				if now == nil || errors.Is(now, errNoCase) || kindOf(now) != kindOf(err) {
					return false
				}
				err = now
				return true
			})
			t.Fatalf("%v\nin this case, the smallest found; run it again by HIGHWATER_SEED=%d go test ./batch -run 'TestRandom_Relations$'\n%s", err, seed, small)
		}
	}
}
