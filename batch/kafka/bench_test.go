package kafka_test

import (
	"fmt"
	"testing"

	"highwater/batch/kafka"
)

// BenchmarkTake measures the way from the broker's log to a batch's records: fetch, cut and take, 100-byte records, 4 partitions, 100,000 offsets a plan.
func BenchmarkTake(b *testing.B) {
	c := newFake(b)
	const n = 1_000_000
	topic := newTopic(b, c, 4, nil)
	value := make([]byte, 96)
	_, err := kafka.Load(within(b), loadOptions(c, topic), func(yield func(kafka.Row, error) bool) {
		for i := range n {
			if !yield(kafka.Row{Key: fmt.Appendf(nil, "%d", i), Value: value, Time: 1}, nil) {
				return
			}
		}
	}, nil)
	must(b, err)
	ends := write(b, c, topic, 4).ends(b)
	b.ReportAllocs()
	for b.Loop() {
		s := open(b, c, kafka.Options{}, topic)
		r := read(b, s, 0, 0, 0, 0)
		r.limits = func() (int64, int64) { return 100_000, 64 << 20 }
		for ctx := within(b); behind(r.at, ends); {
			c, err := r.cut(ctx)
			must(b, err)
			_, err = s.Take(ctx, r.slices(c.Ends))
			must(b, err)
			r.at = c.Ends
		}
		s.Close()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
