package windows

import (
	"fmt"
	"strconv"
	"time"
)

// Part is one piece of an entity's state, for people: what one feature holds of one stretch of event time, and what that alone comes to.
type Part struct {
	Feature string `json:"feature"`
	From    int64  `json:"from_us"` // µs; NoTime for a lifetime
	To      int64  `json:"to_us"`   // µs, exclusive; Never for a lifetime
	Holds   string `json:"holds"`
}

// Parts returns everything that e holds, feature by feature in declared order, oldest first. It is for looking, not for computing.
func (m *Machine) Parts(e *Entity) []Part {
	byFeature := make([][]Part, len(m.specs))
	for i := range m.tracks {
		tr, ts := &m.tracks[i], &e.tracks[i]
		for row, tile := range ts.index {
			for column := range tr.features {
				f := &tr.features[column]
				if p := &ts.partials[row*len(tr.features)+column]; p.n != 0 {
					byFeature[f.index] = append(byFeature[f.index], m.part(f, tr.span, tile, p))
				}
			}
		}
	}
	for i := range m.exacts {
		x, es := &m.exacts[i], &e.exacts[i]
		for j, t := range es.times {
			holds := "an event"
			if x.kind != Null {
				holds = es.args[j].String()
			}
			byFeature[x.index] = append(byFeature[x.index], Part{Feature: m.specs[x.index].Name, From: t, To: t + 1, Holds: holds})
		}
	}
	var parts []Part
	for _, ps := range byFeature {
		parts = append(parts, ps...)
	}
	return parts
}

func (m *Machine) part(f *feature, s span, tile int64, p *partial) Part {
	var acc partial
	f.aggregate.merge(&acc, p)
	v, why := f.aggregate.result(&acc)
	part := Part{Feature: m.specs[f.index].Name, From: NoTime, To: Never, Holds: v.String()}
	if s.clock != noClock {
		part.From, part.To = tile*s.width, (tile+1)*s.width
	}
	if why != sound {
		part.Holds = "null: beyond its limit, or overflowed"
	}
	return part
}

// String returns the value for people.
func (v Value) String() string {
	switch v.kind {
	case Bool:
		return strconv.FormatBool(v.Bool())
	case Int64:
		return strconv.FormatInt(v.Int(), 10)
	case Double:
		return strconv.FormatFloat(v.Double(), 'g', -1, 64)
	case String:
		return strconv.Quote(v.str)
	case Timestamp:
		return time.UnixMicro(v.Int()).UTC().Format(time.RFC3339Nano)
	case Timestamps:
		return fmt.Sprintf("%d times", len(v.str)/8)
	}
	return "null"
}
