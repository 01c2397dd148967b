package features

import (
	"math"
	"time"

	"github.com/goccy/go-yaml/ast"

	"highwater/windows"
)

// This file is the table of keys: what may stand in a definitions file, what it means, and what it is where it is left out. Decoding, suggestions, the JSON Schema and the reference page all come from it.

const (
	maxLimit = 1_000_000
)

func projectShape() shape[projectText] {
	type o = projectText
	clock := func(p *o) *located[Clock] { return &p.clock }
	return mapping(object{name: "project", doc: "The whole file."}, []key[o]{
		keyOf("project", matching("a name: lower-case letters, digits and _, a letter first", namePattern),
			func(p *o) *located[string] { return &p.name },
			"The project's name. It begins every key in the online store.").must(),
		falls(keyOf("clock", oneOf("clock", WallClock, EventClock), clock,
			"What moves the frontier, the instant as of which sliding features hold: `wall`: events and, once caught up, the clock, for live streams; `event`: events alone, for history, demos and tests."),
			"wall", clock, WallClock),
		keyOf("batch", batchShape(), func(p *o) *located[batchText] { return &p.batch },
			"When a batch is cut: at whichever limit comes first."),
		keyOf("entities", byName("entity", plainNames(), entityShape()), func(p *o) *located[[]named[entityText]] { return &p.entities },
			"What features describe.").must(),
		keyOf("sources", byName("source", plainNames(), sourceShape()), func(p *o) *located[[]named[sourceText]] { return &p.sources },
			"The streams of events.").must(),
		keyOf("feature_views", byName("feature view", plainNames(), viewShape()), func(p *o) *located[[]named[viewText]] { return &p.views },
			"The features of one entity over one source: one stored vector per view and entity.").must(),
		keyOf("feature_services", byName("feature service", plainNames(), listOf("view", memberShape())),
			func(p *o) *located[[]named[[]located[string]]] { return &p.services },
			"Named lists of features across views: what one model asks for. An item is a `view`, for all of its features, or a `view:feature`, in quotes within brackets. No feature stands in a service twice."),
	})
}

func memberShape() shape[string] {
	return matching("a view or view:feature", memberPattern)
}

func batchShape() shape[batchText] {
	type o = batchText
	interval := func(b *o) *located[time.Duration] { return &b.interval }
	records := func(b *o) *located[int64] { return &b.maxRecords }
	size := func(b *o) *located[int64] { return &b.maxBytes }
	return mapping(object{name: "batch", path: "batch", doc: "When a batch is cut: at whichever limit comes first."}, []key[o]{
		falls(keyOf("interval", duration("5s", true), interval, "The longest that events wait for their batch."), "5s", interval, 5*time.Second),
		falls(keyOf("max_records", count(1, math.MaxInt64), records, "How many offsets a batch covers at most."), "100000", records, 100_000),
		falls(keyOf("max_bytes", bytesOf(1<<40), size, "How many bytes of records a batch covers at most; one record at least, whatever its size."), "64 MiB", size, 64<<20),
	})
}

func entityShape() shape[entityText] {
	type o = entityText
	kind := kinds(windows.String, windows.Int64)
	return mapping(object{
		name: "entity", path: "entities.E",
		doc: "What features describe. It has one join key (`join_key` and `type`) or several (`join_keys`). A join key is a field of the source's, of the same type; an event in which one is absent, null or empty does not enter the view.",
		rules: map[string]any{"oneOf": []any{
			map[string]any{"required": []any{"join_key", "type"}, "not": map[string]any{"required": []any{"join_keys"}}},
			map[string]any{"required": []any{"join_keys"}, "not": map[string]any{"anyOf": []any{map[string]any{"required": []any{"join_key"}}, map[string]any{"required": []any{"type"}}}}},
		}},
	}, []key[o]{
		keyOf("join_key", matching("a field's name", fieldPattern), func(e *o) *located[string] { return &e.joinKey }, "The field that names the entity."),
		keyOf("type", kind, func(e *o) *located[windows.Kind] { return &e.kind }, "The join key's type."),
		keyOf("join_keys", byName("join key", fieldNames(), kind), func(e *o) *located[[]named[windows.Kind]] { return &e.joinKeys },
			"Several fields that name the entity together, each with its type, in the order in which they stand in URLs."),
	})
}

