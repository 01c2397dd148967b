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
)

// DecodeValue decodes an entity's value by a view with one stored shape, that of m.
func DecodeValue(value []byte, m *windows.Machine) (*batch.Entity, error) {
	v, _ := bindView(0, &features.View{Name: "users", Machine: m}, []storedShape{{Windows: m.Shape()}})
	e := &batch.Entity{}
	return e, decodeValue(value, v, e)
}
