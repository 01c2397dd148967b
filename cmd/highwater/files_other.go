//go:build !unix

package main

// fileLimit returns how many files and connections this process may have open at a time.
func fileLimit() int { return unlimitedFile }
