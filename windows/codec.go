package windows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The layout of an entity's bytes is in docs/format/windows.md. Times and tiles are written from new to old, each as its distance from the one before, the newest as its distance from the entity's event time:
// small numbers, so short varints. Every entity has one encoding: varints are the shortest, sets ascend, and a row has content.
const formatVersion = 1

// ErrCorrupt marks an error of Decode: the bytes are not such as Append writes.
var ErrCorrupt = errors.New("corrupt entity")

// Append appends e's bytes to dst. Decode reads them back, and refuses bytes that Append did not write.
func (m *Machine) Append(dst []byte, e *Entity) []byte {
	dst = append(dst, formatVersion)
	dst = binary.AppendVarint(dst, e.eventTime)
	for i := range m.tracks {
		dst = m.tracks[i].encode(dst, &e.tracks[i], e.eventTime)
	}
	for i := range m.exacts {
		dst = m.exacts[i].encode(dst, &e.exacts[i], e.eventTime)
	}
	return dst
}

// Decode reads the bytes of an entity of a machine of the same shape. It keeps nothing of b. The error, if any, wraps ErrCorrupt.
func (m *Machine) Decode(b []byte) (*Entity, error) {
	r := &reader{b: b}
	if v := r.byte(); v != formatVersion {
		r.fail(fmt.Sprintf("format version %d, want %d", v, formatVersion))
	}
	e := m.New()
	e.eventTime = r.varint()
	if e.eventTime != NoTime && (e.eventTime > maxTime || e.eventTime < -maxTime) {
		r.fail("an event time out of range")
	}
	for i := range m.tracks {
		m.tracks[i].decode(r, &e.tracks[i], e.eventTime)
	}
	for i := range m.exacts {
		m.exacts[i].decode(r, &e.exacts[i], e.eventTime)
	}
	if len(r.b) > 0 {
		r.fail("more bytes than an entity has")
	}
	if r.wrong != "" {
		return nil, fmt.Errorf("decode entity of %d bytes: %w: %s", len(b), ErrCorrupt, r.wrong)
	}
	return e, nil
}

func (tr *track) encode(dst []byte, ts *tiles, eventTime int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ts.index)))
	columns := len(tr.features)
	next := tr.span.tile(eventTime) + 1
	for row := len(ts.index) - 1; row >= 0; row-- {
		dst = binary.AppendUvarint(dst, uint64(next-1-ts.index[row]))
		next = ts.index[row]
		for column := range tr.features {
			if p := &ts.partials[row*columns+column]; p.n == 0 {
				dst = append(dst, 0)
			} else {
				dst = tr.features[column].aggregate.encode(dst, p, eventTime)
			}
		}
	}
	return dst
}

func (tr *track) decode(r *reader, ts *tiles, eventTime int64) {
	columns := len(tr.features)
	rows := r.length(r.count(), 1+columns)
	if rows == 0 {
		return
	}
	if eventTime == NoTime {
		r.fail("tiles without an event")
		return
	}
	// Room for one tile more: the next event's.
	ts.index = make([]int64, rows, rows+1)
	ts.partials = make([]partial, rows*columns, (rows+1)*columns)
	next := tr.span.tile(eventTime) + 1
	for row := rows - 1; row >= 0 && r.wrong == ""; row-- {
		next = r.before(next - 1)
		ts.index[row] = next
		content := false
		for column := range tr.features {
			p := &ts.partials[row*columns+column]
			if p.n = r.count(); p.n > 0 {
				tr.features[column].aggregate.decode(r, p, eventTime)
				content = true
			}
		}
		if !content {
			r.fail("a tile without content")
		}
	}
	if oldest := ts.index[0]; oldest < tr.span.tile(-maxTime) { // a lifetime has but the tile 0
		r.fail("a tile out of range")
	}
}

