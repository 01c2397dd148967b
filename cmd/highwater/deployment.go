package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"highwater/features"
)

// deploymentFile is the flag --config: the file with the settings of one place where Highwater runs.
type deploymentFile string

// BeforeResolve reads the file. kong calls it once flags and environment have been seen, and asks the file for the rest.
func (f deploymentFile) BeforeResolve(ctx *kong.Context, trace *kong.Path, s *settings) error {
	path, _ := ctx.FlagValue(trace.Flag).(deploymentFile)
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(string(path))
	if err != nil {
		return fmt.Errorf("read the deployment file: %w", err)
	}
	if s.file, err = parseDeployment(string(path), text, ctx.Model); err != nil {
		return err
	}
	ctx.AddResolver(s.file)
	return nil
}

// deployment is a deployment file: settings by the flags' names. Those at the top are for every command that has them; those in a section named like a command are for it alone, and go before the others.
type deployment struct {
	path     string
	common   map[string]given
	sections map[string]map[string]given // by command
}

// given is a setting of the file, as kong's mappers take it: a text, or a list of texts.
type given struct {
	value any
	at    *token.Position
}

// lookup returns what the file has of a setting for a command.
func (d *deployment) lookup(command, name string) (given, bool) {
	if g, ok := d.sections[command][name]; ok {
		return g, true
	}
	g, ok := d.common[name]
	return g, ok
}

// Validate has nothing to do: parseDeployment has reported everything at once.
func (d *deployment) Validate(*kong.Application) error { return nil }

// Resolve gives kong the file's value of a flag that neither the command line nor the environment has.
func (d *deployment) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if _, set := fromEnvironment(flag); set {
		return nil, nil
	}
	if g, ok := d.lookup(ctx.Selected().Name, flag.Name); ok {
		return g.value, nil
	}
	return nil, nil
}

// deploymentReader reads one file, and collects what is wrong with it.
type deploymentReader struct {
	path     string
	app      *kong.Application
	commands map[string][]*kong.Flag // what each command takes, the flags of all commands included
	mistakes features.Mistakes
}

// parseDeployment reads the text of a deployment file. Its error is [features.Mistakes]: everything that is wrong with it.
func parseDeployment(path string, text []byte, app *kong.Application) (*deployment, error) {
	r := &deploymentReader{path: path, app: app, commands: map[string][]*kong.Flag{}}
	for _, c := range app.Children {
		r.commands[c.Name] = append(slices.Clone(app.Flags), c.Flags...)
	}
	d := &deployment{path: path, common: map[string]given{}, sections: map[string]map[string]given{}}
	for _, pair := range r.pairs(r.root(string(text))) {
		name := pair.Key.GetToken().Value
		if flags, isCommand := r.commands[name]; isCommand && isMapping(pair.Value) {
			d.sections[name] = r.section(pair.Value, flags, name)
			continue
		}
		if g, ok := r.setting(pair, r.everyFlag(), ""); ok {
			d.common[name] = g
		}
	}
	if len(r.mistakes) > 0 {
		slices.SortStableFunc(r.mistakes, func(a, b features.Mistake) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, r.mistakes
	}
	return d, nil
}

func (r *deploymentReader) report(at *token.Position, what, fix string) {
	if at == nil {
		at = &token.Position{Line: 1, Column: 1}
	}
	r.mistakes = append(r.mistakes, features.Mistake{File: r.path, Line: max(1, at.Line), Column: max(1, at.Column), What: what, Fix: fix})
}

// root returns the file's one mapping, nil where there is none. A file of comments alone is empty, which is no mistake: every setting may stand elsewhere.
func (r *deploymentReader) root(text string) ast.Node {
	var top ast.Node
	for _, doc := range r.documents(text) {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if top != nil {
			r.report(doc.Start.Position, "a second YAML document", "a deployment file has one")
			break
		}
		top = doc.Body
	}
	if top != nil && !isMapping(top) {
		r.report(top.GetToken().Position, "the file is no mapping", "write settings by their flags' names: data-dir: /var/lib/highwater")
		return nil
	}
	return top
}

// documents parses the text. The library is handed texts that people wrote, so a panic of its is a mistake of the text like any other.
func (r *deploymentReader) documents(text string) (docs []*ast.DocumentNode) {
	defer func() {
		if p := recover(); p != nil {
			r.report(nil, "the YAML library could not read the file", "simplify it, or send it to us")
			docs = nil
		}
	}()
	tokens := lexer.Tokenize(text)
	for _, t := range tokens {
		switch t.Type {
		case token.TagType, token.AnchorType, token.AliasType, token.MergeKeyType:
			r.report(t.Position, fmt.Sprintf("%q is YAML's own language here", t.Value), "write the value out, between quotes where it begins with ! & * or <<")
			return nil
		}
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return file.Docs
	}
	var located interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &located) && located.GetToken() != nil {
		r.report(located.GetToken().Position, "not YAML: "+located.GetMessage(), "a text with special characters stands between quotes; else check indentation and brackets")
		return nil
	}
	r.report(nil, "not YAML: "+err.Error(), "")
	return nil
}

