package ports_test

import (
	"net"
	"testing"

	"highwater/testutil/ports"
)

func TestFree_IsFreeAndGivenOnce(t *testing.T) {
	given := map[string]bool{}
	for range 50 {
		addr, err := ports.Free()
		if err != nil {
			t.Fatal(err)
		}
		if given[addr] {
			t.Errorf("%s was given twice", addr)
		}
		given[addr] = true
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatalf("%s is not free: %v", addr, err)
		}
		_, port, _ := net.SplitHostPort(addr)
		if port >= "32768" {
			t.Errorf("port %s may be given to an outgoing connection", port)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
