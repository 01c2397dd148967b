package state

import (
	"highwater/batch"
	"highwater/features"
	"highwater/windows"
)

// What golden and fuzz tests need of the internals.
var (
	AppendPlan     = appendPlan
	DecodePlan     = decodePlan
	DecodePosition = decodePosition
	EncodePosition = encodePosition
)

// DecodeValue decodes an entity's value by a view with one stored shape, that of m, and encode writes it again.
func DecodeValue(value []byte, m *windows.Machine) (e *batch.Entity, encode func() []byte, err error) {
	v, _ := bindView(0, &features.View{Name: "users", Machine: m, Schema: features.Schema{ID: "5c4e3a00"}}, []storedShape{{Windows: m.Shape(), Schema: "5c4e3a00"}})
	e = &batch.Entity{}
	err = decodeValue(value, v, e)
	return e, func() []byte { return appendValue(nil, v, e) }, err
}