func isMapping(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// pairs returns a mapping's entries, each key once; nil has none.
func (r *deploymentReader) pairs(n ast.Node) []*ast.MappingValueNode {
	var all []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		all = n.Values
	case *ast.MappingValueNode:
		all = []*ast.MappingValueNode{n}
	}
	lines := map[string]int{}
	return slices.DeleteFunc(slices.Clone(all), func(pair *ast.MappingValueNode) bool {
		key := pair.Key.GetToken()
		first, twice := lines[key.Value]
		lines[key.Value] = cmp.Or(first, key.Position.Line)
		if twice {
			r.report(key.Position, key.Value+" is given twice", fmt.Sprintf("line %d has it already; leave one of them out", first))
		}
		return twice
	})
}

// section reads the settings of one command.
func (r *deploymentReader) section(n ast.Node, flags []*kong.Flag, command string) map[string]given {
	settings := map[string]given{}
	for _, pair := range r.pairs(n) {
		if g, ok := r.setting(pair, flags, command); ok {
			settings[pair.Key.GetToken().Value] = g
		}
	}
	return settings
}

// everyFlag returns the flags of all commands: a file may serve several.
func (r *deploymentReader) everyFlag() []*kong.Flag {
	all := slices.Clone(r.app.Flags)
	for _, c := range r.app.Children {
		all = append(all, c.Flags...)
	}
	return all
}

// setting reads one setting, and checks its value against every flag of that name. command is "" at the top of the file.
func (r *deploymentReader) setting(pair *ast.MappingValueNode, flags []*kong.Flag, command string) (given, bool) {
	key := pair.Key.GetToken()
	named := slices.DeleteFunc(slices.Clone(flags), func(f *kong.Flag) bool { return f.Name != key.Value })
	if len(named) == 0 || !inFile(named[0]) {
		r.unknown(key, flags, command)
		return given{}, false
	}
	value, err := valueOf(pair.Value)
	if err != nil {
		r.report(key.Position, fmt.Sprintf("%s is %v", key.Value, err), "")
		return given{}, false
	}
	at := pair.Value.GetToken().Position
	if named[0].Tag.Type == "path" { // for each command of that name
		value = relativeTo(filepath.Dir(r.path), value)
	}
	for _, f := range named {
		if credentialsIn(f, value) {
			r.report(at, key.Value+" has a password in it", credentialsFix)
			return given{}, false
		}
		if err := fits(f, value); err != nil {
			r.report(at, fmt.Sprintf("%s: %v", key.Value, err), "")
			return given{}, false
		}
	}
	return given{value: value, at: key.Position}, true
}

// unknown reports a key that stands for no setting, with what it may have been meant to be.
func (r *deploymentReader) unknown(key *token.Token, flags []*kong.Flag, command string) {
	names := []string{}
	for _, f := range flags {
		if f.Name == key.Value {
			r.report(key.Position, fmt.Sprintf("%s has no place in a file", key.Value), "it is for the command line alone")
			return
		}
		if inFile(f) {
			names = append(names, f.Name)
		}
		if isSecretOf(f, key.Value) {
			r.report(key.Position, fmt.Sprintf("%s is a secret, and must not stand in a deployment file", key.Value), secretFix(f))
			return
		}
	}
	what, fix := fmt.Sprintf("there is no setting %s", key.Value), "docs/settings.md lists them all"
	if command != "" {
		what = fmt.Sprintf("%s has no setting %s", command, key.Value)
		fix = fmt.Sprintf("`highwater %s --help` lists them", command)
	} else {
		for name := range r.commands {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	if near, ok := features.Nearest(key.Value, names); ok {
		fix = fmt.Sprintf("did you mean %s?", near)
	}
	r.report(key.Position, what, fix)
}

// inFile reports whether a setting may stand in a deployment file. What says how to run a command once, rather than how it is deployed, may not.
func inFile(f *kong.Flag) bool { return f.Name != "help" && f.Tag.Get("deployment") != "-" }

// valueOf returns a scalar as the text that stands in the file, and a list of scalars as a list of them: kong's mappers read both as they would read a flag.
func valueOf(n ast.Node) (any, error) {
	switch n := n.(type) {
	case *ast.SequenceNode:
		list := make([]any, 0, len(n.Values))
		for _, item := range n.Values {
			text, err := scalarOf(item)
			if err != nil {
				return nil, fmt.Errorf("a list with an item that is %w", err)
			}
			list = append(list, text)
		}
		return list, nil
	case *ast.MappingNode, *ast.MappingValueNode:
		return nil, errors.New("a mapping: it takes a text, a number or a list")
	}
	return scalarOf(n)
}

func scalarOf(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	case *ast.NullNode:
		return "", errors.New("empty: give it a value, or leave it out")
	}
	return "", errors.New("neither a text nor a number")
}

// relativeTo makes the paths of a file relative to where the file lies, and not to where the process was started.
func relativeTo(dir string, value any) any {
	if path, ok := value.(string); ok && !filepath.IsAbs(path) && !strings.HasPrefix(path, "~") {
		return filepath.Join(dir, path)
	}
	return value
}

// fits reports whether a flag takes the value.
func fits(f *kong.Flag, value any) error {
	if _, isList := value.([]any); isList && !f.IsSlice() {
		return errors.New("a list, where one value is wanted")
	}
	scratch := reflect.New(f.Target.Type()).Elem()
	if err := f.Mapper.Decode(&kong.DecodeContext{Value: f.Value, Scan: kong.Scan().PushTyped(value, kong.FlagValueToken)}, scratch); err != nil {
		return err
	}
	if text := fmt.Sprint(scratch.Interface()); f.Enum != "" && !f.EnumMap()[text] {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(f.EnumSlice(), ", "))
	}
	return nil
}
