// Bench measures what a round trip costs through udplab's balancer, beside the
// same round trips without a balancer, through nginx and pen where they are
// installed, and through a bare relay in C:
//
//	go run ./integration/bench
//
// It starts every contestant in turn, several rounds over, and sends 64-byte
// datagrams through it to three echo servers. Contestants have a core to
// themselves; clients and servers, which live in this process, have another.
// What is printed are medians over the rounds, with the least and the most.
// Only loopback is used, in a network namespace of its own where that is
// possible. It is for Linux; elsewhere it says so and exits 2.
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
