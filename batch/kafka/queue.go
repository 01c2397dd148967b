package kafka

import (
	"sort"

	"highwater/batch"
)

// A fetch smaller than this is appended to the chunk before it, so that a trickle of small fetches stays cheap to cut.
const (
	smallChunkRecords = 4096
	recordOverhead    = 64 // bytes of a batch.Record beside its key and value
)

// chunk is a stretch of a partition as fetched: offsets [start, end), of which some may have no record.
type chunk struct {
	start, end int64
	records    []batch.Record
	bytes      int64 // of the records' keys, values and headers
	lost       bool  // nothing is here but what retention took, and AcceptLoss let go: taken in one piece, whatever the limits
}

// queue holds what has been fetched of one partition and not taken. See the package's words for its three offsets.
type queue struct {
	chunks                  []chunk // without gaps, from taken to fetched
	taken, planned, fetched int64
	records                 int
	bytes                   int64
	waiting                 int64 // bytes of the records at or beyond planned
}

func newQueue(next int64) queue { return queue{taken: next, planned: next, fetched: next} }

// memory is what the queue holds in bytes, roughly.
func (q *queue) memory() int64 { return q.bytes + int64(q.records)*recordOverhead }

// unplanned is how many offsets Cut may propose.
func (q *queue) unplanned() int64 { return max(0, q.fetched-q.planned) }

// add appends what was fetched up to end: records ascend, and none lies below fetched.
func (q *queue) add(end int64, records []batch.Record) {
	var n, waiting int64
	for i := range records {
		size := sizeOf(&records[i])
		n += size
		if records[i].Offset >= q.planned {
			waiting += size
		}
	}
	if last := len(q.chunks) - 1; last >= 0 && !q.chunks[last].lost && len(q.chunks[last].records)+len(records) <= smallChunkRecords {
		c := &q.chunks[last]
		c.records, c.bytes, c.end = append(c.records, records...), c.bytes+n, end
	} else {
		q.chunks = append(q.chunks, chunk{start: q.fetched, end: end, records: records, bytes: n})
	}
	q.fetched, q.records, q.bytes, q.waiting = end, q.records+len(records), q.bytes+n, q.waiting+waiting
}

// lose passes over offsets that the broker no longer has.
func (q *queue) lose(end int64) {
	q.chunks = append(q.chunks, chunk{start: q.fetched, end: end, lost: true})
	q.fetched = end
}

// plan moves planned up to end, which may lie beyond what has been fetched.
func (q *queue) plan(end int64) {
	if end <= q.planned {
		return
	}
	q.waiting -= q.between(q.planned, end)
	q.planned = end
}

// between returns the bytes of the records with offsets in [from, to).
func (q *queue) between(from, to int64) int64 {
	var n int64
	for i := range q.chunks {
		c := &q.chunks[i]
		switch {
		case c.end <= from:
		case c.start >= to:
			return n
		case from <= c.start && c.end <= to:
			n += c.bytes
		default:
			n += sizeOfAll(c.records[c.index(from):c.index(to)])
		}
	}
	return n
}

// take hands out the records up to end, which has been fetched, and forgets them. It copies nothing where they lie in one chunk.
func (q *queue) take(end int64) []batch.Record {
	var parts [][]batch.Record
	n := 0
	for len(q.chunks) > 0 && q.taken < end {
		part, bytes, whole := q.chunks[0].split(end)
		if len(part) > 0 {
			parts, n = append(parts, part), n+len(part)
		}
		q.bytes -= bytes
		q.taken = min(end, q.chunks[0].end)
		if whole {
			q.chunks[0] = chunk{} // the array behind chunks must not keep it alive
			q.chunks = q.chunks[1:]
		}
	}
	if len(q.chunks) == 0 {
		q.chunks = nil
	}
	q.records -= n
	return join(parts, n)
}

// split takes the records below end off the chunk's front; whole says that nothing is left of it.
func (c *chunk) split(end int64) (front []batch.Record, bytes int64, whole bool) {
	if end >= c.end {
		return c.records[:len(c.records):len(c.records)], c.bytes, true
	}
	i := c.index(end)
	front = c.records[:i:i]
	bytes = sizeOfAll(front)
	c.records, c.bytes, c.start = c.records[i:], c.bytes-bytes, end
	return front, bytes, false
}

// index is that of the first record at or beyond offset.
func (c *chunk) index(offset int64) int {
	return sort.Search(len(c.records), func(i int) bool { return c.records[i].Offset >= offset })
}

func join(parts [][]batch.Record, n int) []batch.Record {
	if len(parts) == 1 {
		return parts[0]
	}
	if n == 0 {
		return nil
	}
	all := make([]batch.Record, 0, n)
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

func sizeOf(r *batch.Record) int64 { return int64(len(r.Key)+len(r.Value)) + sizeOfHeaders(r.Headers) }

func sizeOfHeaders(headers []batch.Header) int64 {
	var n int64
	for i := range headers {
		n += int64(len(headers[i].Key) + len(headers[i].Value))
	}
	return n
}

func sizeOfAll(records []batch.Record) int64 {
	var n int64
	for i := range records {
		n += sizeOf(&records[i])
	}
	return n
}
