package main

import (
	"bytes"
	"encoding"
	"math/big"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"highwater/batch/capacity"
)

func TestCapacityFlags(t *testing.T) {
	for text, want := range map[string]eventRate{"1": 1, "50000": 50_000, "200k": 200_000, "1.5M": 1_500_000, "0.5k/s": 500, "20000/s": 20_000, "1000000000000": 1e12} {
		var r eventRate
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%s is %d, %v; want %d", text, r, err, want)
		}
	}
	for text, want := range map[string]time.Duration{"50%": 2500 * time.Millisecond, "33.33%": 1666500 * time.Microsecond, "1s": time.Second, "250ms": 250 * time.Millisecond, "100%": 5 * time.Second, "150%": 7500 * time.Millisecond} {
		var b batchTarget
		if err := b.UnmarshalText([]byte(text)); err != nil || b.of(5*time.Second) != want {
			t.Errorf("%s of 5 s is %s, %v; want %s", text, b.of(5*time.Second), err, want)
		}
	}
	for text, want := range map[string]capacity.Headroom{"30%..50%": {Low: 30_00, High: 50_00}, "30..50": {Low: 30_00, High: 50_00}, "12.5%": {Low: 12_50, High: 12_50}, "0": {}} {
		var h headroom
		if err := h.UnmarshalText([]byte(text)); err != nil || capacity.Headroom(h) != want {
			t.Errorf("%s is %v, %v; want %v", text, h, err, want)
		}
	}
}

func TestCapacityFlags_Refused(t *testing.T) {
	for _, c := range []struct {
		flag  encoding.TextUnmarshaler
		texts string
		want  string
	}{
		{new(eventRate), "0 -5 1.5 200K 2e5 many k 1/3 0x10 1_000 99999999999999999999999 NaN", "is not a rate: write a positive whole number of events a second, such as 50000, 200k or 1.5M"},
		{new(batchTarget), "50 0% -1s 0s half 50%% -5% 1e2%", "is neither a duration nor a percentage: write what processing a batch may take, such as 2s, or a part of the interval, such as 50%"},
		{new(headroom), "some 30%.. ..50% -30% 30%-50% 0.001% 1e2", "is not a headroom: write a percentage, or a range of two, such as 40% or 30%..50%"},
	} {
		for _, text := range append(strings.Fields(c.texts), "") {
			if err := c.flag.UnmarshalText([]byte(text)); err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("%q: have %v\nwant …%s", text, err, c.want)
			}
		}
	}
}

func TestCapacityNumbers(t *testing.T) {
	for text, want := range map[string]string{"8": "8", "20/3": "6.67", "26/5": "5.2", "1000000": "1,000,000", "80001/10000": "8.0001", "24000001/3000000": "8.0000003", "123456789/2": "61,728,394.5", "1/250000": "0.000004", "2999999/1000000": "2.999999"} {
		n, _ := new(big.Rat).SetString(text)
		if have := ratText(n); have != want {
			t.Errorf("%s is written %s, want %s", text, have, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if have := grouped(n); have != want {
			t.Errorf("%d is written %s, want %s", n, have, want)
		}
	}
	for seconds, want := range map[float64]string{0.0123: "12.3 ms", 2: "2 s", 99.5: "99.5 s", 7200: "2h0m0s"} {
		if have := spanText(seconds); have != want {
			t.Errorf("%f s is written %s, want %s", seconds, have, want)
		}
	}
}

// TestCapacity_DocsShowWhatIsPrinted runs the commands that docs/capacity.md shows, and wants what it shows.
func TestCapacity_DocsShowWhatIsPrinted(t *testing.T) {
	page, err := os.ReadFile("../../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```\n\\$ highwater ([^\n]+)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(shown) < 2 {
		t.Fatalf("only %d commands found: does the page still show them?", len(shown))
	}
	for _, s := range shown {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), strings.Fields(s[1]), &out, &errOut); code != exitDone {
			t.Fatalf("%s: exit code %d: %s", s[1], code, &errOut)
		}
		if diff := cmp.Diff(s[2], out.String()); diff != "" {
			t.Errorf("highwater %s (- the page, + the program):\n%s", s[1], diff)
		}
	}
}
