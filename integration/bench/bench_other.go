//go:build !linux

package main

import (
	"context"
	"errors"
	"io"

	"udplab/services/kit/program"
)

// measureAll says that it cannot: the load uses Linux's system calls, and the
// processor's time is read from its /proc.
func measureAll(context.Context, *settings, io.Writer, io.Writer) error {
	return program.CannotStart(errors.New("this benchmark is for Linux only"))
}
