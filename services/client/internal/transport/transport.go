// Package transport takes datagrams to the target and brings what comes back. Each
// client of a run is a socket of its own, connected to the target: it hears nobody
// else, and hears a refusal.
package transport

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"syscall"
	"time"
)

// Transport is the sockets of one run. It belongs to one goroutine; only Wake may
// be called by others, until Close.
type Transport interface {
	// Send hands datagrams of one client to the system, and calls refused with
	// the error of each that it does not take. The payloads are not kept.
	Send(client int, payloads [][]byte, refused func(error))
	// Receive waits until something has arrived or Wake is called, at most for
	// limit, and calls arrived for everything that is there.
	Receive(limit time.Duration, arrived func(Arrival))
	// Wake makes Receive return, now or at its next call.
	Wake()
	// Close closes the sockets and leaves nothing running.
	Close()
}

// Arrival is one datagram that came to a client, or else why one was not delivered,
// or why nothing will come any more.
type Arrival struct {
	Client      int
	At          time.Time
	Payload     string
	Undelivered string
	Failed      error // the transport is of no use any more
}

// Opener opens sockets to the target, HOST:PORT, and says which address that is.
type Opener func(ctx context.Context, target string, clients int) (Transport, netip.AddrPort, error)

// undelivered is the errors that report a datagram as not delivered.
var undelivered = map[syscall.Errno]string{
	syscall.ECONNREFUSED: "refused",
	syscall.EHOSTUNREACH: "unreachable",
	syscall.ENETUNREACH:  "unreachable",
	// Windows has numbers of its own, and calls a refused datagram a reset.
	10054: "refused",     // WSAECONNRESET
	10061: "refused",     // WSAECONNREFUSED
	10051: "unreachable", // WSAENETUNREACH
	10052: "unreachable", // WSAENETRESET
	10065: "unreachable", // WSAEHOSTUNREACH
}

// Undelivered says why a datagram was not delivered, if that is what the error
// reports: "refused" or "unreachable". For other errors it is empty.
func Undelivered(err error) string {
	var errno syscall.Errno
	errors.As(err, &errno)
	return undelivered[errno]
}

// Reason is an error in as few words as possible.
func Reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return cmp.Or(undelivered[errno], errno.Error())
	}
	return err.Error()
}
