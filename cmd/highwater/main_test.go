package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary be the program too: under the name highwater, which stands first in PATH, it runs main. So children are real processes, and as race-checked as the tests are.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"highwater": main})
}
