package main

import (
	"encoding/json"
	"fmt"
	"iter"
	"testing"
	"time"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/features"
)

// windowYAML has short windows by the wall clock.
const windowYAML = `
project: quiet
clock: wall
batch: {interval: 200ms}
entities:
  user: {join_key: user_id, type: string}
sources:
  clicks:
    kafka: {topic: clicks}
    timestamp: {field: ts, unit: ms}
    key: user_id
    max_lateness: 500ms
    idle_after: 500ms
    fields: {user_id: string, item: int64, price: double}
feature_views:
  users:
    source: clicks
    entity: user
    features:
      sliding: {aggregate: count, window: 3s, resolution: 1s}
      exact: {aggregate: count, window: 2s, resolution: exact}
      tumbling: {aggregate: count, window: {tumbling: 3s}}
      ever: {aggregate: count}
`

// TestClock_CountsFallToZeroByThemselves: after a last click nothing comes any more, and yet every window runs empty: a sliding one within its length, a tile and an interval, a tumbling one within two of its lengths, its lateness and an interval. The margin beyond that is for a busy machine.
func TestClock_CountsFallToZeroByThemselves(t *testing.T) {
	t.Parallel()
	const window, resolution, interval, margin = 3 * time.Second, time.Second, 200 * time.Millisecond, 30 * time.Second
	p, err := features.Parse("quiet.yaml", []byte(windowYAML))
	must(t, err)
	pl := startPipeline(t, p, pipelineOptions{})
	last := time.Now().Truncate(time.Millisecond)
	pl.load(clickRows(5, last))
	pl.awaitEvents(5)
	show := func() (counts map[string]int64) {
		status, text := pl.client.Get(t, "/v1/features/users/u1")
		var v struct{ Features map[string]int64 }
		if err := json.Unmarshal(text, &v); status != 200 || err != nil {
			t.Fatalf("status %d: %s", status, text)
		}
		return v.Features
	}
	if counts := show(); counts["sliding"] != 5 && time.Since(last) < window || counts["ever"] != 5 {
		t.Fatalf("after 5 clicks: %v", counts)
	}
	fell, tumbled := map[string]time.Duration{}, false
	deadline := time.After(2*window + resolution + interval + margin)
	for len(fell) < 2 || !tumbled || show()["tumbling"] != 0 {
		select {
		case s := <-pl.batches:
			if s.Vectors == 0 {
				continue
			}
		case <-deadline:
			t.Fatalf("%s after the last click it still reads %v", time.Since(last), show())
		}
		counts := show()
		tumbled = tumbled || counts["tumbling"] > 0
		for _, name := range []string{"sliding", "exact"} {
			if _, before := fell[name]; counts[name] == 0 && !before {
				fell[name] = time.Since(last)
			}
		}
	}
	if fell["sliding"] < window || fell["exact"] < 2*time.Second || show()["ever"] != 5 {
		t.Errorf("they fell after %v, before their windows had passed; the rest reads %v", fell, show())
	}
	t.Logf("fell to 0: %v after the last click", fell)
}

// TestTrigger_ASpikeIsCutBySizeATrickleByTime: what comes at once is cut as soon as max_records are waiting, what trickles when the interval has passed.
func TestTrigger_ASpikeIsCutBySizeATrickleByTime(t *testing.T) {
	t.Parallel()
	p, err := features.Parse("shop.yaml", []byte(shopDefinitions(features.EventClock, 1500*time.Millisecond)))
	must(t, err)
	p.Batch.MaxRecords = 100
	pl := startPipeline(t, p, pipelineOptions{})
	start := time.Now()
	pl.load(clickRows(1000, start))
	var bySize int64
	for bySize < 1000 {
		s := pl.nextBatch()
		if s.Trigger != "size" && s.Trigger != "interval" || s.Trigger == "size" && s.Records != 100 {
			t.Fatalf("a spike: cut by %s with %d records", s.Trigger, s.Records)
		}
		if s.Trigger == "interval" { // the machine was so busy that the interval passed while the spike arrived
			t.Logf("%d records of the spike were cut by the interval", s.Records)
		}
		bySize += s.Records
	}
	sizes := 0
	before, _, _ := pl.engine.task.Position()
	for n := 1001; n <= 1003; n++ {
		pl.load(clickRows(n, start))
		s := pl.nextBatch()
		for ; s.Records == 0; s = pl.nextBatch() { // the marker of the transaction before it came by itself
			sizes++
		}
		if s.Trigger != "interval" || s.Records != 1 {
			t.Errorf("a trickle: cut by %s with %d records, want by the interval with 1", s.Trigger, s.Records)
		}
		sizes++
	}
	after, _, _ := pl.engine.task.Position()
	if got := after.Version.Sequence - before.Version.Sequence; got != uint64(sizes) {
		t.Errorf("%d batches for %d events that trickled in", got, sizes)
	}
	eventually(t, "the status to show the triggers", func() error {
		_, text := pl.client.Get(t, "/v1/status")
		var status struct {
			Tasks []struct {
				Batches []struct {
					Trigger string
					Records int64
				} `json:"last_batches"`
			}
		}
		if err := json.Unmarshal(text, &status); err != nil {
			return err
		}
		seen := map[string]bool{}
		for _, task := range status.Tasks {
			for _, b := range task.Batches {
				seen[b.Trigger] = true
			}
		}
		if !seen["size"] || !seen["interval"] {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
}

// nextBatch waits for the next committed batch.
func (pl *pipeline) nextBatch() batch.Stats {
	pl.t.Helper()
	select {
	case s := <-pl.batches:
		return s
	case <-time.After(patience):
		pl.t.Fatalf("no batch within %s", patience)
		return batch.Stats{}
	}
}

// clickRows are n clicks of u1 at one time, the same ones for every n.
func clickRows(n int, at time.Time) iter.Seq2[kafka.Row, error] {
	return func(yield func(kafka.Row, error) bool) {
		for i := range n {
			row := kafka.Row{Key: []byte("u1"), Time: at.UnixMicro(), Value: fmt.Appendf(nil, `{"user_id":"u1","item":%d,"price":1,"ts":%d}`, i%7, at.UnixMilli())}
			if !yield(row, nil) {
				return
			}
		}
	}
}
