// Package datapath carries datagrams: from clients to the servers whose turn it
// is, and the replies back.
//
//	client ──► listener ──► session's socket ──► server
//	client ◄── listener ◄── session's socket ◄── server
//
// It only moves bytes. What becomes of a datagram is decided in package session,
// whose turn it is in package balancing. Nothing waits for anything but input: no
// datagram waits for another's reply, and what the kernel refuses is dropped and
// counted under its reason.
//
// There is one promise and there are two data paths for it. The one on package
// net runs everywhere and is the one to read first (portable.go). The one for
// Linux does the same with a few system calls for many datagrams
// (epoll_linux.go). One suite of tests holds both to the promise.
package datapath

import (
	"context"
	"net"
	"net/netip"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/balancer/internal/session"
	"udplab/services/kit/config"
	"udplab/services/kit/udp"
)

// Config is what a data path is made of.
type Config struct {
	Listen      string        // "[host]:port" that clients send to
	SessionIdle time.Duration // a session without a datagram for so long is closed
	MaxSessions int           // clients at once
	ClientRate  int           // datagrams a second from each client; 0: as many as it likes
	Drain       time.Duration // how long replies are still carried after the stop
	Kind        Kind
	Workers     int // epoll only: listeners and loops; 0: one for each processor
	Scheduler   *balancing.Scheduler
	Ledger      *ledger.Ledger
	Members     Members
}

// Members is what a data path asks about the servers and what it tells about
// them. It is called for every datagram, by several goroutines.
type Members interface {
	session.Members
	// Failed tells what speaks against a server.
	Failed(membership.Evidence)
}

// DataPath carries datagrams.
type DataPath interface {
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
	// Close releases a data path that is not going to Run.
	Close() error
}

// Kind names a way to carry datagrams.
type Kind string

const (
	Auto     Kind = "auto"     // the best there is for the system
	Epoll    Kind = "epoll"    // an event loop, on Linux
	Portable Kind = "portable" // package net, on every system
)

// UnmarshalText refuses a name that no data path has, also one that is not for
// this system.
func (k *Kind) UnmarshalText(text []byte) error {
	switch name := Kind(text); {
	case name == Auto, openers[name] != nil:
		*k = name
		return nil
	case name == Epoll:
		return config.Problem{Value: string(text), Want: "auto or portable: epoll is for Linux only"}
	}
	return config.Problem{Value: string(text), Want: "auto, epoll or portable"}
}

// Choose says which data path auto stands for here.
func (k Kind) Choose() Kind {
	switch {
	case k != Auto && k != "":
		return k
	case openers[Epoll] != nil:
		return Epoll
	}
	return Portable
}

// openers are the data paths of this system.
var openers = map[Kind]func(context.Context, Config) (DataPath, error){Portable: openPortable}

// Open opens the data path's sockets and starts nothing. Its errors name the
// address that could not be had.
func Open(ctx context.Context, cfg Config) (DataPath, error) {
	return openers[cfg.Kind.Choose()](ctx, cfg)
}

// receiveBuffer is what a listener asks the kernel for, in bytes: some 5,000
// small datagrams by the kernel's way of counting, a burst's worth.
const receiveBuffer = 4 << 20

// mostUnread is how many datagrams there can be in a receive buffer, each of
// which takes 512 bytes at least by the kernel's way of counting.
const mostUnread = receiveBuffer / 512

// drainInterval is the time between two looks at whether a reply is still missing.
const drainInterval = 5 * time.Millisecond

// expiryInterval is the time between two looks for idle sessions.
func (c *Config) expiryInterval() time.Duration { return max(c.SessionIdle/8, time.Millisecond) }

// newCore returns the core of a worker that shares these with others.
func newCore[U any](cfg Config, self *session.SelfAddrs, capacity session.Capacity, batch int, closeUpstream func(*session.Session[U])) *session.Core[U] {
	return session.New(session.Config[U]{
		Idle: cfg.SessionIdle, Rate: cfg.ClientRate, Capacity: capacity, SelfAddrs: self,
		Scheduler: cfg.Scheduler, Members: cfg.Members, Ledger: cfg.Ledger, Close: closeUpstream,
	}, batch)
}

// newSelfAddrs returns the balancer's own addresses, of which there is none yet.
func newSelfAddrs() *session.SelfAddrs { return session.NewSelfAddrs(net.InterfaceAddrs) }

// refused reports the server at an address that an ICMP error came back from; err
// is what the system made of it. Other errors are no evidence.
func (c *Config) refused(to netip.AddrPort, err error) {
	if b, _ := c.Members.Owner(to); b != nil && udp.IsRefusal(err) {
		c.Members.Failed(membership.Evidence{Backend: b.ID, Addr: to, Cause: membership.Refused, Reason: udp.Reason(err)})
	}
}
