package main

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// statusRequests hears nothing: Windows has no signal that asks.
func statusRequests() (requests <-chan os.Signal, stop func()) { return nil, func() {} }

// obeysEscapes says whether a console obeys escape sequences, and makes it do so:
// since Windows 10 it does for a program that asks. TERM, which is rarely set
// there, may only forbid it.
func obeysEscapes(out any, kind string) bool {
	if o, ok := out.(*output); ok {
		out = o.to
	}
	file, ok := out.(*os.File)
	if !ok || kind == "dumb" {
		return false
	}
	console := windows.Handle(file.Fd())
	var mode uint32
	if err := windows.GetConsoleMode(console, &mode); err != nil {
		return false
	}
	return windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

// undelivered says why a datagram did not get to the target, if that is what
// the error reports, or "". Windows calls a refused datagram a reset.
func undelivered(err error) string {
	switch {
	case errors.Is(err, windows.WSAECONNRESET), errors.Is(err, windows.WSAECONNREFUSED):
		return "refused"
	case errors.Is(err, windows.WSAEHOSTUNREACH), errors.Is(err, windows.WSAENETUNREACH), errors.Is(err, windows.WSAENETRESET):
		return "unreachable"
	}
	return ""
}
