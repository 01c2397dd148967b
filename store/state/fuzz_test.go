package state_test

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

// Every value has one encoding. So whatever bytes a decoder takes it must write again just so: else it has taken damaged ones for something else.

func FuzzValue(f *testing.F) {
	m, err := windows.Compile([]windows.Spec{spend}, 0)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "01", "0107", "010000", "01070002ac028092f401bf843d000330", "0100ff", "010000ffffffffffffffffff01", "01ff00", "013800808080808001"} {
		b, _ := hex.DecodeString(seed)
		f.Add(b)
	}
	for _, p := range []batch.Published{{}, {Version: features.Version{Generation: 1, Sequence: 7}, Frontier: start, Watermark: start - second, Schema: "5c4e3a00"},
		{Version: features.Version{Generation: math.MaxUint32, Sequence: math.MaxUint64}, Frontier: math.MinInt64, Watermark: math.MaxInt64, Tombstone: true, Until: start, Schema: "old"}} {
		e, encode, _ := state.DecodeValue(nil, m)
		e.Published, e.Windows = p, m.New()
		e.Timers = [batch.TimerClocks]int64{start, windows.Never, math.MinInt64}
		f.Add(encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, encode, err := state.DecodeValue(b, m)
		if err != nil {
			return
		}
		again := encode()
		back, _, err := state.DecodeValue(again, m)
		if err != nil || back.Published != e.Published || back.Timers != e.Timers || string(m.Append(nil, back.Windows)) != string(m.Append(nil, e.Windows)) {
			t.Fatalf("%x reads as %+v, which is written as %x and reads as %+v, error %v", b, e, again, back, err)
		}
		if e.Published.Schema != "5c4e3a00" && string(again) != string(b) { // which number stands for a schema depends on when it was written
			t.Fatalf("%x was read, and is written as %x", b, again)
		}
	})
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte{})
	f.Add(state.AppendPlan(nil, &batch.Plan{Clock: start, Definitions: "0123456789abcdef", Final: true}))
	f.Add(state.AppendPlan(nil, &batch.Plan{Clock: start, Definitions: "0123456789abcdef", Slices: []batch.Slice{
		{Partition: batch.Partition{Source: "e", Topic: "ev"}, Start: 100, End: 228, LeaderEpoch: 3, LogEnd: 228}, {Partition: batch.Partition{Source: "e", Topic: "ev", Number: 1}, LeaderEpoch: -1, LogEnd: 6, Idle: true}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := state.DecodePlan(features.Version{Generation: 1, Sequence: 2}, b)
		switch {
		case err != nil && p != nil, err == nil && p == nil:
			t.Fatalf("%x gives %v beside error %v", b, p, err)
		case err == nil && string(state.AppendPlan(nil, p)) != string(b):
			t.Fatalf("%x was read, and is written as %x", b, state.AppendPlan(nil, p))
		}
	})
}

// FuzzPosition: a position is JSON, which may be written in more ways than one; from then on in one.
func FuzzPosition(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01{}"))
	whole, err := state.EncodePosition(at(7))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := state.DecodePosition(b)
		if err != nil {
			if !cmp.Equal(p, batch.Position{}) {
				t.Fatalf("%q gives %+v beside error %v", b, p, err)
			}
			return
		}
		again, err := state.EncodePosition(p)
		if err != nil {
			t.Fatal(err)
		}
		back, err := state.DecodePosition(again)
		if err != nil {
			t.Fatalf("%q, which was written of %q: %v", again, b, err)
		}
		if last, err := state.EncodePosition(back); err != nil || string(last) != string(again) {
			t.Fatalf("%q, then %q, error %v", again, last, err)
		}
	})
}

// What is not as it would have been written is damaged, though it could be read.
func TestDecode_RefusesWhatItWouldNotWrite(t *testing.T) {
	for what, text := range map[string]string{
		"a flag that is not known": "0102 00 00 00", "a number longer than it need be": "0100 8000 00 00", "a slice's flag that is not known": "0100 00 00 01 06 00 00 00 00 00",
		"a topic that is named again": "0100 00 00 01 00 00 00 00 00 00 00 00", "a partition beyond an int32": "0100 00 00 01 02 8080808020 00 00 00 00", "a leader epoch beyond an int32": "0100 00 00 01 02 00 00 00 00 8080808020",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := state.DecodePlan(features.Version{}, b); err == nil {
			t.Errorf("%s: read as %+v", what, p)
		}
	}
	m, err := windows.Compile([]windows.Spec{spend}, 0)
	if err != nil {
		t.Fatal(err)
	}
	nothing := hex.EncodeToString(m.Append(nil, m.New()))
	for what, text := range map[string]string{
		"published, and nothing is": "0101 00 00 00 00 00 00 00", "a tombstone that is not published": "0102 00", "a generation beyond an uint32": "0101 00 8080808010 01 00 00 01",
		"an end that is none": "0105 00 01 01 00 00 01 00", "a timer that never fires": "0108 00 feffffffffffffffff01",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", "") + nothing)
		if err != nil {
			t.Fatal(err)
		}
		if e, _, err := state.DecodeValue(b, m); err == nil {
			t.Errorf("%s: read as %+v", what, e)
		}
	}
}
