package windows_test

import (
	"slices"
	"testing"

	"highwater/windows"
)

// Feature by feature as declared, each from old to new, whether it keeps tiles, events or one partial for ever.
func TestParts_SaysWhatEachFeatureHolds(t *testing.T) {
	m := parse(t, "best: max of int64 over exact 30us\nclicks: count over sliding 30us by 10us\nseen: count_distinct of int64 over lifetime limit 1\n")
	e := m.New()
	for _, at := range []int64{-1, 5, 12, 12} {
		m.Apply(e, &windows.Event{Time: at, Offset: at, Takes: []uint64{7}, Args: ints(at)}, 0, nil)
	}
	want := []windows.Part{
		{Feature: "best", From: -1, To: 0, Holds: "-1"},
		{Feature: "best", From: 5, To: 6, Holds: "5"},
		{Feature: "best", From: 12, To: 13, Holds: "12"},
		{Feature: "best", From: 12, To: 13, Holds: "12"},
		{Feature: "clicks", From: -10, To: 0, Holds: "1"},
		{Feature: "clicks", From: 0, To: 10, Holds: "1"},
		{Feature: "clicks", From: 10, To: 20, Holds: "2"},
		{Feature: "seen", From: windows.NoTime, To: windows.Never, Holds: "null: beyond its limit, or overflowed"},
	}
	before := m.Append(nil, e)
	if got := m.Parts(e); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if !slices.Equal(m.Append(nil, e), before) {
		t.Error("looking changed the entity")
	}
}
