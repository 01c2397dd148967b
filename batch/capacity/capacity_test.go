package capacity_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"highwater/batch/capacity"
)

const million = 1_000_000

var usual = capacity.Headroom{Low: 30_00, High: 50_00}

// TestSize_WorkedExamples: the two that docs/capacity.md works out, and edges.
func TestSize_WorkedExamples(t *testing.T) {
	for _, c := range []struct {
		name     string
		question capacity.Question
		batch    string
		want     [3]int64  // bare, with the low and with the high end of the headroom
		exact    [3]string // before rounding up
		thumb    [3]int64
	}{
		{"200,000/s every 5 s", capacity.Question{Rate: 200_000, Interval: 5 * time.Second, Target: 2500 * time.Millisecond, Speed: 50_000, Headroom: usual},
			"1000000", [3]int64{8, 11, 12}, [3]string{"8", "52/5", "12"}, [3]int64{20, 26, 30}},
		{"50,000/s every 3 s", capacity.Question{Rate: 50_000, Interval: 3 * time.Second, Target: 1500 * time.Millisecond, Speed: 15_000, Headroom: usual},
			"150000", [3]int64{7, 9, 10}, [3]string{"20/3", "26/3", "10"}, [3]int64{10, 13, 15}},
		{"headroom that floating point gets wrong", capacity.Question{Rate: 10_000, Interval: time.Second, Target: time.Second, Speed: 1000, Headroom: capacity.Headroom{Low: 10_00, High: 12_50}},
			"10000", [3]int64{10, 11, 12}, [3]string{"10", "11", "45/4"}, [3]int64{10, 11, 12}},
		{"one is enough", capacity.Question{Rate: 1000, Interval: 5 * time.Second, Target: 2500 * time.Millisecond, Speed: 50_000, Headroom: usual},
			"5000", [3]int64{1, 1, 1}, [3]string{"1/25", "13/250", "3/50"}, [3]int64{1, 1, 1}},
		{"a batch of a fraction of an event", capacity.Question{Rate: 1, Interval: 100 * time.Millisecond, Target: 100 * time.Millisecond, Speed: 1, Headroom: capacity.Headroom{}},
			"1/10", [3]int64{1, 1, 1}, [3]string{"1", "1", "1"}, [3]int64{1, 1, 1}},
		{"the largest question", capacity.Question{Rate: 1e12, Interval: 24 * time.Hour, Target: 24 * time.Hour, Speed: million, Headroom: capacity.Headroom{}},
			"86400000000000000", [3]int64{million, million, million}, [3]string{"1000000", "1000000", "1000000"}, [3]int64{86_400_000_000, 86_400_000_000, 86_400_000_000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := capacity.Size(c.question)
			if err != nil {
				t.Fatal(err)
			}
			if have := a.Batch.RatString(); have != c.batch {
				t.Errorf("%s events a batch, want %s", have, c.batch)
			}
			if have := [3]int64{a.Bare.Count, a.Low.Count, a.High.Count}; have != c.want {
				t.Errorf("%d workers, want %d", have, c.want)
			}
			if have := [3]string{a.Bare.Exact.RatString(), a.Low.Exact.RatString(), a.High.Exact.RatString()}; have != c.exact {
				t.Errorf("%s before rounding, want %s", have, c.exact)
			}
			thumb := capacity.RuleOfThumb(c.question)
			if have := [3]int64{thumb.Bare.Count, thumb.Low.Count, thumb.High.Count}; have != c.thumb {
				t.Errorf("by the rule of thumb %d, want %d", have, c.thumb)
			}
		})
	}
}

// question draws one that Size answers, but for the number of workers.
func question(t *rapid.T) capacity.Question {
	interval := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Minute)).Draw(t, "interval"))
	low := capacity.Percent(rapid.Int64Range(0, 200_00).Draw(t, "low"))
	return capacity.Question{
		Rate:     rapid.Int64Range(1, 10*million).Draw(t, "rate"),
		Interval: interval,
		Target:   capacity.Percent(rapid.Int64Range(1_00, 100_00).Draw(t, "target")).Of(interval),
		Speed:    rapid.Int64Range(100, million).Draw(t, "speed"),
		Headroom: capacity.Headroom{Low: low, High: low + capacity.Percent(rapid.Int64Range(0, 100_00).Draw(t, "more"))},
	}
}

// size answers, or skips what takes too many workers.
func size(t *rapid.T, q capacity.Question) capacity.Answer {
	a, err := capacity.Size(q)
	if err != nil && strings.Contains(err.Error(), "need more than") {
		t.SkipNow()
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestSize_SufficesAndIsLeast: in whole numbers, workers × speed × target covers rate × interval × headroom, and one worker fewer does not.
func TestSize_SufficesAndIsLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := question(t)
		a := size(t, q)
		for _, w := range []capacity.Workers{a.Bare, a.Low, a.High} {
			needed := product(q.Rate, int64(q.Interval), 100_00+int64(w.Headroom))
			if product(w.Count, q.Speed, int64(q.Target), 100_00).Cmp(needed) < 0 {
				t.Errorf("%d workers do not suffice with %s headroom", w.Count, w.Headroom)
			}
			if product(w.Count-1, q.Speed, int64(q.Target), 100_00).Cmp(needed) >= 0 {
				t.Errorf("%d workers with %s headroom, where %d suffice", w.Count, w.Headroom, w.Count-1)
			}
		}
	})
}

func product(factors ...int64) *big.Int {
	p := big.NewInt(1)
	for _, f := range factors {
		p.Mul(p, big.NewInt(f))
	}
	return p
}

