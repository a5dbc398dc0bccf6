package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"udplab/integration/lab"
)

// census is how many there are of each kind: open files, or goroutines.
type census map[string]int

// files is what a process has open.
func files(pid int) (census, error) {
	targets, err := lab.Files(pid)
	c := census{}
	for _, target := range targets {
		c[lab.FileKind(target)]++
	}
	return c, err
}

// least keeps of each kind what both have at least.
func (c census) least(other census) census {
	both := census{}
	for kind, n := range c {
		both[kind] = min(n, other[kind])
	}
	return both
}

// beyond is what there is more of than before.
func (c census) beyond(before census) (more []string) {
	for _, kind := range slices.Sorted(maps.Keys(c)) {
		if n := c[kind]; n > before[kind] {
			more = append(more, fmt.Sprintf("%d %s instead of %d", n, kind, before[kind]))
		}
	}
	return more
}

// total is how many there are of all kinds.
func (c census) total() (sum int) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// goroutines counts those in the stacks that Go's runtime prints, by the
// outermost function of ours that they are in, or else the one they began
// with. It leaves out the runtime's own, those that package net starts for one
// look-up, as the balancer looks names up all the time, and those of the page's
// connections, which have sockets that are counted.
func goroutines(stacks string) census {
	c := census{}
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		stack = strings.TrimSpace(stack)
		if !strings.HasPrefix(stack, "goroutine ") || strings.HasPrefix(stack, "goroutine 0 ") {
			continue
		}
		kind, creator := "unknown", ""
		for line := range strings.Lines(stack) {
			line = strings.TrimRight(line, "\n")
			if by, ok := strings.CutPrefix(line, "created by "); ok {
				creator = by
			}
			end := strings.LastIndexByte(line, '(') // of the function's name; what follows is its arguments
			if end <= 0 || line[0] == '\t' || creator != "" || strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "runtime.goexit") {
				continue
			}
			if function := line[:end]; ours(function) || !ours(kind) {
				kind = function
			}
		}
		if !passing(creator) {
			c[kind]++
		}
	}
	return c
}

func ours(function string) bool {
	return strings.HasPrefix(function, "udplab/") || strings.HasPrefix(function, "main.")
}

// passing says whether goroutines of this creator are the runtime's or come and
// go by themselves.
func passing(creator string) bool {
	for _, prefix := range []string{"runtime.", "net.", "net/http.", "internal/singleflight.", "time.goFunc"} {
		if strings.HasPrefix(creator, prefix) {
			return true
		}
	}
	return false
}
