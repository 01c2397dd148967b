package features_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/features"
)

var update = flag.Bool("update", false, "write what the tests see into their golden files")

// golden compares have with a file, or makes it the file with -update.
func golden(t *testing.T, file string, have []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, have, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(have)); diff != "" {
		t.Errorf("%s is not what it was (-update rewrites it):\n%s", file, diff)
	}
}

// bad returns the paths of testdata/bad, sorted.
func bad(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/bad/*.bad.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	slices.Sort(files)
	return files
}

// Each file of testdata/bad makes one mistake, unless its name says otherwise; testdata/mistakes.txt is what we say of them all.
func TestMistakes(t *testing.T) {
	var said strings.Builder
	for _, file := range bad(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = features.Parse(filepath.Base(file), text)
		var mistakes features.Mistakes
		if !errors.As(err, &mistakes) || len(mistakes) == 0 {
			t.Errorf("%s: want mistakes, have %v", file, err)
			continue
		}
		said.WriteString(err.Error() + "\n")
	}
	golden(t, "testdata/mistakes.txt", []byte(said.String()))
}
