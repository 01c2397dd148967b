package kafka_test

import (
	"testing"

	"highwater/testutil/kafkatest"
)

// Everything that holds on the fake holds on a real broker.
func TestRealBroker(t *testing.T) {
	c := realBroker{kafkatest.Start(t)}
	t.Run("dead letters", func(t *testing.T) { testDeadLetters(t, c) })
	t.Run("load resumes", func(t *testing.T) { testLoadResumes(t, c) })
	t.Run("load creates", func(t *testing.T) { testLoadCreates(t, c) })
	t.Run("source", func(t *testing.T) { testSource(t, c) })
}
