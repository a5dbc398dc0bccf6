package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// What files under /proc say (proc_pid_schedstat(5) and its neighbours), as
// text to values.

// schedstat reads /proc/PID/task/TID/schedstat: how long the thread has run.
func schedstat(text string) (time.Duration, error) {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return 0, fmt.Errorf("schedstat: %d fields, want 3", len(fields))
	}
	ns, err := strconv.ParseUint(fields[0], 10, 63)
	return time.Duration(ns), err
}

// ticksPerSecond is the unit of times in stat files, USER_HZ, which is 100 on
// every architecture that Go knows.
const ticksPerSecond = 100

// processStat is what is of interest in /proc/PID/stat.
type processStat struct {
	parent int
	cpu    time.Duration // user and system, in ticks of 10 ms
}

// parseStat reads /proc/PID/stat. The program's name, in brackets, may hold
// anything, brackets and spaces included.
func parseStat(text string) (s processStat, err error) {
	_, rest, _ := strings.Cut(text[strings.LastIndexByte(text, ')')+1:], " ")
	fields := strings.Fields(rest) // from field 3, the state, on
	if len(fields) < 13 {
		return s, fmt.Errorf("stat: %d fields after the name, want 13 or more", len(fields))
	}
	if s.parent, err = strconv.Atoi(fields[1]); err != nil {
		return s, err
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return s, err
		}
		s.cpu += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	return s, nil
}

// residentBytes finds VmRSS in /proc/PID/status.
func residentBytes(text string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("status: no VmRSS")
}

// coreBusy finds in /proc/stat how long a core has done anything but wait.
// Time that the hypervisor gave to others counts, for it was not there for us.
func coreBusy(text string, core int) (time.Duration, error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != fmt.Sprintf("cpu%d", core) {
			continue
		}
		sum := time.Duration(0)
		for i, field := range fields[1:9] { // user nice system idle iowait irq softirq steal
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			if i != 3 && i != 4 {
				sum += time.Duration(ticks) * time.Second / ticksPerSecond
			}
		}
		return sum, nil
	}
	return 0, fmt.Errorf("stat: no core %d", core)
}

// cpuModel finds the processor's name in /proc/cpuinfo.
func cpuModel(text string) string {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
