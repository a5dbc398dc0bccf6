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
// possible. It is for Linux; elsewhere it says so and exits 2.
//
// Every measurement is printed in Go's benchmark format, for
// golang.org/x/perf/cmd/benchstat, and in the end there is a table of the
// medians. It exits 1 if a contestant of our own failed or broke its order.
package main

import (
	"context"
	"errors"
	"os"

	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

func main() { program.Main("bench", run) }

func run(ctx context.Context) error {
	cfg, err := load(os.Args[1:])
	if errors.Is(err, config.ErrHelp) {
		config.Help(os.Stdout, usage, cfg)
		return nil
	}
	if err != nil {
		return err
	}
	return measureAll(ctx, cfg, os.Stdout, os.Stderr)
}
