package serve

import (
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"highwater/features"
)

// quotedBytes is how much of a caller's text an error repeats, and the length up to which a name is worth a suggestion: both cost more than they tell beyond it.
const quotedBytes = 100

func (c *catalogue) unknownView(name string) *Error {
	return &Error{Kind: UnknownView, Detail: "there is no feature view " + Quote(name), Suggestion: nearest(name, slices.Sorted(maps.Keys(c.views)))}
}

func (c *catalogue) unknownService(name string) *Error {
	return &Error{Kind: UnknownService, Detail: "there is no feature service " + Quote(name), Suggestion: nearest(name, slices.Sorted(maps.Keys(c.services)))}
}

func (v *view) unknownFeature(name string) *Error {
	e := &Error{Kind: UnknownFeature, Detail: "feature view " + v.name + " has no feature " + Quote(name)}
	if near := nearest(name, slices.Sorted(maps.Keys(v.index))); near != "" {
		e.Suggestion = v.name + ":" + near
	}
	return e
}

func nearest(name string, of []string) string {
	if len(name) > quotedBytes {
		return ""
	}
	near, _ := features.Nearest(name, of)
	return near
}

// Quote returns a caller's text as an error repeats it: quoted, and cut where it is long.
func Quote(text string) string {
	if len(text) <= quotedBytes {
		return strconv.Quote(text)
	}
	end := quotedBytes
	for end > quotedBytes-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return strconv.Quote(text[:end]) + "…"
}
