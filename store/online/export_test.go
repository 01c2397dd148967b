package online

import (
	"time"

	"highwater/features"
)

// AppendVector is the encoder.
func AppendVector(dst []byte, v *features.Vector, task int) ([]byte, error) {
	return appendVector(dst, v, task)
}

// DecodeVector is the decoder, given the schema.
func DecodeVector(b []byte, s features.Schema) (features.StoredVector, error) {
	sh, err := newShape(s)
	if err != nil {
		return features.StoredVector{}, err
	}
	o, err := open(b)
	if err != nil {
		return features.StoredVector{}, err
	}
	return o.decode(sh)
}

// Rehash writes the right hash into a value whose payload was changed.
func Rehash(b []byte) { rehash(b) }

// SetMarkAge sets how long a cluster's task key may be used again.
func (r *Reader) SetMarkAge(d time.Duration) { r.markAge = d }

// Fail is the wording of errors.
func Fail(o Options, act string, err error) error {
	return (&link{o: o.withDefaults()}).fail(act, err)
}
