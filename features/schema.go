package features

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
)

// JSONSchema returns the JSON Schema (draft 2020-12) of a definitions file, for editors. It says all that can be said without knowing what names refer to; [Parse] says the rest.
func JSONSchema() []byte {
	defs := map[string]any{}
	top := projectShape().description.object.jsonSchema(defs)
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["title"] = "Highwater definitions"
	top["description"] = "One file that defines a Highwater project: entities, sources, feature views and feature services."
	top["$defs"] = defs
	text, err := json.MarshalIndent(top, "", "  ")
	if err != nil { // not reached: the schema is made of maps, lists, texts and integers
		return nil
	}
	return append(text, '\n')
}

// jsonSchema returns the schema of a value. Schemas of mappings with fixed keys go to defs, under the mappings' names.
func (d *description) jsonSchema(defs map[string]any) map[string]any {
	switch {
	case d.object != nil:
		name := strings.ReplaceAll(d.object.name, " ", "_")
		if defs[name] == nil {
			defs[name] = d.object.jsonSchema(defs)
		}
		return map[string]any{"$ref": "#/$defs/" + name}
	case d.names != nil:
		return map[string]any{"type": "object", "propertyNames": map[string]any{"pattern": d.names.pattern.String()}, "additionalProperties": d.each.jsonSchema(defs), "minProperties": 1}
	case d.each != nil:
		return map[string]any{"type": "array", "items": d.each.jsonSchema(defs), "minItems": 1, "uniqueItems": true}
	case d.either != nil:
		var all []any
		for _, one := range d.either {
			all = append(all, one.jsonSchema(defs))
		}
		return map[string]any{"anyOf": all}
	}
	return maps.Clone(d.schema)
}

func (o *object) jsonSchema(defs map[string]any) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, k := range o.keys {
		p := k.value.jsonSchema(defs)
		p["description"] = plainText(k.doc)
		if k.constant {
			p["default"] = jsonDefault(k.fallback)
		}
		properties[k.name] = p
		if k.required {
			required = append(required, k.name)
		}
	}
	s := map[string]any{"type": "object", "description": plainText(o.doc), "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	maps.Copy(s, o.rules)
	return s
}

// plainText is a doc without the marks that only a page shows.
func plainText(doc string) string { return strings.ReplaceAll(doc, "`", "") }

// jsonDefault is a default as JSON has it: a number where the file would write one.
func jsonDefault(fallback string) any {
	if n, err := strconv.ParseInt(fallback, 10, 64); err == nil {
		return n
	}
	return fallback
}
