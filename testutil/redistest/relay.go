package redistest

import (
	"testing"

	"highwater/batch/faults/resp"
)

// Relay starts a relay before the server at that address, which does harm where it is told to, until the test ends.
func Relay(tb testing.TB, server string) *resp.Relay {
	tb.Helper()
	r, err := resp.Start(server)
	must(tb, err)
	tb.Cleanup(func() { _ = r.Close() })
	return r
}
