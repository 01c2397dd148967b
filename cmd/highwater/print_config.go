package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
)

// printFlags are for commands that run for long: what would they run with?
type printFlags struct {
	PrintConfig bool `help:"Print every setting, its value and where it came from, and do nothing else; with --json for programs." deployment:"-"`
}

// origin is where a setting came from.
type origin struct {
	Source string `json:"source"`          // flag, environment, file, default, or unset; of a secret that cannot be read, mistake
	Place  string `json:"place,omitempty"` // the variable's name, FILE:LINE, a secret's file, or what is wrong with it
}

// describe names a setting as whoever gave it would.
func (o origin) describe(f *kong.Flag) string {
	switch o.Source {
	case "environment":
		return o.Place
	case "file":
		return o.Place + ": " + f.Name
	}
	return "--" + f.Name
}

// String is for people.
func (o origin) String() string {
	switch {
	case o.Source == "mistake":
		return "cannot be read: " + o.Place
	case o.Place != "":
		return o.Source + " " + o.Place
	}
	return o.Source
}

// source says which of the four a setting came from.
func (s *settings) source(f *kong.Flag) origin {
	for _, p := range s.ctx.Path {
		if p.Flag == f && !p.Resolved {
			return origin{Source: "flag"}
		}
	}
	if name, set := fromEnvironment(f); set {
		return origin{Source: "environment", Place: name}
	}
	if s.file != nil {
		if g, ok := s.file.lookup(s.command().Name, f.Name); ok {
			return origin{Source: "file", Place: fmt.Sprintf("%s:%d", s.file.path, g.at.Line)}
		}
	}
	if f.HasDefault || f.IsBool() {
		return origin{Source: "default"}
	}
	return origin{Source: "unset"}
}

// shownSetting is one line of --print-config.
type shownSetting struct {
	Name  string `json:"name"`
	Value any    `json:"value"` // null where it is unset
	origin
}

// shown returns every setting of the command in the order of their names. Of secrets it shows no more than whether, and where, they are given.
func (s *settings) shown() []shownSetting {
	var all []shownSetting
	for _, f := range s.flags() {
		if !inFile(f) && f.Name != "config" {
			continue // it says how to run the command this once
		}
		shown := shownSetting{Name: f.Name, Value: shownValue(f.Target.Interface()), origin: s.source(f)}
		if shown.Source == "unset" {
			shown.Value = nil
		}
		all = append(all, shown)
		if one, ok := secretOf(f); ok {
			all = append(all, shownSecret(one))
		}
	}
	slices.SortFunc(all, func(a, b shownSetting) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// shownSecret says where a secret is read from, and whether it can be.
func shownSecret(s secret) shownSetting {
	shown := func(value any, from origin) shownSetting {
		return shownSetting{Name: s.name, Value: value, origin: from}
	}
	switch _, err := s.Read(); {
	case err != nil:
		return shown(nil, origin{Source: "mistake", Place: err.Error()})
	case s.file != "":
		return shown(s, origin{Source: "file", Place: string(s.file)})
	case s.String() != "":
		return shown(s, origin{Source: "environment", Place: s.environment()})
	}
	return shown(nil, origin{Source: "unset"})
}

// shownValue is a value as it would be written in a file.
func shownValue(value any) any {
	switch v := value.(type) {
	case time.Duration:
		return durationText(v)
	case fmt.Stringer:
		return v.String()
	case []string:
		if v == nil {
			return []string{}
		}
		return v
	case secretFile:
		return string(v)
	case deploymentFile:
		return string(v)
	default:
		return v
	}
}

// valueText is a value of shownValue on one line.
func valueText(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case []string:
		return strings.Join(v, ",")
	}
	return fmt.Sprint(value)
}

// durationText is a duration without the zeros that Go writes behind it: 1h, not 1h0m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// printAsked reports whether the command was asked to show its settings, and how.
func (s *settings) printAsked() (asked, asJSON bool) {
	if s.command() == nil {
		return false, false
	}
	for _, f := range s.flags() {
		switch on, _ := f.Target.Interface().(bool); f.Name {
		case "print-config":
			asked = on
		case "json":
			asJSON = on
		}
	}
	return asked, asJSON
}

// print writes every setting: a table for people, one JSON object for programs.
func (s *settings) print(w io.Writer, asJSON bool) error {
	command := s.command().Name
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(struct {
			Command  string         `json:"command"`
			Settings []shownSetting `json:"settings"`
		}{command, s.shown()})
	}
	fmt.Fprintf(w, "# settings of highwater %s; the first of flag, environment, file and default that has one counts\n", command)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SETTING\tVALUE\tFROM")
	for _, one := range s.shown() {
		value := cmp.Or(valueText(one.Value), "-")
		fmt.Fprintf(t, "%s\t%s\t%s\n", one.Name, value, one.origin)
	}
	return t.Flush()
}
