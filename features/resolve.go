package features

import (
	"fmt"
	"slices"

	"highwater/windows"
)

// resolver gives the names of a decoded file their meaning. What the decoder could not use is passed over: that has been reported.
type resolver struct {
	d      *decoder
	p      *Project
	broken map[any]bool // the *Source and *Entity that are declared, but not so that anything could be said of what uses them
}

func newResolver(d *decoder) *resolver {
	return &resolver{d: d, p: &Project{}, broken: map[any]bool{}}
}

func (r *resolver) project(said *projectText) *Project {
	r.p.Name = said.name.value
	r.p.Clock = said.clock.value
	r.p.Batch = BatchLimits{
		Interval:   said.batch.value.interval.value,
		MaxRecords: said.batch.value.maxRecords.value,
		MaxBytes:   said.batch.value.maxBytes.value,
	}
	for _, e := range said.entities.value {
		r.entity(e)
	}
	for _, s := range said.sources.value {
		r.source(s)
	}
	r.topics(said.sources.value)
	for _, v := range said.views.value {
		r.view(v, said)
	}
	for _, s := range said.services.value {
		r.service(s, said.views.ok)
	}
	if len(r.d.mistakes) == 0 {
		for i, v := range said.views.value {
			r.machine(r.p.Views[i], v.at)
		}
	}
	return r.p
}

func (r *resolver) entity(said named[entityText]) {
	e := &Entity{Name: said.name}
	r.p.Entities = append(r.p.Entities, e)
	t := said.value
	r.broken[e] = true
	if !said.ok {
		return
	}
	if t.joinKeys.given {
		r.misplaced("join_keys", t.joinKey.given, t.joinKey.at, "join_key")
		r.misplaced("join_keys", t.kind.given, t.kind.at, "type")
		usable := t.joinKeys.ok
		for _, k := range t.joinKeys.value {
			e.JoinKeys = append(e.JoinKeys, JoinKey{Name: k.name, Kind: k.value})
			usable = usable && k.ok
		}
		r.broken[e] = !usable
		return
	}
	if !t.joinKey.given || !t.kind.given {
		r.d.report(said.at, fmt.Sprintf("entity %s lacks its join key", said.name), "want {join_key: FIELD, type: string or int64}, or join_keys: {FIELD: TYPE, …}")
		return
	}
	e.JoinKeys = []JoinKey{{Name: t.joinKey.value, Kind: t.kind.value}}
	r.broken[e] = !t.joinKey.ok || !t.kind.ok
}

// misplaced reports a key that another key of the same mapping rules out.
func (r *resolver) misplaced(by string, given bool, at position, key string) {
	if given {
		r.d.report(at, fmt.Sprintf("%s beside %s", key, by), "leave one of them out")
	}
}

func (r *resolver) source(said named[sourceText]) {
	t := said.value
	s := &Source{
		Name:           said.name,
		Topic:          t.kafka.value.topic.value,
		DeadLetter:     t.kafka.value.deadLetter.value,
		Format:         t.format.value,
		Timestamp:      Timestamp{Field: t.timestamp.value.field.value, Unit: t.timestamp.value.unit.value},
		Key:            t.key.value,
		MaxLateness:    t.maxLateness.value,
		MaxFuture:      t.maxFuture.value,
		IdleAfter:      t.idleAfter.value,
		MaxRecordBytes: int(t.maxRecordBytes.value),
	}
	for _, f := range t.fields.value {
		s.Fields = append(s.Fields, r.field(f))
	}
	r.p.Sources = append(r.p.Sources, s)
	if !said.ok || !t.fields.ok {
		r.broken[s] = true
		return
	}
	r.origins(s, t)
	r.timestamp(s, t)
	r.partitionKey(s, t)
}

// field returns a declared field. Its kind is Null where that cannot be used.
func (r *resolver) field(said named[fieldText]) Field {
	f := Field{Name: said.name, From: said.value.from.value}
	if said.ok {
		f.Kind = said.value.kind.value
	}
	name := said.value.name
	switch {
	case f.From == FromHeader && name.given:
		f.Header = name.value
	case f.From == FromHeader:
		f.Header = said.name
	case name.given && said.value.from.ok:
		r.d.report(name.at, fmt.Sprintf("name is a header's name, and %s is read from %s", said.name, f.Place()), "add from: header, or leave it out")
	}
	return f
}

