package features

import (
	"fmt"
	"time"

	"highwater/windows"
)

// CompileExpression compiles text over fields, and returns its mistakes as "AT: WHAT; FIX".
func CompileExpression(text string, fields []Field) (eval Expression, kind windows.Kind, mistakes []string) {
	source := &Source{Name: "events", Fields: fields}
	scope := (&resolver{}).fieldScope(&View{Source: source})
	t, slips := compileExpression(text, scope)
	for _, s := range slips {
		mistakes = append(mistakes, fmt.Sprintf("%d: %s; %s", s.at, s.what, s.fix))
	}
	return t.eval, t.kind, mistakes
}

// DefaultResolution is what a sliding window of that length slides by.
func DefaultResolution(window time.Duration) (time.Duration, bool) { return defaultResolution(window) }

// EditDistance is what [Nearest] goes by.
func EditDistance(a, b string) int { return editDistance([]rune(a), []rune(b)) }

// Defaults returns, by key, a constant default as the file would say it and as it is.
func Defaults() map[string][2]string {
	all := map[string][2]string{}
	blank := projectShape().blank(position{})
	source := sourceShape().blank(position{})
	for key, value := range map[string]any{
		"clock": blank.clock.value, "interval": blank.batch.value.interval.value, "max_records": blank.batch.value.maxRecords.value, "max_bytes": blank.batch.value.maxBytes.value,
		"format": source.format.value, "max_lateness": source.maxLateness.value, "max_future": source.maxFuture.value, "idle_after": source.idleAfter.value,
		"max_record_bytes": source.maxRecordBytes.value, "emit": featureShape().blank(position{}).emit.value,
	} {
		all[key] = [2]string{fallbackOf(key, projectShape().object), fmt.Sprint(value)}
	}
	return all
}

// fallbackOf finds a key's default wherever it is in the table.
func fallbackOf(key string, o *object) string {
	for _, k := range o.keys {
		if k.name == key {
			return k.fallback
		}
		for _, inner := range k.value.objects(nil) {
			if f := fallbackOf(key, inner); f != "" {
				return f
			}
		}
	}
	return ""
}
