package random

import (
	"slices"
	"time"

	"highwater/features"
)

// Shrink returns as small a case as it finds that still fails: fewer events, views, features, faults and partitions, then simpler ones. It tries one change after the other until none of them helps any more, or until patience is over.
func Shrink(c Case, patience time.Duration, fails func(Case) bool) Case {
	until := time.Now().Add(patience)
	try := func(smaller Case) bool {
		if time.Now().After(until) || !fails(smaller) {
			return false
		}
		c = smaller
		return true
	}
	for progress := true; progress; {
		progress = false
		for _, step := range []func(Case, func(Case) bool) bool{fewerEvents, fewerLives, fewerFaults, fewerViews, fewerFeatures, fewerSources, fewerPartitions, simplerViews, simplerEvents, simplerCuts, simplerLives} {
			for step(c.Clone(), try) {
				progress = true
			}
		}
	}
	return c
}

// fewer tries to leave out ever smaller stretches of n things; less returns the case without [from, to).
func fewer(n int, less func(from, to int) Case, try func(Case) bool) bool {
	for size := n; size >= 1; size /= 2 {
		for from := 0; from < n; from += size {
			if try(less(from, min(from+size, n))) {
				return true
			}
		}
	}
	return false
}

func fewerEvents(c Case, try func(Case) bool) bool {
	return fewer(len(c.Events), func(from, to int) Case {
		less := c.Clone()
		less.Events = slices.Delete(less.Events, from, to)
		return less
	}, try)
}

func fewerLives(c Case, try func(Case) bool) bool {
	return fewer(len(c.Lives), func(from, to int) Case {
		less := c.Clone()
		less.Lives = slices.Delete(less.Lives, from, to)
		return less
	}, try)
}

func fewerFaults(c Case, try func(Case) bool) bool {
	for i, l := range c.Lives {
		if fewer(len(l.Faults), func(from, to int) Case {
			less := c.Clone()
			less.Lives[i].Faults = slices.Delete(less.Lives[i].Faults, from, to)
			return less
		}, try) {
			return true
		}
		for _, simpler := range []Life{{l.Faults, 0, l.Stop, l.Lose, l.Stray}, {l.Faults, l.After, 0, l.Lose, l.Stray}, {l.Faults, l.After, l.Stop, 0, l.Stray}, {l.Faults, l.After, l.Stop, l.Lose, 0}} {
			less := c.Clone()
			less.Lives[i] = simpler
			if (simpler.After != l.After || simpler.Stop != l.Stop || simpler.Lose != l.Lose || simpler.Stray != l.Stray) && try(less) {
				return true
			}
		}
	}
	return false
}

// simplerLives lets things go wrong as early, and for as short a time, as they can.
func simplerLives(c Case, try func(Case) bool) bool {
	for i, l := range c.Lives {
		change := func(f func(*Life)) bool {
			less := c.Clone()
			f(&less.Lives[i])
			return try(less)
		}
		for j, f := range l.Faults {
			if f.Nth > 1 && (change(func(l *Life) { l.Faults[j].Nth = 1 }) || change(func(l *Life) { l.Faults[j].Nth-- })) || f.For > time.Second && change(func(l *Life) { l.Faults[j].For /= 2 }) {
				return true
			}
		}
		for _, at := range []func(*Life) *int{func(l *Life) *int { return &l.Stop }, func(l *Life) *int { return &l.Lose }, func(l *Life) *int { return &l.Stray }} {
			if *at(&l) > 1 && (change(func(l *Life) { *at(l) = 1 }) || change(func(l *Life) { *at(l)-- })) {
				return true
			}
		}
	}
	return false
}

func fewerViews(c Case, try func(Case) bool) bool {
	return len(c.Views) > 1 && fewer(len(c.Views), func(from, to int) Case {
		less := c.Clone()
		less.Views = slices.Delete(less.Views, from, to)
		return less
	}, try)
}

func fewerFeatures(c Case, try func(Case) bool) bool {
	for i, v := range c.Views {
		if len(v.Features) > 1 && fewer(len(v.Features), func(from, to int) Case {
			less := c.Clone()
			less.Views[i].Features = slices.Delete(less.Views[i].Features, from, to)
			return less
		}, try) {
			return true
		}
	}
	return false
}