// origins refuses a key or a header that gives two fields, and a csv source without a cell.
func (r *resolver) origins(s *Source, t sourceText) {
	first, cells := map[string]string{}, 0
	for i, f := range s.Fields {
		if f.InValue() {
			cells++
			continue
		}
		if other, twice := first[f.Place()]; twice {
			r.d.report(t.fields.value[i].at, fmt.Sprintf("field %s is read from %s, and so is %s", f.Name, f.Place(), other), "leave one of them out")
			continue
		}
		first[f.Place()] = f.Name
	}
	if s.Format == CSV && cells == 0 && len(s.Fields) > 0 {
		r.d.report(t.format.at, fmt.Sprintf("with format: csv a record is a row, and none of the fields of source %s is a cell of it", s.Name), "declare the row's cells, in their order")
	}
}

// timestamp checks the field that the event time is read from against the fields that are declared.
func (r *resolver) timestamp(s *Source, t sourceText) {
	field, unit := t.timestamp.value.field, t.timestamp.value.unit
	if !field.ok || !unit.ok {
		return
	}
	i := s.field(field.value)
	if i < 0 {
		if s.Format == CSV {
			r.d.report(field.at, fmt.Sprintf("the timestamp field %s is not declared", field.value), "with format: csv the cells stand in the order of fields, so declare it there")
		}
		return
	}
	kind, want := s.Fields[i].Kind, []windows.Kind{windows.Int64, windows.Double, windows.Timestamp}
	if unit.value == RFC3339 {
		want = []windows.Kind{windows.String, windows.Timestamp}
	}
	if kind != windows.Null && !slices.Contains(want, kind) {
		r.d.report(t.fields.value[i].at, fmt.Sprintf("the timestamp field %s is declared %s, and its unit is %s", field.value, kind, unit.value),
			"declare it as one of "+kindNames(want))
	}
}

// partitionKey checks the field that the topic is partitioned by: where a field is read from the records' keys, it can only be that one.
func (r *resolver) partitionKey(s *Source, t sourceText) {
	own := slices.IndexFunc(s.Fields, func(f Field) bool { return f.From == FromKey })
	if !t.key.ok {
		if !t.key.given && own >= 0 && (s.Fields[own].Kind == windows.String || s.Fields[own].Kind == windows.Int64) {
			s.Key = s.Fields[own].Name
		}
		return
	}
	i := s.field(t.key.value)
	if i >= 0 && own >= 0 && i != own {
		r.d.report(t.key.at, fmt.Sprintf("the key is %s, and field %s is read from the record's key", t.key.value, s.Fields[own].Name), "a topic is partitioned by its records' keys: leave key out")
		return
	}
	if i < 0 {
		r.d.report(t.key.at, fmt.Sprintf("source %s declares no field %s", s.Name, t.key.value), suggest("field", t.key.value, s.fieldNames()))
		return
	}
	if k := s.Fields[i].Kind; k != windows.String && k != windows.Int64 && k != windows.Null {
		r.d.report(t.key.at, fmt.Sprintf("the key %s is a %s", t.key.value, k), "a key is a string or an int64")
	}
}

// topics refuses a topic that two sources read, and one that is read and written.
func (r *resolver) topics(said []named[sourceText]) {
	readers := map[string]string{}
	for _, s := range said {
		topic := s.value.kafka.value.topic
		if !topic.ok {
			continue
		}
		if first, twice := readers[topic.value]; twice {
			r.d.report(topic.at, fmt.Sprintf("source %s reads topic %s already", first, topic.value), "a topic is one source's; let the views of one source differ by their where")
			continue
		}
		readers[topic.value] = s.name
	}
	for _, s := range said {
		dead := s.value.kafka.value.deadLetter
		if reader, read := readers[dead.value]; dead.ok && read {
			r.d.report(dead.at, fmt.Sprintf("the dead-letter topic %s is the topic of source %s", dead.value, reader), "dead letters go to a topic that no source reads")
		}
	}
}

// field returns the index of a declared field, -1 for none.
func (s *Source) field(name string) int {
	return slices.IndexFunc(s.Fields, func(f Field) bool { return f.Name == name })
}

func (s *Source) fieldNames() []string {
	all := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		all[i] = f.Name
	}
	return all
}
