package main

import (
	"fmt"

	"udplab/services/kit/config"
)

const usage = `
usage: soak [flags]

Sends a great many datagrams through the whole lab and balances the books.
`

// settings is everything that can be set.
type settings struct {
	Datagrams uint64 `env:"--datagrams" envDefault:"1000000" flag:"datagrams" range:"1..1000000000000" help:"how many to send, by all clients together"`
	Clients   int    `env:"--clients" envDefault:"8" flag:"clients" range:"1..900" help:"clients at once"`
	Window    int    `env:"--window" envDefault:"32" flag:"window" range:"1..900" help:"datagrams that each client has under way"`
	Seed      uint64 `env:"--seed" envDefault:"0" default:"random" flag:"seed" help:"the same seed, the same sizes of datagrams"`
}

// mostUnderWay is how many datagrams may be under way at a time. Loopback
// queues 1,000 for each processor (net.core.netdev_max_backlog); what it drops
// beyond that belongs to no socket, and no book could tell where it went.
const mostUnderWay = 900

// Check refuses what does not go together.
func (c *settings) Check(wrong func(variable, want string)) {
	if c.Clients*c.Window > mostUnderWay {
		wrong("--window", fmt.Sprintf("at most %d datagrams under way, so at most %d with --clients %d", mostUnderWay, mostUnderWay/c.Clients, c.Clients))
	}
}

// load reads the flags.
func load(args []string) (*settings, error) {
	var cfg settings
	_, err := config.Load(&cfg, config.Source{Args: args})
	return &cfg, err
}
