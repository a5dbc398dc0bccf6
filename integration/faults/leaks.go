package faults

import (
	"errors"
	"fmt"
	"regexp"

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

// created matches who created a goroutine in the stacks that Go's runtime prints.
var created = regexp.MustCompile(`(?m)^created by (\S+)`)

// passing matches the creators of goroutines that come and go by themselves: the
// runtime's own, those that package net starts for a look-up, and those of the
// page's connections, which have sockets that are counted.
var passing = regexp.MustCompile(`^(runtime|net|net/http|internal/singleflight|context)\.|^time\.goFunc`)

// running counts the goroutines in the stacks that Go's runtime prints by their
// creators, but for those that pass.
func running(stacks string) census {
	c := census{}
	for _, match := range created.FindAllStringSubmatch(stacks, -1) {
		if creator := match[1]; !passing.MatchString(creator) {
			c["goroutine of "+creator]++
		}
	}
	return c
}

// beyond names what there is more of than before, by more than the slack. It
// names nothing if before is nil.
func (c census) beyond(before census, slack int) error {
	var more []error
	for kind, n := range c {
		if before != nil && n > before[kind]+slack {
			more = append(more, fmt.Errorf("%d %s instead of %d", n, kind, before[kind]))
		}
	}
	return errors.Join(more...)
}