func (x *exact) encode(dst []byte, es *events, eventTime int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(es.times)))
	var offset int64
	for i := len(es.times) - 1; i >= 0; i-- {
		dst = binary.AppendUvarint(dst, uint64(eventTime-es.times[i]))
		eventTime = es.times[i]
		if x.kind == Null {
			continue
		}
		p := es.places[i]
		dst = binary.AppendUvarint(dst, uint64(uint32(p.partition)))
		dst = binary.AppendVarint(dst, offset-p.offset)
		offset = p.offset
		dst = appendScalar(dst, es.args[i])
	}
	return dst
}

func (x *exact) decode(r *reader, es *events, eventTime int64) {
	bytes := 1
	if x.kind != Null {
		bytes = 4
	}
	n := r.length(r.count(), bytes)
	if n == 0 {
		return
	}
	if n > x.keep || eventTime == NoTime {
		r.fail("events that cannot be")
		return
	}
	es.times = make([]int64, n)
	if x.kind != Null {
		es.places, es.args = make([]place, n), make([]Value, n)
	}
	var offset int64
	for i := n - 1; i >= 0 && r.wrong == ""; i-- {
		eventTime = r.before(eventTime)
		es.times[i] = eventTime
		if x.kind == Null {
			continue
		}
		es.places[i].partition = r.partition()
		offset -= r.varint()
		es.places[i].offset = offset
		es.args[i] = r.scalar(x.kind)
		if i+1 < n && es.key(i+1).before(es.key(i)) {
			r.fail("events out of order")
		}
	}
}

// appendScalar appends a value whose kind its reader knows.
func appendScalar(dst []byte, v Value) []byte {
	switch v.kind {
	case Bool:
		return append(dst, byte(v.num))
	case Double:
		return appendBits(dst, v.num)
	case String:
		return appendString(dst, v.str)
	}
	return binary.AppendVarint(dst, v.Int())
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendBits(dst []byte, bits uint64) []byte { return binary.LittleEndian.AppendUint64(dst, bits) }

// reader reads an entity's bytes. After the first failure, which it remembers, everything reads as zero; so its callers check no errors, but bound their loops by length.
type reader struct {
	b     []byte
	wrong string
}

func (r *reader) fail(what string) {
	if r.wrong == "" {
		r.wrong = what
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("cut short")
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most of them
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.b[n-1] == 0 { // a last byte of 0 says nothing: the same number has a shorter form
		r.fail("a varint that is cut short or too long")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads a number that is not negative.
func (r *reader) count() int64 {
	u := r.uvarint()
	if u > math.MaxInt64 {
		r.fail("a count beyond 63 bits")
		return 0
	}
	return int64(u)
}

// length checks that n things of at least size bytes each can follow, so that no hostile length allocates more than a small multiple of the bytes there are.
func (r *reader) length(n int64, size int) int {
	if n < 0 || n > int64(len(r.b)/size) {
		r.fail("a length beyond the end")
		return 0
	}
	return int(n)
}

// flag checks that p.n is the 1 of an aggregate that keeps no number.
func (r *reader) flag(p *partial) {
	if p.n != 1 {
		r.fail("a flag that is not 1")
	}
}

// before reads a distance, and returns what lies so far before base.
func (r *reader) before(base int64) int64 {
	d := r.uvarint()
	if d > 2*maxTime || base-int64(d) < -maxTime {
		r.fail("a time out of range")
		return base
	}
	return base - int64(d)
}

// bits reads the bits of a double; of the NaNs only math.NaN's.
func (r *reader) bits() uint64 {
	if len(r.b) < 8 {
		r.fail("cut short")
		return 0
	}
	u := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	if doubleBits(math.Float64frombits(u)) != u {
		r.fail("an unknown NaN")
	}
	return u
}

func (r *reader) text() string {
	n := r.length(r.count(), 1)
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// scalar reads a value of that kind.
func (r *reader) scalar(kind Kind) Value {
	v := Value{kind: kind}
	switch kind {
	case Bool:
		if v.num = uint64(r.byte()); v.num > 1 {
			r.fail("a bool beyond 1")
		}
	case Double:
		if v.num = r.bits(); DoubleOf(v.Double()).IsNull() {
			r.fail("a double that is not finite")
		}
	case String:
		v.str = r.text()
	default:
		v.num = uint64(r.varint())
	}
	return v
}
