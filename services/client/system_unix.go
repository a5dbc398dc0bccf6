//go:build unix

package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// statusRequests hears SIGQUIT (Ctrl-\), as ping does, until stop is called.
func statusRequests() (requests <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGQUIT)
	return signals, func() { signal.Stop(signals) }
}

// undelivered says why a datagram did not get to the target, if that is what
// the error reports, or "".
func undelivered(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	}
	return ""
}

// obeysEscapes says whether a terminal of this kind, as TERM has it, obeys escape
// sequences.
func obeysEscapes(_ any, kind string) bool { return kind != "" && kind != "dumb" }
