// Package examples holds whole projects to run and to learn from: definitions and real event data, embedded so that `highwater dev` needs nothing besides itself.
//
// Each example is a directory: definitions.yaml, README.md, one gzip'd CSV of events with a header, and the NOTICE of where they come from.
package examples

import (
	"embed"
	"path"
	"strings"
)

//go:embed */definitions.yaml */*.csv.gz
var files embed.FS

// Names returns the examples' names, sorted; each is the name of its project and its directory.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil { // not reached: the root is always there
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// Definitions returns an example's definitions file, nil where there is no such example.
func Definitions(name string) []byte {
	text, err := files.ReadFile(path.Join(name, "definitions.yaml"))
	if err != nil {
		return nil
	}
	return text
}

// Events returns an example's events: the file's name, without a directory, and its bytes, gzip'd CSV with a header, in order of time. They are of the example's only source. It returns "" and nil where there is no such example.
func Events(name string) (file string, gz []byte) {
	entries, err := files.ReadDir(name)
	if err != nil {
		return "", nil
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".csv.gz") {
			continue
		}
		gz, err = files.ReadFile(path.Join(name, e.Name()))
		if err != nil {
			return "", nil
		}
		return e.Name(), gz
	}
	return "", nil
}
