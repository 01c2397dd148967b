//go:build unix

package main

import "syscall"

// fileLimit returns how many files and connections this process may have open at a time. Go has raised the soft limit to the hard one already.
func fileLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > unlimitedFile {
		return unlimitedFile
	}
	return int(limit.Cur)
}
