//go:build !linux

package main

import (
	"context"
	"errors"

	"udplab/services/kit/program"
)

// run says that it cannot: the load uses Linux's system calls, and the processor time of
// another process is read from its clock.
func run(context.Context) error {
	return program.CannotStart(errors.New("this benchmark is for Linux only"))
}
