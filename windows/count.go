package windows

import "encoding/binary"

var countInfo = Info{
	Name:     "count",
	Summary:  "how many events there are; of a field: how many where it is not null",
	Argument: ArgumentOptional,
	Inputs:   []Kind{Bool, Int64, Double, String, Timestamp},
	output:   always(Int64),
	build:    func(Kind, int) aggregate { return count{} },
}

// count keeps the number of events in n.
type count struct{}

func (count) add(p *partial, _ Value, _ eventKey) { p.n++ }

func (count) merge(p, q *partial) { p.n += q.n }

func (count) result(p *partial) (Value, fault) { return IntOf(p.n), sound }

func (count) encode(dst []byte, p *partial, _ int64) []byte {
	return binary.AppendUvarint(dst, uint64(p.n))
}

func (count) decode(*reader, *partial, int64) {}
