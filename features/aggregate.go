package features

import (
	"fmt"
	"strings"
	"time"

	"highwater/windows"
)

// The table of aggregates is package windows' own: [windows.Aggregates]. This file says what definitions make of it.

func aggregateNames() []string {
	var all []string
	for _, a := range windows.Aggregates() {
		all = append(all, a.Name)
	}
	return all
}

// kindNames joins kinds as people read them.
func kindNames(kinds []windows.Kind) string {
	spelt := make([]string, len(kinds))
	for i, k := range kinds {
		spelt[i] = k.String()
	}
	return strings.Join(spelt, ", ")
}

// featureRules is what the JSON Schema says of a feature's keys together, aggregate by aggregate.
func featureRules() map[string]any {
	var with, without, limited []any
	for _, a := range windows.Aggregates() {
		switch a.Argument {
		case windows.ArgumentRequired:
			with = append(with, a.Name)
		case windows.ArgumentNone:
			without = append(without, a.Name)
		}
		if a.Limit > 0 {
			limited = append(limited, a.Name)
		}
	}
	has := func(key string) map[string]any { return map[string]any{"required": []any{key}} }
	when := func(key string, value map[string]any) map[string]any {
		return map[string]any{"properties": map[string]any{key: value}, "required": []any{key}}
	}
	aggregate := func(names []any) map[string]any { return when("aggregate", map[string]any{"enum": names}) }
	return map[string]any{
		"oneOf": []any{has("aggregate"), has("expression")},
		"allOf": []any{
			map[string]any{"if": aggregate(with), "then": has("of")},
			map[string]any{"if": aggregate(without), "then": map[string]any{"not": has("of")}},
			map[string]any{"if": has("limit"), "then": map[string]any{"anyOf": []any{aggregate(limited), when("resolution", map[string]any{"const": "exact"})}}},
			map[string]any{"if": has("expression"), "then": map[string]any{"maxProperties": 1}},
			map[string]any{"if": has("emit"), "then": when("window", map[string]any{"type": "object"})},
			map[string]any{"if": has("resolution"), "then": when("window", map[string]any{"type": "string"})},
		},
	}
}

// ladder is the steps that a sliding window's default resolution is rounded up to.
var ladder = [...]time.Duration{
	1 * time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	1 * time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	1 * time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// stepsAWindow is how many steps a sliding window has at most by default.
const stepsAWindow = 360

// defaultResolution returns the least step of the ladder that is no less than a 360th of a window and divides it; beyond 360 days, whose 360th the ladder does not reach, a day. ok is false where no step will do.
func defaultResolution(window time.Duration) (step time.Duration, ok bool) {
	last := ladder[len(ladder)-1]
	for _, step := range ladder {
		if (step*stepsAWindow >= window || step == last) && window%step == 0 {
			return step, true
		}
	}
	return 0, false
}

// limitText says which limits stand where none is given.
func limitText() string {
	var own []string
	for _, a := range windows.Aggregates() {
		if a.Limit > 0 {
			own = append(own, fmt.Sprintf("%s %d", a.Name, a.Limit))
		}
	}
	return fmt.Sprintf("%s, any other exact window %d", strings.Join(own, ", "), windows.DefaultExactLimit)
}

func ladderText() string {
	steps := make([]string, len(ladder))
	for i, s := range ladder {
		steps[i] = durationText(s)
	}
	return strings.Join(steps, ", ")
}
