// Package program says how udplab's programs start, stop and exit.
//
// # Exit codes
//
//	0  it did what it was asked
//	1  it died while running, or a limit the user set was broken
//	2  it could not start: usage, configuration, a name or a socket
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"udplab/services/kit/config"
)

// Main runs a program until it returns or is told to stop, and exits with its
// code. The context ends at the first SIGINT or SIGTERM; a second one ends the
// process at once. Every line of an error goes to stderr after the program's
// name.
func Main(name string, run func(ctx context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from now on a signal has its default effect
	os.Exit(report(os.Stderr, name, run(ctx)))
}

// report prints what ended the program and returns its exit code.
func report(stderr io.Writer, name string, err error) int {
	if err == nil {
		return 0
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "%s: %s\n", name, strings.TrimRight(line, "\n"))
	}
	return ExitCode(err)
}

// exit is an error that knows the code the process ends with.
type exit struct {
	error // without a text: everything has been said already
	code  int
}

func (e exit) Unwrap() error { return e.error }

// CannotStart marks err as a reason not to start: exit code 2. It returns nil
// for nil.
func CannotStart(err error) error {
	if err == nil {
		return nil
	}
	return exit{err, 2}
}

// Exit is an error that ends the program with the code and prints nothing.
// It returns nil for 0.
func Exit(code int) error {
	if code == 0 {
		return nil
	}
	return exit{errors.New(""), code}
}

// ExitCode says which code a program that returned err exits with.
func ExitCode(err error) int {
	var e exit
	var problem config.Problem
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	case errors.As(err, &problem):
		return 2
	}
	return 1
}
