package faults

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"udplab/integration/lab"
)

// census is how many there are of each kind: open files, or goroutines.
type census map[string]int

// openFiles is what a process has open.
func openFiles(pid int) (census, error) {
	targets, err := lab.Files(pid)
	c := census{}
	for _, target := range targets {
		c[lab.FileKind(target)]++
	}
	return c, err
}

// beyond names what there is more of than before, by more than the slack.
func (c census) beyond(before census, slack int) error {
	var more []error
	for kind, n := range c {
		if n > before[kind]+slack {
			more = append(more, fmt.Errorf("%d %s instead of %d", n, kind, before[kind]))
		}
	}
	return errors.Join(more...)
}

// running counts the goroutines in the stacks that Go's runtime prints, by who
// created them. It leaves out the runtime's own, those that package net starts
// for one look-up, as the balancer looks names up all the time, and those of the
// page's connections, which have sockets that are counted.
func running(stacks string) census {
	c := census{}
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		stack = strings.TrimSpace(stack)
		if !strings.HasPrefix(stack, "goroutine ") || strings.HasPrefix(stack, "goroutine 0 ") {
			continue
		}
		creator := "main"
		if _, created, ok := strings.Cut(stack, "\ncreated by "); ok {
			creator, _, _ = strings.Cut(created, " in goroutine ")
		}
		if !passing.MatchString(creator) {
			c[creator]++
		}
	}
	return c
}

// passing matches the creators of goroutines that are the runtime's, or that
// come and go by themselves.
var passing = regexp.MustCompile(`^(runtime|net|net/http|internal/singleflight|context)\.|^time\.goFunc`)