// TestSize_IsMonotone: more to do, or less to do it with, never takes fewer workers.
func TestSize_IsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := question(t)
		before := size(t, q)
		harder := q
		switch rapid.SampledFrom([]string{"rate", "speed", "target", "headroom"}).Draw(t, "what") {
		case "rate":
			harder.Rate += rapid.Int64Range(0, million).Draw(t, "by")
		case "speed":
			harder.Speed = rapid.Int64Range(1, q.Speed).Draw(t, "to")
		case "target":
			harder.Target = time.Duration(rapid.Int64Range(1, int64(q.Target)).Draw(t, "to"))
		case "headroom":
			harder.Headroom.High += 1
			harder.Headroom.Low += 1
		}
		after := size(t, harder)
		if after.Bare.Count < before.Bare.Count || after.Low.Count < before.Low.Count || after.High.Count < before.High.Count {
			t.Errorf("%d, %d, %d workers became %d, %d, %d", before.Bare.Count, before.Low.Count, before.High.Count, after.Bare.Count, after.Low.Count, after.High.Count)
		}
		if after.Bare.Count > after.Low.Count || after.Low.Count > after.High.Count {
			t.Errorf("%d, %d, %d workers do not rise with the headroom", after.Bare.Count, after.Low.Count, after.High.Count)
		}
	})
}

// TestMostForOne_IsTheEdge: at that rate one worker is enough, and one event a second beyond it is not.
func TestMostForOne_IsTheEdge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := question(t)
		for _, h := range []capacity.Percent{0, q.Headroom.Low, q.Headroom.High} {
			at := q
			at.Headroom = capacity.Headroom{Low: h, High: h}
			at.Rate = q.MostForOne(h)
			if at.Rate > 0 && size(t, at).High.Count != 1 {
				t.Errorf("%d events a second with %s headroom take more than one worker", at.Rate, h)
			}
			at.Rate++
			if size(t, at).High.Count < 2 {
				t.Errorf("%d events a second with %s headroom take one worker, and more than was said", at.Rate, h)
			}
		}
	})
}

func TestSize_RefusesTheAbsurd(t *testing.T) {
	good := capacity.Question{Rate: 1000, Interval: 5 * time.Second, Target: time.Second, Speed: 1000, Headroom: usual}
	if _, err := capacity.Size(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*capacity.Question)
		want   string
	}{
		{func(q *capacity.Question) { q.Rate = 0 }, "the rate is 0 events a second: give 1 to 1000000000000"},
		{func(q *capacity.Question) { q.Rate = 1e12 + 1 }, "the rate is 1000000000001 events a second"},
		{func(q *capacity.Question) { q.Speed = -5 }, "the speed of one worker is -5 events a second"},
		{func(q *capacity.Question) { q.Interval = 0 }, "the interval is 0s: give 1ms to 24h0m0s"},
		{func(q *capacity.Question) { q.Interval, q.Target = 25*time.Hour, time.Hour }, "the interval is 25h0m0s"},
		{func(q *capacity.Question) { q.Target = 0 }, "the target is 0s: give the time"},
		{func(q *capacity.Question) { q.Target = 6 * time.Second }, "the target of 6s is longer than the interval of 5s: batches would come faster than they are done"},
		{func(q *capacity.Question) { q.Headroom = capacity.Headroom{Low: -1, High: 10} }, "the headroom is -0.01% to 0.1%: give 0% to 1000%"},
		{func(q *capacity.Question) { q.Headroom.High = 1000_01 }, "the headroom is 30% to 1000.01%"},
		{func(q *capacity.Question) { q.Headroom = capacity.Headroom{Low: 50_00, High: 30_00} }, "the headroom is 50% to 30%: give the lower end first"},
		{func(q *capacity.Question) { q.Rate, q.Speed = 1e9, 1 }, "1000000000 events a second at 1 a worker need more than 1000000 workers: look at the units"},
		{func(q *capacity.Question) { q.Rate, q.Interval, q.Speed, q.Target = 1e12, 24*time.Hour, 1, 1 }, "need more than 1000000 workers"},
	} {
		q := good
		c.change(&q)
		if _, err := capacity.Size(q); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("have %v\nwant …%s…", err, c.want)
		}
	}
	if _, err := capacity.Size(capacity.Question{}); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("not every mistake at once: %v", err)
	}
}

func TestPercent(t *testing.T) {
	for p, want := range map[capacity.Percent]string{30_00: "30%", 12_50: "12.5%", 33_33: "33.33%", 5: "0.05%", 0: "0%", 1000_00: "1000%"} {
		if have := p.String(); have != want {
			t.Errorf("%d is %s, want %s", int64(p), have, want)
		}
	}
	if have := capacity.Percent(33_33).Of(10 * time.Second); have != 3333*time.Millisecond {
		t.Errorf("33.33 %% of 10 s is %s", have)
	}
	if have := capacity.DefaultTarget.Of(24 * time.Hour); have != 12*time.Hour {
		t.Errorf("half a day is %s", have)
	}
}

func ExampleSize() {
	q := capacity.Question{Rate: 200_000, Interval: 5 * time.Second, Target: 2500 * time.Millisecond, Speed: 50_000, Headroom: capacity.Headroom{Low: 30_00, High: 50_00}}
	a, err := capacity.Size(q)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s events a batch, %s a worker: %d workers, %d to %d with headroom\n", a.Batch.RatString(), a.Share.RatString(), a.Bare.Count, a.Low.Count, a.High.Count)
	// Output: 1000000 events a batch, 125000 a worker: 8 workers, 11 to 12 with headroom
}
