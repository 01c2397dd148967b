package features

import (
	"time"

	"github.com/goccy/go-yaml/ast"

	"highwater/windows"
)

// The structs of this file hold what a definitions file says and where, before any name in it has been given its meaning. keys.go fills them.

// located is a value of the file.
type located[T any] struct {
	value T
	at    position // of the value; of the mapping that lacks it where it is not given
	given bool     // the key stands in the file
	ok    bool     // value can be used: it was given and is right, or it is the default
}

// named is one entry of a mapping whose keys are names.
type named[T any] struct {
	name  string
	at    position // of the name
	value T
	ok    bool // value can be used
}

type projectText struct {
	name     located[string]
	clock    located[Clock]
	batch    located[batchText]
	entities located[[]named[entityText]]
	sources  located[[]named[sourceText]]
	views    located[[]named[viewText]]
	services located[[]named[[]located[string]]]
}

type batchText struct {
	interval   located[time.Duration]
	maxRecords located[int64]
	maxBytes   located[int64]
}

type entityText struct {
	joinKey  located[string]
	kind     located[windows.Kind]
	joinKeys located[[]named[windows.Kind]]
}

type sourceText struct {
	kafka          located[kafkaText]
	format         located[Format]
	timestamp      located[timestampText]
	key            located[string]
	maxLateness    located[time.Duration]
	maxFuture      located[time.Duration]
	idleAfter      located[time.Duration]
	maxRecordBytes located[int64]
	fields         located[[]named[fieldText]]
}

// fieldText is user_id: string, or user_id: {type: string, from: key}.
type fieldText struct {
	kind located[windows.Kind]
	from located[Origin]
	name located[string]
}

type kafkaText struct {
	topic      located[string]
	deadLetter located[string]
}

type timestampText struct {
	field located[string]
	unit  located[Unit]
}

type viewText struct {
	source   located[string]
	entity   located[string]
	where    located[formula]
	ttl      located[time.Duration]
	features located[[]named[featureText]]
}

type featureText struct {
	aggregate  located[string]
	of         located[string]
	where      located[formula]
	window     located[windowText]
	resolution located[resolutionText]
	emit       located[string]
	limit      located[int64]
	expression located[formula]
}

// formula is an expression's text, and the node it stands in: an expression's own mistakes are placed within it.
type formula struct {
	text string
	node ast.Node
}

// windowText is window: 30m, or window: {tumbling: 1h}.
type windowText struct {
	length   time.Duration
	tumbling bool
}

// resolutionText is resolution: 5s, or resolution: exact.
type resolutionText struct {
	length time.Duration
	exact  bool
}
