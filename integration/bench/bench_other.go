//go:build !linux

package main

import (
	"context"
	"errors"
	"io"

	"udplab/services/kit/app"
)

// measureAll says that it cannot: the load uses Linux's system calls, and the
// processor's time is read from its /proc.
func measureAll(context.Context, *config, io.Writer, io.Writer) error {
	return app.CannotStart(errors.New("this benchmark is for Linux only"))
}
