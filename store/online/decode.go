package online

import (
	"errors"
	"fmt"
	"strconv"

	"highwater/features"
	"highwater/windows"

	"github.com/cespare/xxhash/v2"
	"github.com/tinylib/msgp/msgp"
)

// shape is a schema with its kinds looked up.
type shape struct {
	features.Schema
	kinds []windows.Kind
}

// newShape resolves the names of a schema's kinds.
func newShape(s features.Schema) (*shape, error) {
	sh := &shape{Schema: s, kinds: make([]windows.Kind, len(s.Features))}
	for i, f := range s.Features {
		for k := windows.Bool; k <= windows.Timestamps; k++ {
			if k.String() == f.Kind {
				sh.kinds[i] = k
			}
		}
		if sh.kinds[i] == windows.Null {
			return nil, fmt.Errorf("schema %s: feature %s is of the kind %q, which this version does not know; was it written by a newer one?", s.ID, f.Name, f.Kind)
		}
	}
	return sh, nil
}

// opened is a stored value read up to its features, which take their schema to read.
type opened struct {
	vector features.StoredVector // without Values, and of Schema only the id
	values []byte                // MessagePack
	count  int                   // how many values there are
}

// open checks a stored value's header and hash, and reads all that needs no schema.
func open(b []byte) (opened, error) {
	var o opened
	if len(b) <= payloadStart {
		return o, fmt.Errorf("%d bytes are fewer than a vector has", len(b))
	}
	version, err := parseVersion(b[:taskStart])
	if err != nil {
		return o, err
	}
	task, err := parseDigits(b[taskStart:hashStart])
	if err != nil {
		return o, fmt.Errorf("task: %w", err)
	}
	var sum [hashLen]byte
	if putHash(sum[:], xxhash.Sum64(b[payloadStart:])); string(sum[:]) != string(b[hashStart:payloadStart]) {
		return o, fmt.Errorf("its hash is stored as %q and is %q", b[hashStart:payloadStart], sum[:])
	}
	o.vector = features.StoredVector{Found: true, Version: version, Task: int(task)}
	if err := o.openPayload(b[payloadStart:]); err != nil {
		return opened{}, fmt.Errorf("payload: %w", err)
	}
	return o, nil
}

func (o *opened) openPayload(b []byte) error {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return err
	}
	if n < fixedFields {
		return fmt.Errorf("%d fields, where a vector has at least %d", n, fixedFields)
	}
	var kind int64
	v := &o.vector
	for _, read := range []func() error{
		func() error { v.SchemaID, b, err = msgp.ReadStringBytes(b); return err },
		func() error { kind, b, err = msgp.ReadInt64Bytes(b); return err },
		func() error { v.Frontier, b, err = msgp.ReadInt64Bytes(b); return err },
		func() error { v.EventTime, b, err = msgp.ReadInt64Bytes(b); return err },
	} {
		if err := read(); err != nil {
			return err
		}
	}
	o.values, o.count, v.Tombstone = b, int(n)-fixedFields, kind == kindTombstone
	switch {
	case kind != kindLive && kind != kindTombstone:
		return fmt.Errorf("kind %d is neither live nor a tombstone", kind)
	case v.Tombstone && (o.count != 0 || len(b) != 0):
		return errors.New("a tombstone has no features")
	}
	return nil
}

// decode reads the values by their schema, and returns the whole vector.
func (o *opened) decode(sh *shape) (features.StoredVector, error) {
	v := o.vector
	v.Schema = sh.Schema
	if v.Tombstone {
		return v, nil
	}
	if o.count != len(sh.kinds) {
		return features.StoredVector{}, fmt.Errorf("%d values, where schema %s has %d features", o.count, sh.ID, len(sh.kinds))
	}
	v.Values = make([]windows.Value, o.count)
	b := o.values
	var err error
	for i, kind := range sh.kinds {
		if v.Values[i], b, err = readValue(b, kind); err != nil {
			return features.StoredVector{}, fmt.Errorf("feature %s: %w", sh.Features[i].Name, err)
		}
	}
	if len(b) != 0 {
		return features.StoredVector{}, fmt.Errorf("%d bytes after its last feature", len(b))
	}
	return v, nil
}

// readValue reads one value of that kind, or null.
func readValue(b []byte, kind windows.Kind) (windows.Value, []byte, error) {
	if msgp.IsNil(b) {
		return windows.Value{}, b[1:], nil
	}
	switch kind {
	case windows.Bool:
		x, rest, err := msgp.ReadBoolBytes(b)
		return windows.BoolOf(x), rest, err
	case windows.Int64:
		x, rest, err := msgp.ReadInt64Bytes(b)
		return windows.IntOf(x), rest, err
	case windows.Timestamp:
		x, rest, err := msgp.ReadInt64Bytes(b)
		return windows.TimeOf(x), rest, err
	case windows.Double:
		return readDouble(b)
	case windows.String:
		x, rest, err := msgp.ReadStringBytes(b)
		return windows.StringOf(x), rest, err
	default:
		return readTimes(b)
	}
}

func readDouble(b []byte) (windows.Value, []byte, error) {
	if msgp.NextType(b) != msgp.Float64Type {
		return windows.Value{}, b, errors.New("not a double")
	}
	x, rest, err := msgp.ReadFloat64Bytes(b)
	v := windows.DoubleOf(x)
	if err == nil && v.IsNull() {
		err = fmt.Errorf("%v is no value", x)
	}
	return v, rest, err
}

func readTimes(b []byte) (windows.Value, []byte, error) {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return windows.Value{}, b, err
	}
	if int64(n) > int64(len(b)) { // each takes a byte at least: do not allocate what cannot be there
		return windows.Value{}, b, fmt.Errorf("%d timestamps in %d bytes", n, len(b))
	}
	times := make([]int64, n)
	for i := range times {
		if times[i], b, err = msgp.ReadInt64Bytes(b); err != nil {
			return windows.Value{}, b, err
		}
		if i > 0 && times[i] < times[i-1] {
			return windows.Value{}, b, errors.New("timestamps do not ascend")
		}
	}
	return windows.TimesOf(times), b, nil
}

func parseVersion(b []byte) (features.Version, error) {
	generation, err := parseDigits(b[:5])
	if err != nil {
		return features.Version{}, fmt.Errorf("generation: %w", err)
	}
	sequence, err := parseDigits(b[5:])
	if err != nil {
		return features.Version{}, fmt.Errorf("sequence: %w", err)
	}
	return features.Version{Generation: uint32(generation), Sequence: sequence}, nil
}

// parseDigits reads decimal digits and nothing else: no sign, no space.
func parseDigits(b []byte) (uint64, error) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not %d digits", b, len(b))
		}
	}
	return strconv.ParseUint(string(b), 10, 64)
}
