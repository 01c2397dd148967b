package kafka

import (
	"sort"

	"highwater/batch"
)

// cut proposes the next plan's ends. turn names the partition that comes first this time.
//
// Where everything waiting fits, that is the answer. Otherwise the limits are shared out in rounds: every partition with records waiting may use an equal share of what is left of either limit, and what one does not use is
// shared again, so that a partition with little waiting gives the rest to those with much. The partition whose turn it is gets one record before all else, whatever its size: so a record beyond the limits makes a
// cut of its own sooner or later, and a partition of large records, none of which fits a share, is not starved by one of small records.
func cut(queues []queue, turn int, maxOffsets, maxBytes int64) batch.Cut {
	maxOffsets, maxBytes = max(1, maxOffsets), max(1, maxBytes)
	all := everything(queues)
	if all.Offsets <= maxOffsets && all.Bytes <= maxBytes {
		all.Full = all.Offsets == maxOffsets || all.Bytes == maxBytes
		return all
	}
	active := make([]*cursor, 0, len(queues))
	for i := range queues {
		partition := (turn + i) % len(queues)
		if q := &queues[partition]; q.unplanned() > 0 {
			active = append(active, q.cursor(partition))
		}
	}
	c := batch.Cut{Ends: all.Ends, Full: true}
	c.Offsets, c.Bytes = share(active, maxOffsets, maxBytes)
	for _, a := range active {
		c.Ends[a.partition] = a.at
	}
	return c
}

// everything is the cut of all that waits.
func everything(queues []queue) batch.Cut {
	c := batch.Cut{Ends: make([]int64, len(queues))}
	for i := range queues {
		q := &queues[i]
		c.Ends[i] = max(q.planned, q.fetched)
		c.Offsets += q.unplanned()
		c.Bytes += q.waiting
	}
	return c
}

// share moves the cursors forward until a limit is reached, and returns by how much.
func share(cursors []*cursor, maxOffsets, maxBytes int64) (offsets, bytes int64) {
	offsets, bytes = cursors[0].one()
	active := make([]*cursor, len(cursors))
	copy(active, cursors)
	for len(active) > 0 && offsets < maxOffsets && bytes < maxBytes {
		n := int64(len(active))
		byOffsets, byBytes := max(1, (maxOffsets-offsets)/n), (maxBytes-bytes)/n
		moved := active[:0]
		for _, c := range active {
			o, b := c.advance(min(byOffsets, maxOffsets-offsets), byBytes)
			offsets, bytes = offsets+o, bytes+b
			if o > 0 && !c.done() {
				moved = append(moved, c)
			}
		}
		active = moved
	}
	for _, c := range cursors { // what is left fits no equal share; it may fit someone's next record
		if offsets < maxOffsets && bytes < maxBytes {
			o, b := c.advance(maxOffsets-offsets, maxBytes-bytes)
			offsets, bytes = offsets+o, bytes+b
		}
	}
	return offsets, bytes
}

// cursor walks a queue's unplanned offsets.
type cursor struct {
	queue         *queue
	partition     int
	chunk, record int   // the next record
	at            int64 // the offset it has come to
	bytes         int64 // of the records it has passed
}

func (q *queue) cursor(partition int) *cursor {
	c := &cursor{queue: q, partition: partition, at: q.planned}
	c.chunk = sort.Search(len(q.chunks), func(i int) bool { return q.chunks[i].end > c.at })
	if !c.done() {
		c.record = q.chunks[c.chunk].index(c.at)
	}
	return c
}

func (c *cursor) done() bool { return c.chunk == len(c.queue.chunks) }

// advance passes as many offsets, and as many bytes of records, as the limits let it, and returns how many that were. A lost stretch counts as offsets, but no limit stops at it.
func (c *cursor) advance(maxOffsets, maxBytes int64) (offsets, bytes int64) {
	from, before := c.at, c.bytes
	limit, most := c.at+maxOffsets, c.bytes+maxBytes
	for !c.done() {
		ch := &c.queue.chunks[c.chunk]
		switch {
		case ch.lost:
			limit += ch.end - c.at
		case c.record == 0 && ch.end <= limit && c.bytes+ch.bytes <= most:
			c.bytes += ch.bytes
		default:
			if !c.within(ch, limit, most) {
				return c.at - from, c.bytes - before
			}
		}
		c.at, c.chunk, c.record = ch.end, c.chunk+1, 0
	}
	return c.at - from, c.bytes - before
}

// within passes the records of one chunk, and reports whether it came to the chunk's end.
func (c *cursor) within(ch *chunk, limit, most int64) bool {
	for ; c.record < len(ch.records); c.record++ {
		r := &ch.records[c.record]
		if r.Offset >= limit || c.bytes+sizeOf(r) > most {
			c.at = max(c.at, min(r.Offset, limit))
			return false
		}
		c.bytes += sizeOf(r)
		c.at = r.Offset + 1
	}
	c.at = max(c.at, min(ch.end, limit))
	return c.at == ch.end
}

// one passes everything up to and with the next record, whatever its size, or to the end where there is none.
func (c *cursor) one() (offsets, bytes int64) {
	from := c.at
	for !c.done() {
		ch := &c.queue.chunks[c.chunk]
		if c.record < len(ch.records) {
			r := &ch.records[c.record]
			c.record, c.at, c.bytes = c.record+1, r.Offset+1, c.bytes+sizeOf(r)
			return c.at - from, sizeOf(r)
		}
		c.at, c.chunk, c.record = ch.end, c.chunk+1, 0
	}
	return c.at - from, 0
}
