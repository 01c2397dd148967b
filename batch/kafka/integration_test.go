package kafka_test

import (
	"testing"

	"highwater/testutil/kafkatest"
)

// Everything that holds on the fake holds on a real broker.
func TestRealBroker(t *testing.T) {
	c := real{kafkatest.Start(t)}
	t.Run("source", func(t *testing.T) { testSource(t, c) })
}
