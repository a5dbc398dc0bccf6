// Package faults breaks a running lab at random and holds it to its promise
// all the while: servers are killed, frozen, stopped, restarted elsewhere, and
// their addresses given to others; all servers are down; the resolver is gone;
// the balancer itself is killed, stopped and frozen; and clients come and go.
//
//	Schedule   what breaks when: a matter of the seed alone
//	Lab        what can be broken; there is one of processes and one of containers
//	Play       breaks it, mends it, and looks at what is left
//	Books      what clients sent and got: every answer is theirs, once, from a server
//	Record     what the balancer said all the while: sums that add up, turns in order
//
// A seed repeats what is broken, not the traffic in between, which is as fast
// as the machine is. The tests of this package play labs of both sorts, a
// quarter of a minute each; by hand they take flags:
//
//	go test -v ./integration/faults -faults=1m -seed=7
//	go test -v -timeout 30m ./integration/faults -run Containers -faults=10m
package faults

import (
	"context"
	"net/netip"
)

// Lab is three ping servers called server1 to server3 and a balancer in front
// of them, none of which runs yet. A ping server may be started at any of the
// lab's places, always on the same port. Beside the three there is "guest", a
// ping server that is in nobody's list of servers. All of them and "balancer"
// are the lab's parts.
//
// The balancer asks Names where its servers are, and clients need not: they
// reach it where it always is.
type Lab interface {
	// Addr is where clients reach the balancer, and URL its page.
	Addr() netip.AddrPort
	URL() string
	// Places is the addresses that ping servers can be started at, more than
	// there are ping servers.
	Places() []netip.Addr
	// Names is the resolver that the balancer asks.
	Names() *Names
	// Configure sets variables of the balancer, before its first start.
	Configure(env map[string]string)

	// Start starts a part that does not run and waits until it does; a ping
	// server at a place, the balancer where it always is.
	Start(ctx context.Context, part string, place netip.Addr) error
	// Kill ends a part at once, and Stop tells it to end and waits.
	Kill(ctx context.Context, part string) error
	Stop(ctx context.Context, part string) error
	// Freeze keeps a part from running, and Thaw lets it go on.
	Freeze(ctx context.Context, part string) error
	Thaw(ctx context.Context, part string) error

	// Dump ends the balancer by SIGQUIT and returns what it says then: the
	// stacks of its goroutines.
	Dump(ctx context.Context) (stacks string, err error)
	// PID is the balancer's process, as this machine numbers it.
	PID(ctx context.Context) (int, error)
	// StateFile is the balancer's state file, as this machine sees it.
	StateFile() string
}

const (
	balancer = "balancer"
	guest    = "guest"
)

// servers are those that take turns, in turn order.
var servers = []string{"server1", "server2", "server3"}

// Domain is where the servers' names are: server1.udplab.test and so on. It is
// one that no resolver outside the test knows (RFC 2606).
const Domain = ".udplab.test"

// Port is where ping servers listen, at whichever place.
const Port = "2526"
