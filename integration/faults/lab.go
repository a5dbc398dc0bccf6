// Package faults breaks a running lab at random and holds it to its promise
// all the while: servers are killed, frozen, stopped, restarted elsewhere, and
// their addresses given to others; all servers are down; the resolver is gone;
// the balancer itself is killed, stopped and frozen; and clients come and go.
//
//	Lab       what can be broken; there is one of processes and one of containers
//	Run       breaks it, mends it, and checks what is left
//	schedule  what breaks in which order, which the seed alone decides
//	clients   come and go, and check every reply, with package traffic
//	observer  records what the balancer says all the while: sums that add up, turns in order
//
// A seed repeats what is broken, not the moments and the traffic in between,
// which depend on the machine. The tests of this package break labs of both
// sorts, for a few seconds each; by hand they take flags:
//
//	go test -v ./integration/faults -faults=1m -seed=7
//	go test -v -timeout 30m ./integration/faults -run Containers -faults=10m
package faults

import (
	"context"
	"net/netip"
	"strings"
	"syscall"
)

// Lab is three ping servers called server1 to server3 and a balancer in front
// of them, none of which runs yet. A ping server may be started at any of the
// site's places, always on the same port. Beside the three there is "guest", a
// ping server that is in nobody's list of servers. All of them and "balancer"
// are the lab's parts.
type Lab interface {
	Site() Site
	// Start starts a part that does not run and waits until it does: a ping
	// server at a place, the balancer where it always is.
	Start(ctx context.Context, part string, place netip.Addr) error
	// End sends a part SIGKILL, SIGTERM or SIGQUIT and waits until it has ended,
	// which has to be in the way that the signal asks for. It returns what the
	// part wrote to stderr.
	End(ctx context.Context, part string, signal syscall.Signal) (stderr string, err error)
	// Freeze keeps a part from running, or lets it go on.
	Freeze(ctx context.Context, part string, frozen bool) error
	// PID is a part's process, as this machine numbers it.
	PID(ctx context.Context, part string) (int, error)
}

// Site says where everything in a lab is.
type Site struct {
	Addr      netip.AddrPort // where clients reach the balancer
	URL       string         // of its page
	StateFile string         // the balancer's, as this machine sees it
	Places    []netip.Addr   // for ping servers, more than there are of them
	Names     *Names         // the resolver that the balancer asks
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

// Places is so many addresses from one on.
func Places(first netip.Addr) (places []netip.Addr) {
	for range 8 {
		places, first = append(places, first), first.Next()
	}
	return places
}

// Env is the variables of every lab's balancer. Everything is quick: what
// breaks is soon noticed, and so is what is left behind.
func Env() map[string]string {
	var backends []string
	for _, server := range servers {
		backends = append(backends, server+"="+server+Domain+":"+Port)
	}
	return map[string]string{
		"BALANCER_BACKENDS":         strings.Join(backends, ","),
		"BALANCER_PROBE":            "healthcheck",
		"BALANCER_PROBE_INTERVAL":   "100ms",
		"BALANCER_PROBE_TIMEOUT":    "200ms",
		"BALANCER_RESOLVE_INTERVAL": "200ms",
		"BALANCER_SESSION_IDLE":     "500ms",
		"BALANCER_ANSWER_TIMEOUT":   "300ms",
	}
}
