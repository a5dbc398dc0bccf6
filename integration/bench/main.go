// Bench measures what a round trip costs through udplab's balancer, beside the
// same round trips without a balancer, through nginx and pen where they are
// installed, and through a bare relay in C:
//
//	go run ./integration/bench
//	go run ./integration/bench --also before=/tmp/balancer
//
// It starts every contestant in turn, several rounds over, and sends 64-byte
// datagrams through it to three echo servers. Contestants have a core to
// themselves; clients and servers, which live in this process, have another.
// Only loopback is used, in a network namespace of its own where that is
// permitted: no firewall slows it down there. It is for Linux; elsewhere it says
// so and exits 2.
//
// Every measurement is printed in Go's benchmark format, for
// golang.org/x/perf/cmd/benchstat, and in the end there is a table of the
// medians. It exits 1 if a contestant of our own failed or broke its order.
package main

import "udplab/services/kit/program"

func main() { program.Main("bench", run) }
