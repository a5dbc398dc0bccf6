package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// family is a process and all that descend from it.
func family(pid int) (pids []int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has just ended
		}
		if s, err := parseStat(string(text)); err == nil {
			child, _ := strconv.Atoi(filepath.Base(dir))
			children[s.parent] = append(children[s.parent], child)
		}
	}
	for pids = []int{pid}; len(pids) > 0; {
		next := len(pids)
		for _, p := range pids {
			pids = append(pids, children[p]...)
			delete(children, p)
		}
		if len(pids) == next {
			break
		}
	}
	return pids, nil
}

// cpuTime is how long the threads of these processes have run, in nanoseconds
// as the scheduler counts them.
func cpuTime(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return 0, err
		}
		for _, task := range tasks {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, task.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue // a thread that has just ended
			}
			if err != nil {
				return 0, err
			}
			ran, err := schedstat(string(text))
			if err != nil {
				return 0, err
			}
			sum += ran
		}
	}
	return sum, nil
}

// tickTime is the same as utime and stime have it, in ticks of 10 ms: another
// witness.
func tickTime(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		s, err := parseStat(string(text))
		if err != nil {
			return 0, err
		}
		sum += s.cpu
	}
	return sum, nil
}

// resident is the memory of these processes, in bytes.
func resident(pids []int) (sum int64, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		bytes, err := residentBytes(string(text))
		if err != nil {
			return 0, err
		}
		sum += bytes
	}
	return sum, nil
}

// busy is how long each of these cores has worked, together.
func busy(cores ...int) (sum time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for _, core := range cores {
		d, err := coreBusy(string(text), core)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}
