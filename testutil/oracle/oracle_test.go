package oracle_test

import (
	"testing"

	"highwater/testutil/oracle"
	"highwater/windows"
)

// The oracle is trusted by every other test, so a few values are worked out by hand here.
func TestValues_WorkedByHand(t *testing.T) {
	event := func(time int64, price float64) windows.Event {
		return windows.Event{Time: time, Offset: time, Takes: []uint64{0xff}, Args: []windows.Value{windows.DoubleOf(price)}}
	}
	events := []windows.Event{event(-3, 1), event(9, 2), event(10, 4), event(20, 8)}
	sum := func(w windows.Window) windows.Spec {
		return windows.Spec{Name: "s", Aggregate: "sum", Input: windows.Double, Window: w}
	}
	for _, c := range []struct {
		name                string
		window              windows.Window
		frontier, watermark int64
		want                float64
	}{
		{"lifetime", windows.Window{}, 20, 20, 15},
		{"exact leaves out its old edge", windows.Window{Kind: windows.Exact, Length: 10}, 20, 20, 8},
		{"exact holds its new edge", windows.Window{Kind: windows.Exact, Length: 11}, 20, 20, 12},
		{"a tile stays until its end has left", windows.Window{Kind: windows.Sliding, Length: 10, Resolution: 5}, 19, 19, 6},
		{"and leaves then", windows.Window{Kind: windows.Sliding, Length: 10, Resolution: 5}, 20, 20, 12},
		{"the last closed window", windows.Window{Kind: windows.Tumbling, Length: 10}, 20, 19, 2},
		{"closed by the watermark on its edge", windows.Window{Kind: windows.Tumbling, Length: 10}, 20, 20, 4},
		{"before 1970", windows.Window{Kind: windows.Tumbling, Length: 10}, 20, 0, 1},
		{"nothing closed yet", windows.Window{Kind: windows.Tumbling, Length: 10}, 20, windows.NoTime, 0},
		{"the running window", windows.Window{Kind: windows.Running, Length: 10}, 20, 0, 8},
	} {
		got := oracle.Values([]windows.Spec{sum(c.window)}, events, c.frontier, c.watermark)[0]
		if want := windows.DoubleOf(c.want); got != want {
			t.Errorf("%s: got %s, want %s", c.name, oracle.Text(got), oracle.Text(want))
		}
	}
}

func TestClosed_AtTheWindowsEnd(t *testing.T) {
	hour := windows.Window{Kind: windows.Tumbling, Length: 60}
	if oracle.Closed(hour, 59, 59) || !oracle.Closed(hour, 59, 60) || oracle.Closed(hour, 60, 60) || !oracle.Closed(hour, -1, 0) {
		t.Error("a window closes when the watermark reaches its end, not before")
	}
}

func TestExpired_WhenTheTTLIsUp(t *testing.T) {
	events := []windows.Event{{Time: 5}, {Time: 3}}
	if oracle.Expired(events, 10, 14) || !oracle.Expired(events, 10, 15) || oracle.Expired(events, 0, 1000) || oracle.Expired(nil, 10, 1000) {
		t.Error("newest event time + ttl ≤ frontier is expired, and nothing else")
	}
}
