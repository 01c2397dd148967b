package features

import (
	"fmt"
	"strings"
)

// Nearest returns the one of a list of names that somebody who wrote name most likely meant; ok is false where none is close enough to be worth a suggestion. Of equally near ones the first wins.
func Nearest(name string, of []string) (nearest string, ok bool) {
	written := []rune(strings.ToLower(name))
	best := 1 + (len(written)+1)/3 // about one slip in three letters
	for _, candidate := range of {
		c := []rune(strings.ToLower(candidate))
		if d := editDistance(written, c); d < best && d < max(len(written), len(c)) {
			nearest, best, ok = candidate, d, true
		}
	}
	return nearest, ok
}

// editDistance counts the letters to insert, delete, replace or swap with their neighbour to turn a into b.
func editDistance(a, b []rune) int {
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		now[0] = i + 1
		for j := range b {
			differ := 0
			if a[i] != b[j] {
				differ = 1
			}
			now[j+1] = min(last[j]+differ, last[j+1]+1, now[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				now[j+1] = min(now[j+1], before[j-1]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}

// suggest says what would have been right in place of name: the nearest of a list, and else the whole list. noun is what the list is of, in the singular.
func suggest(noun, name string, of []string) string {
	if n, ok := Nearest(name, of); ok {
		return fmt.Sprintf("did you mean %s?", n)
	}
	switch len(of) {
	case 0:
		return fmt.Sprintf("there is no %s", noun)
	case 1:
		return fmt.Sprintf("the only %s is %s", noun, of[0])
	}
	return fmt.Sprintf("want one of %s", strings.Join(of, ", "))
}