// fewerSources leaves out a source; its views and events go to the first of the others, or are left out with it.
func fewerSources(c Case, try func(Case) bool) bool {
	for i, s := range c.Sources {
		if len(c.Sources) == 1 {
			return false
		}
		less, moved := c.Clone(), c.Clone()
		less.Sources = slices.Delete(less.Sources, i, i+1)
		moved.Sources = slices.Clone(less.Sources)
		less.Events = slices.DeleteFunc(less.Events, func(e Event) bool { return e.Source == i })
		for j, e := range moved.Events {
			if e.Source == i {
				moved.Events[j].Source, moved.Events[j].Partition = 0, 0
			} else if e.Source > i {
				moved.Events[j].Source--
			}
		}
		for j := range less.Events {
			if less.Events[j].Source > i {
				less.Events[j].Source--
			}
		}
		for j, v := range moved.Views {
			if v.Source == s.Name {
				moved.Views[j].Source = moved.Sources[0].Name
			}
		}
		less.Views = slices.DeleteFunc(less.Views, func(v View) bool { return v.Source == s.Name })
		if len(less.Views) > 0 && try(less) || try(moved) {
			return true
		}
	}
	return false
}

// fewerPartitions leaves out a source's last partition; its events go to the first.
func fewerPartitions(c Case, try func(Case) bool) bool {
	for i, s := range c.Sources {
		if s.Partitions == 1 {
			continue
		}
		less := c.Clone()
		less.Sources[i].Partitions--
		for j, e := range less.Events {
			if e.Source == i && e.Partition == s.Partitions-1 {
				less.Events[j].Partition = 0
			}
		}
		if try(less) {
			return true
		}
	}
	return false
}

func simplerViews(c Case, try func(Case) bool) bool {
	for i, v := range c.Views {
		simpler := c.Clone()
		simpler.Views[i].Where = ""
		if v.Where != "" && try(simpler) {
			return true
		}
		simpler = c.Clone()
		simpler.Views[i].TTL = 0
		if v.TTL > 0 && try(simpler) {
			return true
		}
		for j, f := range v.Features {
			for _, text := range []string{"aggregate: count", withoutWhere(f.Text)} {
				simpler = c.Clone()
				if simpler.Views[i].Features[j].Text = text; text != f.Text && len(text) < len(f.Text) && try(simpler) {
					return true
				}
			}
		}
	}
	return false
}

// withoutWhere returns a feature's text without its condition, which comes last.
func withoutWhere(text string) string {
	const where = ", where: "
	for i := range text {
		if i+len(where) <= len(text) && text[i:i+len(where)] == where {
			return text[:i]
		}
	}
	return text
}

// simplerEvents takes fields from events, and makes them arrive at the time of the one before.
func simplerEvents(c Case, try func(Case) bool) bool {
	if len(c.Events) > 30 { // as long as there are many, only the fewest helps
		return false
	}
	for i, e := range c.Events {
		for _, simpler := range []Event{without(e, func(e *Event) { e.Price = nil }), without(e, func(e *Event) { e.N = nil }), without(e, func(e *Event) { e.OK = nil }), without(e, func(e *Event) { e.Kind = nil }),
			without(e, func(e *Event) { e.Item = nil }), without(e, func(e *Event) { e.User = nil }), without(e, func(e *Event) { e.Bad = "" }), without(e, func(e *Event) { e.At = 0 })} {
			less := c.Clone()
			if simpler.At == 0 && i > 0 {
				simpler.At = c.Events[i-1].At
			}
			if less.Events[i] = simpler; simpler != e && try(less) {
				return true
			}
		}
	}
	return false
}

func without(e Event, change func(*Event)) Event {
	change(&e)
	return e
}

func simplerCuts(c Case, try func(Case) bool) bool {
	simpler := c.Clone()
	if simpler.Clock = features.EventClock; c.Clock != simpler.Clock && try(simpler) {
		return true
	}
	simpler = c.Clone()
	if simpler.MaxRecords = 1000; c.MaxRecords != simpler.MaxRecords && try(simpler) {
		return true
	}
	for i, s := range c.Sources {
		simpler = c.Clone()
		simpler.Sources[i].Format, simpler.Sources[i].MaxLateness = features.JSON, 0
		if simpler.Sources[i].Unit != "" {
			simpler.Sources[i].Unit = features.Milliseconds
		}
		if simpler.Sources[i] != s && try(simpler) {
			return true
		}
	}
	return false
}
