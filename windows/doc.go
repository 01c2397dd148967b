// Package windows computes features over windows of event time: pure arithmetic, without a clock, I/O or a goroutine.
//
// A [Machine] is a view's features, compiled. It keeps one [Entity] a key, and turns it in two steps that a batch repeats:
// [Machine.Apply] adds an event, and [Machine.Advance] moves the entity to the task's frontier and watermark and returns the features' values then, and the instants of
// either clock at which they change next. Between two such instants no value changes, so an entity without events need not be looked at.
//
// The words:
//
//   - tile: a fixed stretch of event time, numbered by floor(t / width), also before 1970;
//   - partial: one aggregate's state over one tile ([partial]);
//   - track: the tiles of all features of a view whose windows are equal: they share one list of tile numbers ([track]);
//   - span: when a tile counts ([span]). Every kind of window comes down to one rule: a tile that begins at s counts while s + show ≤ clock < s + hide,
//     where the clock is the frontier or the watermark, and show and hide follow from the kind. Values, timers and forgetting all read off that rule.
//   - fold: merging, from old to new, the partials that count into one, and taking its result. Nothing but partials is kept between two advances, so equal bytes give equal values.
//
// What an entity holds after the same events does not depend on their order of arrival nor on where they were cut into batches; floating-point sums are equal to rounding.
// Its bytes ([Machine.Append]) are canonical: equal state, equal bytes; docs/format/windows.md has the layout.
//
// An aggregate is one file (count.go, sum.go …) and one line in the table of aggregate.go.
package windows
