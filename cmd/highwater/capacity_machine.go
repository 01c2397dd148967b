package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machineText says where a figure was measured.
func machineText() string {
	cpu := ""
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil { // Linux
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = ", " + strings.TrimSpace(value)
				break
			}
		}
	}
	cores := fmt.Sprintf("%d cores", runtime.NumCPU())
	if n := runtime.GOMAXPROCS(0); n != runtime.NumCPU() {
		cores = fmt.Sprintf("%d of %d cores (GOMAXPROCS)", n, runtime.NumCPU())
	}
	return fmt.Sprintf("%s, %s/%s%s", cores, runtime.GOOS, runtime.GOARCH, cpu)
}

// processorTime returns what this process has used of its processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// busyTime returns what all processes of the machine have used of its processors, 0 where it does not tell (it is Linux that does).
func busyTime() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(line)
	const (
		idle, iowait, steal = 4, 5, 8 // places in the line; what comes after is counted among those before already
		tick                = 10 * time.Millisecond
	)
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0
	}
	busy := time.Duration(0)
	for i, field := range fields[1 : steal+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0
		}
		if place := i + 1; place != idle && place != iowait {
			busy += time.Duration(n) * tick
		}
	}
	return busy
}
