package main

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// statusRequests hears nothing: Windows has no signal that asks.
func statusRequests() (requests <-chan os.Signal, stop func()) { return nil, func() {} }

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
