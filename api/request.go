package api

import (
	"fmt"
	"strings"

	"highwater/features"
	"highwater/serve"
	"highwater/windows"
)

// batchRequest is the body of POST /v1/features, its names not yet resolved: what the entities must carry depends on what is asked for.
type batchRequest struct {
	service  string   // "" for none
	features []string // nil for none
	entities string   // the text of a JSON array
}

// The members of the body.
const (
	serviceField  = "feature_service"
	featuresField = "features"
	entitiesField = "entities"
)

// parseBatch reads the body of POST /v1/features.
func parseBatch(body []byte) (*batchRequest, error) {
	text, err := checkJSON(body)
	if err != nil {
		return nil, err
	}
	if text[0] != '{' {
		return nil, invalid("the body is " + typeOf(text) + ": want an object")
	}
	var r batchRequest
	seen := make(map[string]bool, 3)
	for name, value := range members(text) {
		if seen[name] {
			return nil, invalid(fmt.Sprintf("field %s stands there twice", quote(name)))
		}
		seen[name] = true
		if err := r.set(name, value); err != nil {
			return nil, err
		}
	}
	return &r, r.check()
}

// set takes one member of the body.
func (r *batchRequest) set(name, value string) error {
	switch name {
	case serviceField:
		if value == "null" {
			return nil
		}
		if value[0] != '"' {
			return invalid(serviceField + " is " + typeOf(value) + ": want the name of a feature service")
		}
		if value == `""` {
			return invalid(serviceField + " is empty: want the name of a feature service")
		}
		r.service = unquote(value)
	case featuresField:
		return r.setFeatures(value)
	case entitiesField:
		if value[0] != '[' {
			return invalid(entitiesField + " is " + typeOf(value) + ": want an array of objects, one an entity")
		}
		r.entities = value
	default:
		p := invalid("unknown field " + quote(name))
		p.suggestion = nearest(name, []string{serviceField, featuresField, entitiesField})
		return p
	}
	return nil
}

func (r *batchRequest) setFeatures(value string) error {
	if value == "null" {
		return nil
	}
	if value[0] != '[' {
		return invalid(featuresField + " is " + typeOf(value) + ": want an array of references of the form view:feature")
	}
	r.features = []string{}
	for element := range elements(value) {
		if element[0] != '"' {
			return invalid(fmt.Sprintf("%s[%d] is %s: want a reference of the form view:feature", featuresField, len(r.features), typeOf(element)))
		}
		r.features = append(r.features, unquote(element))
	}
	return nil
}

// check reports what is wrong with the body as a whole.
func (r *batchRequest) check() error {
	switch {
	case r.service != "" && r.features != nil:
		return invalid("both " + serviceField + " and " + featuresField + " are given: want one of them")
	case r.service == "" && r.features == nil:
		return invalid("nothing is asked for: want " + serviceField + " or " + featuresField)
	case r.features != nil && len(r.features) == 0:
		return invalid(featuresField + " is empty: want at least one reference of the form view:feature")
	case r.entities == "":
		return invalid(entitiesField + " is missing: want an array of objects, one an entity")
	}
	return nil
}

// keys reads the entities: the values of joinKeys, in that order, entity after entity. There must be one entity at least and most at most.
func (r *batchRequest) keys(joinKeys []serve.JoinKey, most int) ([]windows.Value, error) {
	var keys []windows.Value
	row := 0
	for element := range elements(r.entities) {
		if row == most {
			return nil, &problem{kind: tooLarge, detail: fmt.Sprintf("there are more than %d entities: ask for them in several requests", most)}
		}
		if element[0] != '{' {
			return nil, invalidEntity(row, "is "+typeOf(element)+": want an object of join keys")
		}
		for range joinKeys {
			keys = append(keys, windows.Value{})
		}
		if err := readEntity(row, element, joinKeys, keys[row*len(joinKeys):]); err != nil {
			return nil, err
		}
		row++
	}
	if row == 0 {
		return nil, invalid(entitiesField + " is empty: want at least one entity")
	}
	return keys, nil
}

// readEntity reads one entity's join keys into values, which are null before.
func readEntity(row int, object string, joinKeys []serve.JoinKey, values []windows.Value) error {
	for name, value := range members(object) {
		i := indexOf(joinKeys, name)
		if i < 0 {
			return unknownKey(row, name, joinKeys)
		}
		if !values[i].IsNull() {
			return invalidEntity(row, "has "+name+" twice")
		}
		v, err := readKey(joinKeys[i], value)
		if err != nil {
			return invalidEntity(row, err.Error())
		}
		values[i] = v
	}
	for i, k := range joinKeys {
		if values[i].IsNull() {
			return invalidEntity(row, "lacks the join key "+k.Name)
		}
	}
	return nil
}

// readKey reads one join key's value; it is never null.
func readKey(k serve.JoinKey, value string) (windows.Value, error) {
	isString := value[0] == '"'
	isNumber := !isString && strings.IndexByte("-0123456789", value[0]) >= 0
	switch {
	case k.Kind == windows.String && isString:
		s := unquote(value)
		if s == "" {
			return windows.Value{}, fmt.Errorf("has an empty %s", k.Name)
		}
		return windows.StringOf(s), nil
	case k.Kind == windows.Int64 && isNumber:
		n, err := integer(value)
		if err != nil {
			return windows.Value{}, fmt.Errorf("has a %s that is no int64: %w", k.Name, err)
		}
		return windows.IntOf(n), nil
	case k.Kind == windows.Int64:
		return windows.Value{}, fmt.Errorf("has %s as %s: want an int64", k.Name, shown(value))
	default:
		return windows.Value{}, fmt.Errorf("has %s as %s: want a string", k.Name, shown(value))
	}
}

// shown is how an error shows a value of the wrong type.
func shown(value string) string {
	switch value[0] {
	case 'n', '{', '[':
		return typeOf(value)
	}
	return typeOf(value) + " (" + cut(value) + ")"
}

func unknownKey(row int, name string, joinKeys []serve.JoinKey) *problem {
	names := make([]string, len(joinKeys))
	for i, k := range joinKeys {
		names[i] = k.Name
	}
	p := invalidEntity(row, fmt.Sprintf("has %s, which is no join key of what is asked for: want %s", quote(name), strings.Join(names, ", ")))
	p.suggestion = nearest(name, names)
	return p
}

func invalidEntity(row int, what string) *problem {
	return invalid(fmt.Sprintf("%s[%d] %s", entitiesField, row, what))
}

func indexOf(joinKeys []serve.JoinKey, name string) int {
	for i, k := range joinKeys {
		if k.Name == name {
			return i
		}
	}
	return -1
}

// nearest suggests one of a few names for a name that is short enough to be a slip.
func nearest(name string, of []string) string {
	if len(name) > 100 {
		return ""
	}
	near, _ := features.Nearest(name, of)
	return near
}
