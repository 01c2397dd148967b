package kafka_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/batch"
	"highwater/batch/kafka"
)

// TestHeaders follows rows' headers, and the difference between none and one of no bytes, through a topic.
func TestHeaders(t *testing.T) {
	c := newFake(t)
	topic := newTopic(t, c, 1, nil)
	want := []kafka.Row{
		{Key: []byte("u1"), Value: []byte("a"), Time: 1000, Headers: []batch.Header{{Key: "x-tenant", Value: []byte("first")}, {Key: "x-tenant", Value: []byte("last")}, {Key: "", Value: []byte{0, 0xFF}}}},
		{Value: []byte("b"), Time: 2000},
		{Key: []byte{}, Value: []byte("c"), Time: 3000, Headers: []batch.Header{{Key: "null"}, {Key: "empty", Value: []byte{}}}},
	}
	_, err := kafka.Load(within(t), loadOptions(c, topic), func(yield func(kafka.Row, error) bool) {
		for _, row := range want {
			if !yield(row, nil) {
				return
			}
		}
	}, nil)
	must(t, err)
	r := read(t, open(t, c, kafka.Options{}, topic), 0)
	r.until([]int64{3})
	var have []kafka.Row
	for _, rec := range r.got[0] {
		rec.Headers = slices.DeleteFunc(slices.Clone(rec.Headers), func(h batch.Header) bool { return h.Key == "highwater-row" }) // the loader's own
		if len(rec.Headers) == 0 {
			rec.Headers = nil
		}
		have = append(have, kafka.Row{Key: rec.Key, Value: rec.Value, Headers: rec.Headers, Time: rec.Time})
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}
