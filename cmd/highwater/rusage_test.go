package main

import (
	"os/exec"
	"syscall"
)

// maxResident returns the most bytes that an ended process had resident.
func maxResident(cmd *exec.Cmd) int64 {
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return usage.Maxrss << 10
	}
	return 0
}
