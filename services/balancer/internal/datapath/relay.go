// Package datapath carries datagrams: from clients to the backends whose turn it
// is, and the replies back.
//
//	client ──► listener ──► session's socket ──► backend
//	client ◄── listener ◄── session's socket ◄── backend
//
// A session is one client and what its datagrams leave from, so that a reply
// that comes back there is known to be that client's. Nothing waits for
// anything but input: no datagram waits for another's reply, and what the
// kernel refuses is dropped and counted under its reason.
//
// There is one promise and there are two data paths for it. The one on package
// net runs everywhere and is the one to read first (portable.go). The one for
// Linux does the same with a few system calls for many datagrams
// (epoll_linux.go). One suite of tests holds both to the promise.
package datapath

import (
	"context"
	"net/netip"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/config"
)

// Config is what a Relay is made of.
type Config struct {
	Listen      string        // "[host]:port" that clients send to
	SessionIdle time.Duration // a session without a datagram for so long is closed
	MaxSessions int           // clients at once
	ClientRate  int           // datagrams a second from each client; 0: as many as it likes
	Drain       time.Duration // how long replies are still carried after the stop
	DataPath    DataPath
	Workers     int // epoll only: listeners and loops; 0: one for each processor
	Rotation    *balancing.Rotation
	Ledger      *ledger.Ledger
	Backends    Backends
}

// Backends is what the data path asks about the backends and what it tells
// about them. It is called for every datagram, by several goroutines.
type Backends interface {
	// Len is how many there are.
	Len() int
	// Addr is where a backend is now; not valid if nobody knows.
	Addr(backend int) netip.AddrPort
	// Owner says whose address this is, and whether it is the current one.
	Owner(addr netip.AddrPort) (backend int, current, ok bool)
	// Refused tells that the system reported err, a refusal, for a datagram
	// to addr.
	Refused(backend int, addr netip.AddrPort, err error)
	// Answered tells that a reply came from addr.
	Answered(backend int, addr netip.AddrPort)
	// Tried tells that a trial turn has been used.
	Tried(backend int)
}

// Relay is a data path.
type Relay interface {
	// Addr is the address it listens on.
	Addr() netip.AddrPort
	// ReceiveBuffer is the listener's buffer in bytes, asked for and granted;
	// granted is 0 where the system does not say.
	ReceiveBuffer() (asked, granted int)
	// KernelDrops is how many datagrams the kernel has dropped at the
	// listener because nobody took them in time; 0 where it does not say.
	KernelDrops() uint64
	// Run carries datagrams until the context ends, then replies for as long
	// as Drain allows, closes every socket and returns nil. It returns an
	// error if the listener fails.
	Run(ctx context.Context) error
	// Close releases a Relay that is not going to Run.
	Close() error
}

// DataPath names a way to carry datagrams.
type DataPath string

const (
	Auto     DataPath = "auto"     // the best there is for the system
	Epoll    DataPath = "epoll"    // an event loop, on Linux
	Portable DataPath = "portable" // package net, on every system
)

// UnmarshalText refuses a name that no data path has, also one that is not for
// this system.
func (d *DataPath) UnmarshalText(text []byte) error {
	switch name := DataPath(text); {
	case name == Auto, openers[name] != nil:
		*d = name
		return nil
	case name == Epoll:
		return config.Problem{Value: string(text), Want: "auto or portable: epoll is for Linux only"}
	}
	return config.Problem{Value: string(text), Want: "auto, epoll or portable"}
}

// Choose says which data path auto stands for here.
func (d DataPath) Choose() DataPath {
	switch {
	case d != Auto && d != "":
		return d
	case openers[Epoll] != nil:
		return Epoll
	}
	return Portable
}

// openers are the data paths of this system.
var openers = map[DataPath]func(context.Context, Config) (Relay, error){Portable: openPortable}

// Open opens the data path's sockets and starts nothing. Its errors name the
// address that could not be had.
func Open(ctx context.Context, cfg Config) (Relay, error) {
	return openers[cfg.DataPath.Choose()](ctx, cfg)
}

// receiveBuffer is what a listener asks the kernel for, in bytes: some 5,000
// small datagrams by the kernel's way of counting, a burst's worth.
const receiveBuffer = 4 << 20

// mostUnread is how many datagrams there can be in a receive buffer, each of
// which takes 512 bytes at least by the kernel's way of counting.
const mostUnread = receiveBuffer / 512
