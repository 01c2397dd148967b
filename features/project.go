package features

import (
	"time"

	"highwater/windows"
)

// Project is a whole definitions file, checked and compiled: every name is resolved, every expression typed. It is immutable.
type Project struct {
	Name     string
	Clock    Clock
	Batch    BatchLimits
	Entities []*Entity  // as declared
	Sources  []*Source  // as declared
	Views    []*View    // as declared
	Services []*Service // as declared
	Text     string     // the file, as it was read
	Hash     string     // 16 hex digits of the text's SHA-256: what plans name it by
}

// Clock says what moves the frontier.
type Clock string

// The clocks.
const (
	WallClock  Clock = "wall"  // events, and the clock reading of each plan marked caught up
	EventClock Clock = "event" // events alone
)

// BatchLimits is when a batch is cut: at whichever limit comes first.
type BatchLimits struct {
	Interval   time.Duration
	MaxRecords int64
	MaxBytes   int64
}

// Entity is what features describe.
type Entity struct {
	Name     string
	JoinKeys []JoinKey // one or several, in declared order
}

// JoinKey is a field that names an entity.
type JoinKey struct {
	Name string
	Kind windows.Kind // String or Int64
}

// Source is one stream of events.
type Source struct {
	Name           string
	Topic          string
	DeadLetter     string // topic; "" for none
	Format         Format
	Timestamp      Timestamp
	Key            string // the field that the topic is partitioned by; "" where not known
	MaxLateness    time.Duration
	MaxFuture      time.Duration
	IdleAfter      time.Duration
	MaxRecordBytes int
	Fields         []Field // as declared; does not contain the timestamp field unless that is declared too
}

// Format is how a record's value is encoded.
type Format string

// The formats.
const (
	JSON Format = "json" // one object
	CSV  Format = "csv"  // one RFC 4180 row, its cells in the order of those Source.Fields that are read from the value
)

// Timestamp says where an event's time stands. The zero Timestamp means the record's own.
type Timestamp struct {
	Field string
	Unit  Unit
}

// Unit is the unit of a timestamp field.
type Unit string

// The units; finer than a microsecond is rounded down to one.
const (
	Seconds      Unit = "s"
	Milliseconds Unit = "ms"
	Microseconds Unit = "us"
	Nanoseconds  Unit = "ns"
	RFC3339      Unit = "rfc3339"
)

// Field is a declared field of a source.
type Field struct {
	Name   string
	Kind   windows.Kind
	From   Origin
	Header string // the header's name, where From is FromHeader; else ""
}

// Origin says which part of a record a field is read from. "" is FromValue.
type Origin string

// The origins.
const (
	FromValue  Origin = "value"
	FromKey    Origin = "key"    // all of the record's key
	FromHeader Origin = "header" // all of one header's value; of several headers of one name, the last one's
)

// InValue reports whether f is a part of the record's value.
func (f Field) InValue() bool { return f.From != FromKey && f.From != FromHeader }

// Place returns where f stands in a record, for messages: "the record's value", "the record's key" or "header NAME".
func (f Field) Place() string {
	switch f.From {
	case FromKey:
		return "the record's key"
	case FromHeader:
		return "header " + f.Header
	}
	return "the record's value"
}

// View is the features of one entity over one source.
type View struct {
	Name     string
	Source   *Source
	Entity   *Entity
	Where    Expression    // over the source's fields, Bool; nil for none
	TTL      time.Duration // 0 for none
	Features []*Feature    // as declared
	Keys     []int         // by join key: its index among Source.Fields
	Columns  []int         // the fields that aggregates take, as indexes into Source.Fields; windows.Spec.Arg is an index into Columns
	Machine  *windows.Machine
	Schema   Schema

	where string // Where in canonical spelling, "" for none
}

// Feature is one named value of a view.
type Feature struct {
	Name  string
	Kind  windows.Kind // what it holds when not null
	Where Expression   // over the source's fields, Bool; nil for none
	Spec  windows.Spec

	of, where, expression string // as the file has them, expressions in canonical spelling; "" for none
}

// Expression computes a value from a row (a source's fields, or a view's features), nil-safe, without allocation; safe for concurrent use.
type Expression func(row []windows.Value) windows.Value

// Schema is the shape of a view's stored vectors.
type Schema struct {
	ID       string          `json:"id"` // 8 hex digits, a hash of the rest: equal shapes have equal ids
	Features []SchemaFeature `json:"features"`
}

// SchemaFeature is one feature's name and kind, in declared order.
type SchemaFeature struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // windows.Kind's name
}

// Service is a named list of features across views: what one model asks for.
type Service struct {
	Name     string
	Features []Reference // views expanded, in order
}

// Reference is one feature of one view.
type Reference struct {
	View    *View
	Feature int // index in View.Features
}
