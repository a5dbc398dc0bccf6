// Package faults breaks a running lab at random and holds it to its promise
// all the while: servers are killed, frozen, stopped, restarted elsewhere, and
// their addresses given to others; all servers are down; the resolver is gone;
// the balancer itself is killed, stopped and frozen; and clients come and go.
//
//	Lab       what can be broken; there is one of processes and one of containers
//	Run       breaks it, mends it, and checks what is left
//	kinds     are the faults there are: how each breaks the lab, and how it is mended
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
	"time"

	"udplab/integration/lab"
)

// Lab is where ping servers and a balancer can be started. Its parts are three
// ping servers called server1 to server3, the balancer in front of them, and
// "guest", a ping server that is in nobody's list of servers.
type Lab struct {
	Balancer  netip.Addr        // where the balancer is
	Places    []netip.Addr      // for ping servers, twice as many as there are of them
	Names     *Names            // the resolver that the balancer asks
	StateFile string            // the balancer's, as this machine sees it
	Env       map[string]string // variables of the balancer, besides those that Run sets
	// Launch starts a program at an address, and waits until it listens there. It
	// outlives ctx.
	Launch func(ctx context.Context, program, part string, at netip.Addr, env map[string]string) (Part, error)
}

// Part is a program that runs.
type Part interface {
	// PID is its process, as this machine numbers it.
	PID() int
	// Wait waits until it has ended, and tries no longer than ctx.
	Wait(ctx context.Context) lab.Exit
}

// Short is how long things are broken in a run that is one of many tests. It
// takes longer if a fault of every kind does.
const Short = 8 * time.Second

const (
	balancer = "balancer"
	guest    = "guest"
	port     = "2526"         // of ping servers, at whichever place
	domain   = ".udplab.test" // of the servers' names; no resolver outside the test knows it (RFC 2606)
)

// servers are those that take turns, in turn order.
var servers = []string{"server1", "server2", "server3"}

// Places is as many addresses as a lab needs for ping servers, from one on.
func Places(first netip.Addr) (places []netip.Addr) {
	for range 2 * len(servers) {
		places, first = append(places, first), first.Next()
	}
	return places
}
