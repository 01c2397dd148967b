package main

import (
	"fmt"
	"strconv"
	"strings"
)

// byteSize is a flag in bytes: a number with KiB, MiB, GiB or nothing behind it.
type byteSize int64

// UnmarshalText reads a flag's text.
func (b *byteSize) UnmarshalText(text []byte) error {
	s, unit := string(text), int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB"} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = rest, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/unit {
		return fmt.Errorf("%q is not a size: write a positive whole number of bytes, KiB, MiB or GiB, such as 128MiB", text)
	}
	*b = byteSize(n * unit)
	return nil
}

// String is the size as it would be written: in the largest unit that leaves no rest.
func (b byteSize) String() string {
	for i, suffix := range []string{"GiB", "MiB", "KiB"} {
		if unit := byteSize(1) << (10 * (3 - i)); b > 0 && b%unit == 0 {
			return strconv.FormatInt(int64(b/unit), 10) + suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
