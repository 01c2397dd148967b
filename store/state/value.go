package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// An entity's value (docs/format/state.md): a header, then what windows.Machine.Append wrote, to the end.
//
//	format     1 byte
//	flags      1 byte
//	shape      uvarint, the number of the view's shape that wrote the windows
//	published  generation uvarint, sequence uvarint, frontier varint, watermark varint, schema        (if flagged)
//	until      varint                                                                                (if flagged)
//	timers     varint, by clock                                                                      (those flagged)
//
// Watermark, until and timers are written as differences from the frontier, which makes them short; the differences wrap around, so that every int64 survives.
// schema is 0 and a text (uvarint length, bytes), or 1 + the number of the view's shape that has it.
const (
	valueFormat = 1

	flagPublished = 1 << 0
	flagTombstone = 1 << 1
	flagUntil     = 1 << 2
	flagTimer     = 1 << 3 // shifted by the clock
	flagsKnown    = flagTimer<<batch.TimerClocks - 1
)

var (
	errShort = errors.New("it ends too soon")
	errOdd   = errors.New("it is not as it would have been written") // every value has one encoding: what has another was not written by us, or is damaged
)

// appendValue appends an entity's value to dst.
func appendValue(dst []byte, v *view, e *batch.Entity) []byte {
	p := &e.Published
	at := len(dst)
	dst = append(dst, valueFormat, 0)
	dst = binary.AppendUvarint(dst, uint64(v.current()))
	var flags byte
	if *p != (batch.Published{}) {
		flags |= flagPublished
		dst = binary.AppendUvarint(dst, uint64(p.Version.Generation))
		dst = binary.AppendUvarint(dst, p.Version.Sequence)
		dst = binary.AppendVarint(dst, p.Frontier)
		dst = binary.AppendVarint(dst, p.Watermark-p.Frontier)
		dst = appendSchema(dst, v, p.Schema)
	}
	if p.Tombstone {
		flags |= flagTombstone
	}
	if p.Until != 0 {
		flags |= flagUntil
		dst = binary.AppendVarint(dst, p.Until-p.Frontier)
	}
	for clock, timer := range e.Timers {
		if timer != windows.Never {
			flags |= flagTimer << clock
			dst = binary.AppendVarint(dst, timer-p.Frontier)
		}
	}
	dst[at+1] = flags
	return v.machine.Append(dst, e.Windows)
}

func appendSchema(dst []byte, v *view, schema string) []byte {
	for number := v.current(); number >= 0; number-- {
		if v.shapes[number].Schema == schema {
			return binary.AppendUvarint(dst, uint64(number)+1)
		}
	}
	dst = binary.AppendUvarint(dst, 0)
	dst = binary.AppendUvarint(dst, uint64(len(schema)))
	return append(dst, schema...)
}

// decodeValue reads what appendValue wrote into e, its windows carried over to the current shape; e shares nothing with value.
func decodeValue(value []byte, v *view, e *batch.Entity) error {
	r := reader{b: value}
	if format := r.byte(); format != valueFormat {
		return r.errorOr(fmt.Errorf("format %d is not known", format))
	}
	flags := r.byte()
	if flags&^flagsKnown != 0 {
		return fmt.Errorf("flags %08b are not known", flags)
	}
	number := r.uvarint()
	if number >= uint64(len(v.shapes)) {
		return r.errorOr(fmt.Errorf("shape %d is not known", number))
	}
	if err := r.published(flags, v, &e.Published); err != nil {
		return err
	}
	for clock := range e.Timers {
		e.Timers[clock] = windows.Never
		if flags&(flagTimer<<clock) != 0 {
			e.Timers[clock] = r.varint() + e.Published.Frontier
			r.refuse(e.Timers[clock] == windows.Never)
		}
	}
	if r.err != nil {
		return r.err
	}
	var err error
	e.Windows, err = v.carry(int(number), r.b)
	return err
}

func (r *reader) published(flags byte, v *view, p *batch.Published) error {
	*p = batch.Published{Tombstone: flags&flagTombstone != 0}
	if flags&flagPublished != 0 {
		p.Version = features.Version{Generation: r.uint32(), Sequence: r.uvarint()}
		p.Frontier = r.varint()
		p.Watermark = r.varint() + p.Frontier
		n := r.uvarint()
		switch {
		case n == 0:
			p.Schema = r.text()
		case n <= uint64(len(v.shapes)):
			p.Schema = v.shapes[n-1].Schema
		default:
			return r.errorOr(fmt.Errorf("schema %d is not known", n-1))
		}
	}
	if flags&flagUntil != 0 {
		p.Until = r.varint() + p.Frontier
		r.refuse(p.Until == 0)
	}
	r.refuse((flags&flagPublished == 0) != (*p == batch.Published{}))
	return r.err
}

// carry decodes windows that shape number wrote, and carries them through the shapes since.
func (v *view) carry(number int, b []byte) (*windows.Entity, error) {
	from := v.shapes[number]
	w, err := from.machine.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("windows of shape %d: %w", number, err)
	}
	for _, to := range v.shapes[number+1:] {
		if to.Windows != from.Windows {
			w = to.machine.Upgrade(from.machine, w)
		}
		from = to
	}
	return w, nil
}

// reader takes fields off the front of b; after the first that is not whole it returns zeros, and err says so.
type reader struct {
	b   []byte
	err error
}

func (r *reader) errorOr(err error) error {
	if r.err != nil {
		return r.err
	}
	return err
}

// refuse makes an error of what the encoder would not have written.
func (r *reader) refuse(odd bool) {
	if odd && r.err == nil {
		r.b, r.err = nil, errOdd
	}
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.err = r.errorOr(errShort)
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.err = nil, r.errorOr(errShort)
		return 0
	}
	odd := n > 1 && r.b[n-1] == 0 // longer than it need be
	r.b = r.b[n:]
	r.refuse(odd)
	return x
}

func (r *reader) uint32() uint32 {
	x := r.uvarint()
	r.refuse(x > math.MaxUint32)
	return uint32(x)
}

func (r *reader) int32() int32 {
	x := r.varint()
	r.refuse(x != int64(int32(x)))
	return int32(x)
}

func (r *reader) varint() int64 {
	x := r.uvarint()
	return int64(x>>1) ^ -int64(x&1) // as encoding/binary has it
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.b, r.err = nil, r.errorOr(errShort)
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