func sourceShape() shape[sourceText] {
	type o = sourceText
	format := func(s *o) *located[Format] { return &s.format }
	lateness := func(s *o) *located[time.Duration] { return &s.maxLateness }
	future := func(s *o) *located[time.Duration] { return &s.maxFuture }
	idle := func(s *o) *located[time.Duration] { return &s.idleAfter }
	size := func(s *o) *located[int64] { return &s.maxRecordBytes }
	field := matching("a field's name", fieldPattern)
	return mapping(object{name: "source", path: "sources.S", doc: "One stream of events: a Kafka topic and how its records are read. A topic is one source's only: what differs between views is said with their `where`."}, []key[o]{
		keyOf("kafka", kafkaShape(), func(s *o) *located[kafkaText] { return &s.kafka }, "Where the records are.").must(),
		falls(keyOf("format", oneOf("format", JSON, CSV), format,
			"How a record's value is written: `json`: one object; `csv`: one row, its cells in the order of `fields`, less those from the key or a header."), "json", format, JSON),
		keyOf("timestamp", timestampShape(), func(s *o) *located[timestampText] { return &s.timestamp }, "Where an event's time stands.").says("the record's own timestamp"),
		keyOf("key", field, func(s *o) *located[string] { return &s.key }, "The field that the topic is partitioned by, a string or an int64 of `fields`.").
			says("the field that is read from the record's key, if any"),
		falls(keyOf("max_lateness", duration("30s", false), lateness,
			"How far an event may lie behind the newest of its partition. What lies further behind is late: a dead letter."), "30s", lateness, 30*time.Second),
		falls(keyOf("max_future", duration("10m", false), future, "How far an event may lie ahead of the clock. What lies further ahead is absurd: a dead letter."), "10m", future, 10*time.Minute),
		falls(keyOf("idle_after", duration("1m", false), idle, "With `clock: wall`: after how long without an event a partition no longer holds the watermark."), "1m", idle, time.Minute),
		falls(keyOf("max_record_bytes", bytesOf(1<<30), size, "The largest record that is read; a larger one is a dead letter."), "1 MiB", size, 1<<20),
		keyOf("fields", byName("field", fieldNames(), fieldShape()),
			func(s *o) *located[[]named[fieldText]] { return &s.fields },
			"The fields that entities, aggregates and expressions use, each with its type; with `format: csv`, all cells of a row in their order, the timestamp's too. A timestamp is read from RFC 3339 or from milliseconds. A type alone is that of a field in the record's value; a field of the record's key or headers says so. Names are the records' own; only a name that is an identifier (letters, digits, `_`; no word of the expression language) can be used in an expression.").must(),
	})
}

