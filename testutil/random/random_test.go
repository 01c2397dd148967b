package random_test

import (
	"testing"

	"highwater/testutil/random"
)

// Every case's definitions are right, and a seed gives the same case each time.
func TestDraw_IsRightAndRepeats(t *testing.T) {
	for seed := range uint64(500) {
		c := random.Draw(seed)
		if _, err := c.Project(); err != nil {
			t.Fatalf("%v\n%s", err, c)
		}
		if again := random.Draw(seed); again.String() != c.String() {
			t.Fatalf("seed %d gives two cases", seed)
		}
	}
}
