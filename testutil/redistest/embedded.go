package redistest

import (
	"testing"

	"github.com/alicebob/miniredis/v2/server"

	"highwater/store/online/embedded"
)

// Embedded runs an embedded Redis until the test ends. hook, where it is not nil, hears of every command before it is carried out, and returns true for one that it has answered itself.
func Embedded(tb testing.TB, hook server.Hook) *embedded.Redis {
	tb.Helper()
	r := embedded.New(hook)
	if err := r.Start("127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Close)
	return r
}
