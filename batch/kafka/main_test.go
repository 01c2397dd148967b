package kafka_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing that this package starts outlives its Close.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