// fieldShape is a type, or a mapping of a type and where in the record it stands.
func fieldShape() shape[fieldText] {
	type o = fieldText
	kind := kinds(windows.String, windows.Int64, windows.Double, windows.Bool, windows.Timestamp)
	from := func(f *o) *located[Origin] { return &f.from }
	whole := mapping(object{
		name: "field", path: "sources.S.fields.F",
		doc: "A field of the record's key or of a header: `{type: string, from: key}`, `{type: string, from: header, name: x-tenant}`. All of the key or the header is read as the type: a string is UTF-8, all else is written as in JSON, a timestamp as RFC 3339 without quotes or as milliseconds. " +
			"What is not there is null; what does not read as the type is a dead letter. A key or a header gives one field.",
		rules: map[string]any{
			"if":   map[string]any{"required": []any{"name"}},
			"then": map[string]any{"properties": map[string]any{"from": map[string]any{"const": string(FromHeader)}}, "required": []any{"from"}},
		},
	}, []key[o]{
		keyOf("type", kind, func(f *o) *located[windows.Kind] { return &f.kind }, "The field's type.").must(),
		falls(keyOf("from", oneOf("part of a record", FromValue, FromKey, FromHeader), from, "The part of the record that it is read from."), string(FromValue), from, FromValue),
		keyOf("name", matching("a header's name", fieldPattern), func(f *o) *located[string] { return &f.name },
			"With `from: header`: the header's name. Where a record has several of that name, the last one counts.").says("the field's own name"),
	})
	what := kind.what + ", or {type: string, from: key}"
	read := func(d *decoder, n ast.Node) (f fieldText, ok bool) {
		if isMapping(n) {
			f, ok = whole.read(d, n)
			return f, ok && f.kind.ok && f.from.ok
		}
		f = whole.blank(placeOf(n))
		if _, isText := textOf(n); !isText {
			d.report(placeOf(n), nodeWords(n)+" where a type belongs", "want "+what)
			return f, false
		}
		f.kind.value, f.kind.ok = kind.read(d, n)
		return f, f.kind.ok
	}
	return shape[fieldText]{
		description: description{what: what, either: []*description{&kind.description, &whole.description}},
		read:        read,
	}
}

func kafkaShape() shape[kafkaText] {
	type o = kafkaText
	topic := matching("a topic's name: letters, digits, '.', '_' and '-', at most 249", topicPattern)
	return mapping(object{name: "kafka", path: "sources.S.kafka", doc: "A source's topics."}, []key[o]{
		keyOf("topic", topic, func(k *o) *located[string] { return &k.topic }, "The topic of the events.").must(),
		keyOf("dead_letter", topic, func(k *o) *located[string] { return &k.deadLetter },
			"The topic that events are sent to which no view takes; no source's own topic. Sources may share one.").says("none; in `dev`, `TOPIC.dead-letter`"),
	})
}

func timestampShape() shape[timestampText] {
	type o = timestampText
	return mapping(object{
		name: "timestamp", path: "sources.S.timestamp",
		doc: "Where an event's time stands. The field need not be declared in `fields`, unless it is a cell of `format: csv`, the record's key or a header; where it is, it is an int64, a double or a timestamp, and for rfc3339 a string or a timestamp.",
	}, []key[o]{
		keyOf("field", matching("a field's name", fieldPattern), func(t *o) *located[string] { return &t.field }, "The field.").must(),
		keyOf("unit", oneOf("unit", Seconds, Milliseconds, Microseconds, Nanoseconds, RFC3339), func(t *o) *located[Unit] { return &t.unit },
			"What it counts since 1970-01-01 UTC: `s`, `ms`, `us` or `ns`; or `rfc3339` for a text. Finer than a microsecond is rounded down to one.").must(),
	})
}

func viewShape() shape[viewText] {
	type o = viewText
	reference := func(noun string) shape[string] {
		return matching("the name of "+noun, namePattern)
	}
	return mapping(object{name: "feature view", path: "feature_views.V", doc: "The features of one entity over one source."}, []key[o]{
		keyOf("source", reference("a source"), func(v *o) *located[string] { return &v.source }, "Where its events come from.").must(),
		keyOf("entity", reference("an entity"), func(v *o) *located[string] { return &v.entity }, "What its features describe. The source declares the entity's join keys.").must(),
		keyOf("where", expressionOf("event_type == 'click'"), func(v *o) *located[formula] { return &v.where },
			"Which events enter the view: an expression over the source's fields, a bool. Null counts as false.").says("every event"),
		keyOf("ttl", duration("24h", true), func(v *o) *located[time.Duration] { return &v.ttl },
			"How long after its newest event an entity's vector is served; older ones read OUTSIDE_MAX_AGE.").says("none: for ever"),
		keyOf("features", byName("feature", plainNames(), featureShape()), func(v *o) *located[[]named[featureText]] { return &v.features },
			"Its features. None may have the name of one of the entity's join keys.").must(),
	})
}

