package examples_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"highwater/examples"
)

func TestNames(t *testing.T) {
	if have := examples.Names(); !slices.Equal(have, []string{"ads", "logs", "surge"}) {
		t.Errorf("have %v", have)
	}
}

func TestDefinitions_AreTheFiles(t *testing.T) {
	for _, name := range examples.Names() {
		want, err := os.ReadFile(filepath.Join(name, "definitions.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(examples.Definitions(name), want) {
			t.Errorf("%s: not the file", name)
		}
	}
}

func TestEvents_AreRowsInOrderOfTime(t *testing.T) {
	for name, want := range map[string]int{"ads": 20_115, "logs": 33_996, "surge": 35_489} {
		file, gz := examples.Events(name)
		if !strings.HasSuffix(file, ".csv.gz") || strings.Contains(file, "/") {
			t.Errorf("%s: a file called %q", name, file)
		}
		unzipped, err := gzip.NewReader(bytes.NewReader(gz))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(unzipped).ReadAll() // refuses rows of unequal length
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(rows[0][0], "ts_") || len(rows)-1 != want {
			t.Errorf("%s: %d events after %v", name, len(rows)-1, rows[0])
		}
		var last int64
		for i, row := range rows[1:] {
			at, err := strconv.ParseInt(row[0], 10, 64)
			if err != nil || at < last {
				t.Fatalf("%s: event %d is at %s, the one before at %d", name, i, row[0], last)
			}
			last = at
		}
	}
}

func TestUnknownExamples(t *testing.T) {
	for _, name := range []string{"", ".", "..", "nope", "ads/..", "examples.go"} {
		file, gz := examples.Events(name)
		if examples.Definitions(name) != nil || file != "" || gz != nil {
			t.Errorf("%q is an example", name)
		}
	}
}

// Every example says what it shows, and where its data is from, and fits in a binary.
func TestExamples_AreWhole(t *testing.T) {
	for _, name := range examples.Names() {
		for _, file := range []string{"README.md", "NOTICE"} {
			if text, err := os.ReadFile(filepath.Join(name, file)); err != nil || len(text) < 100 {
				t.Errorf("%s: %d bytes of %s, %v", name, len(text), file, err)
			}
		}
		var size int64
		err := filepath.WalkDir(name, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			size += info.Size()
			return err
		})
		if err != nil || size > 1<<20 {
			t.Errorf("%s: %d bytes, %v", name, size, err)
		}
	}
}
