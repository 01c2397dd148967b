// Package ports finds ports of loopback for servers that tests stop and start again at the same address.
package ports

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// The ports lie below those that Linux gives to outgoing connections (from 32768 on), as "port 0" does not: while a server is down, nobody is given its port by chance.
const (
	first = 10000
	many  = 22000
	apart = 331 // between two processes that were started one after the other, as go test starts packages
)

// taken counts the ports that this process was given: none twice, though two tests run at once.
var taken atomic.Int64

// Free returns a HOST:PORT of loopback that nobody listens on, and that no other call in this process has been given. It may be called from several goroutines.
func Free() (string, error) {
	for range many {
		addr := fmt.Sprintf("127.0.0.1:%d", first+(int64(os.Getpid())*apart+taken.Add(1))%many)
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("every port of loopback from %d to %d is in use", first, first+many-1)
}
