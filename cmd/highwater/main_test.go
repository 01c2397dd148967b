package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// program is the name under which this test binary is the program.
const program = "highwater"

// TestMain makes this test binary be the program too: under the name highwater, which stands first in PATH, it runs main. So children are real processes, and as race-checked as the tests are.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != program {
		waitTogether()
	}
	testscript.Main(m, map[string]func(){program: main})
}

// waitTogether lets more tests run at a time than there are processors, unless -parallel says otherwise: most of their time they wait for other processes, or for the clock.
func waitTogether() {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		_ = flag.Set("test.parallel", "8")
	}
}
