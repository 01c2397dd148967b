package kafka_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/features"
)

// TestHeaders follows rows' headers, and the difference between none and one of no bytes, through a topic whose records are wanted with their headers, and through one where they are not.
func TestHeaders(t *testing.T) {
	c := newFake(t)
	with, without := newTopic(t, c, 1, nil), newTopic(t, c, 1, nil)
	want := []kafka.Row{
		{Key: []byte("u1"), Value: []byte("a"), Time: 1000, Headers: []batch.Header{{Key: "x-tenant", Value: []byte("first")}, {Key: "x-tenant", Value: []byte("last")}, {Key: "", Value: []byte{0, 0xFF}}}},
		{Value: []byte("b"), Time: 2000},
		{Key: []byte{}, Value: []byte("c"), Time: 3000, Headers: []batch.Header{{Key: "null"}, {Key: "empty", Value: []byte{}}}},
	}
	for _, topic := range []string{with, without} {
		_, err := kafka.Load(within(t), loadOptions(c, topic), func(yield func(kafka.Row, error) bool) {
			for _, row := range want {
				if !yield(row, nil) {
					return
				}
			}
		}, nil)
		must(t, err)
	}
	s, err := kafka.Open(within(t), kafka.Options{
		Brokers: c.Brokers(), Sources: []*features.Source{source("with", with), source("without", without)}, Headers: func(topic string) bool { return topic == with },
	})
	must(t, err)
	defer s.Close()
	r := read(t, s, 0, 0)
	for behind(r.at, []int64{3, 3}) {
		cut, err := r.cut(within(t))
		must(t, err)
		must(t, r.take(within(t), cut.Ends))
	}
	for i := range r.got {
		var have []kafka.Row
		for _, rec := range r.got[i] {
			rec.Headers = slices.DeleteFunc(slices.Clone(rec.Headers), func(h batch.Header) bool { return h.Key == "highwater-row" }) // the loader's own
			have = append(have, kafka.Row{Key: rec.Key, Value: rec.Value, Headers: rec.Headers, Time: rec.Time})
		}
		if i == 1 {
			for n := range want {
				want[n].Headers = nil
			}
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("topic %d (-want +have):\n%s", i, diff)
		}
	}
}