func featureShape() shape[featureText] {
	type o = featureText
	emit := func(f *o) *located[string] { return &f.emit }
	return mapping(object{
		name: "feature", path: "feature_views.V.features.F",
		doc:   "One value of a view: either an `aggregate` over events, or an `expression` over the view's other features.",
		rules: featureRules(),
	}, []key[o]{
		keyOf("aggregate", oneOf("aggregate", aggregateNames()...), func(f *o) *located[string] { return &f.aggregate }, "What is computed of the events; see the aggregates below."),
		keyOf("of", matching("a field's name", fieldPattern), func(f *o) *located[string] { return &f.of },
			"The field that is aggregated. Events in which it is null are skipped."),
		keyOf("where", expressionOf("event_type == 'click'"), func(f *o) *located[formula] { return &f.where },
			"Which of the view's events are aggregated: an expression over the source's fields, a bool. Null counts as false.").says("every event"),
		keyOf("window", windowShape(), func(f *o) *located[windowText] { return &f.window },
			"The stretch of time: a duration slides with the frontier; `{tumbling: 1h}` stands still, aligned in UTC, and changes when it closes.").says("none: all events ever"),
		keyOf("resolution", resolutionShape(), func(f *o) *located[resolutionText] { return &f.resolution },
			"Sliding windows only: the steps in which the window slides, which divide it; its effective length lies between the window and one step more. `exact` keeps the events themselves, up to `limit`.").
			says("window / 360, rounded up to a round step that divides the window: " + ladderText()),
		falls(keyOf("emit", oneOf("emit", "closed", "running"), emit,
			"Tumbling windows only: `closed`: the last window that has closed; `running`: the one that holds the frontier."), "closed", emit, "closed"),
		keyOf("limit", count(1, maxLimit), func(f *o) *located[int64] { return &f.limit },
			"What timestamps, count_distinct and exact windows hold at most. timestamps keeps the newest; the others are null beyond it, and counted.").
			says(limitText()),
		keyOf("expression", expressionOf("clicks / impressions"), func(f *o) *located[formula] { return &f.expression },
			"A value computed of the view's other features, whatever their order; it stands alone, without the keys above."),
	})
}

// windowShape is a duration, or a mapping of tumbling to one.
func windowShape() shape[windowText] {
	type o = struct{ tumbling located[time.Duration] }
	sliding := duration("30m", true)
	tumbling := mapping(object{name: "window", path: "feature_views.V.features.F.window", doc: "A window that stands still."}, []key[o]{
		keyOf("tumbling", duration("1h", true), func(w *o) *located[time.Duration] { return &w.tumbling },
			"The window's length; windows are aligned to 1970-01-01 UTC.").must(),
	})
	read := func(d *decoder, n ast.Node) (windowText, bool) {
		if isMapping(n) {
			w, ok := tumbling.read(d, n)
			return windowText{length: w.tumbling.value, tumbling: true}, ok && w.tumbling.ok
		}
		length, ok := sliding.read(d, n)
		return windowText{length: length}, ok
	}
	return shape[windowText]{
		description: description{what: "a duration such as 30m, or {tumbling: 1h}", either: []*description{&sliding.description, &tumbling.description}},
		read:        read,
	}
}

// resolutionShape is a duration, or the word exact.
func resolutionShape() shape[resolutionText] {
	length := duration("5s", true)
	read := func(d *decoder, n ast.Node) (resolutionText, bool) {
		if s, _ := textOf(n); s == "exact" {
			return resolutionText{exact: true}, true
		}
		r, ok := length.read(d, n)
		return resolutionText{length: r}, ok
	}
	exact := &description{what: "exact", schema: map[string]any{"const": "exact"}}
	return shape[resolutionText]{
		description: description{what: "a positive duration such as 5s, or exact", either: []*description{&length.description, exact}},
		read:        read,
	}
}
