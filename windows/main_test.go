package windows_test

import (
	"flag"
	"os"
	"testing"
)

// Properties are checked on more cases than rapid's default; -rapid.checks on the command line still wins, for it is parsed after.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "2000"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}
