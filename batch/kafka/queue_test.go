package kafka

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"highwater/batch"
)

// drawRecords draws a stretch of log: records of some sizes, with gaps between them.
func drawRecords(t *rapid.T, from int64) (records []batch.Record, end int64) {
	for range rapid.IntRange(0, 12).Draw(t, "records") {
		from += rapid.Int64Range(0, 3).Draw(t, "gap")
		records = append(records, batch.Record{Offset: from, Value: make([]byte, rapid.IntRange(0, 40).Draw(t, "size"))})
		from++
	}
	return records, from + rapid.Int64Range(0, 3).Draw(t, "gap at the end")
}

// model is a partition as a plain list.
type model struct {
	records        []batch.Record
	taken, fetched int64
}

func (m *model) between(from, to int64) (records []batch.Record, bytes int64) {
	for i := range m.records {
		if o := m.records[i].Offset; o >= from && o < to {
			records, bytes = append(records, m.records[i]), bytes+sizeOf(&m.records[i])
		}
	}
	return records, bytes
}

// Whatever is fetched, planned and taken, in whatever pieces, a queue gives what a plain list gives, and knows its own size.
func TestQueue_IsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 5).Draw(t, "start")
		q, m := newQueue(start), model{taken: start, fetched: start}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"add", "add", "lose", "plan", "take"}).Draw(t, "step") {
			case "add":
				records, end := drawRecords(t, m.fetched)
				m.records, m.fetched = append(m.records, records...), end
				q.add(end, append([]batch.Record(nil), records...))
			case "lose":
				m.fetched += rapid.Int64Range(1, 9).Draw(t, "lost")
				q.lose(m.fetched)
			case "plan":
				q.plan(rapid.Int64Range(m.taken, m.fetched+5).Draw(t, "planned"))
			case "take":
				end := rapid.Int64Range(m.taken, m.fetched).Draw(t, "taken")
				want, _ := m.between(m.taken, end)
				q.plan(end)
				sameRecords(t, q.take(end), want)
				m.taken = end
			}
			held, bytes := m.between(m.taken, m.fetched)
			if q.records != len(held) || q.bytes != bytes {
				t.Fatalf("%d records and %d bytes are counted, there are %d and %d", q.records, q.bytes, len(held), bytes)
			}
			if _, waiting := m.between(q.planned, m.fetched); q.waiting != waiting {
				t.Fatalf("%d bytes are said to wait, %d do", q.waiting, waiting)
			}
		}
	})
}

func sameRecords(t *rapid.T, got, want []batch.Record) {
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Offset != want[i].Offset {
			t.Fatalf("record %d has offset %d, want %d", i, got[i].Offset, want[i].Offset)
		}
	}
}

// A cut keeps its limits, or is one record (or a stretch without any); it counts right; it says when it is full; and something waiting always gives a cut.
func TestCut_KeepsItsLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		queues := make([]queue, rapid.IntRange(1, 5).Draw(t, "partitions"))
		models := make([]model, len(queues))
		for i := range queues {
			for range rapid.IntRange(0, 4).Draw(t, "fetches") {
				records, end := drawRecords(t, models[i].fetched)
				queues[i].add(end, append([]batch.Record(nil), records...))
				models[i].records, models[i].fetched = append(models[i].records, records...), end
			}
			queues[i].plan(rapid.Int64Range(0, models[i].fetched).Draw(t, "planned"))
		}
		maxOffsets, maxBytes := rapid.Int64Range(1, 80).Draw(t, "max offsets"), rapid.Int64Range(1, 800).Draw(t, "max bytes")
		c := cut(queues, rapid.IntRange(0, len(queues)-1).Draw(t, "turn"), maxOffsets, maxBytes)
		var offsets, bytes, left int64
		records := 0
		for i, end := range c.Ends {
			if end < queues[i].planned || end > max(queues[i].planned, models[i].fetched) {
				t.Fatalf("partition %d is cut at %d, planned up to %d and fetched up to %d", i, end, queues[i].planned, models[i].fetched)
			}
			in, n := models[i].between(queues[i].planned, end)
			offsets, bytes, records, left = offsets+end-queues[i].planned, bytes+n, records+len(in), left+models[i].fetched-end
		}
		switch {
		case c.Offsets != offsets || c.Bytes != bytes:
			t.Fatalf("%d offsets and %d bytes are %d and %d", c.Offsets, c.Bytes, offsets, bytes)
		case (offsets > maxOffsets || bytes > maxBytes) && records > 1:
			t.Fatalf("%d records, %d offsets and %d bytes, beyond %d and %d", records, offsets, bytes, maxOffsets, maxBytes)
		case left > 0 && offsets == 0:
			t.Fatalf("nothing is cut of %d offsets", left)
		case c.Full != (left > 0 || offsets >= maxOffsets || bytes >= maxBytes):
			t.Fatalf("full is %v with %d offsets left, %d offsets and %d bytes cut", c.Full, left, offsets, bytes)
		}
	})
}

// No partition starves, however large its records and however much the others have: in as many turns as there are partitions each moves.
func TestCut_StarvesNobody(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	queues := make([]queue, 4)
	for i := range queues {
		for offset := range int64(2000) {
			size := 1 + random.IntN(10)
			if i == 2 {
				size = 900 // more than a share of 1000 bytes
			}
			queues[i].add(offset+1, []batch.Record{{Offset: offset, Value: make([]byte, size)}})
		}
	}
	for turn := range 40 {
		before := queues[2].taken
		for i := range queues {
			c := cut(queues, (turn+i)%len(queues), 1000, 1000)
			for p, end := range c.Ends {
				queues[p].plan(end)
				queues[p].take(end)
			}
		}
		if queues[2].taken == before {
			t.Fatalf("after %d rounds the partition of large records stays at %d", turn, before)
		}
	}
}
