package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"udplab/services/kit/config"
)

const usage = `
usage: bench [flags]

Measures round trips through the balancer and, in turn, through whatever else
there is to compare it with. Linux only.
`

// settings is everything that can be set.
type settings struct {
	Rounds      int           `env:"--rounds" envDefault:"3" flag:"rounds" range:"1..1000" help:"how often every measurement is made; the medians count"`
	Duration    time.Duration `env:"--duration" envDefault:"3s" flag:"duration" range:"10ms..10m" help:"how long each measurement takes"`
	WarmUp      time.Duration `env:"--warm-up" envDefault:"500ms" flag:"warm-up" range:"0s..1m" help:"traffic before each measurement"`
	Clients     int           `env:"--clients" envDefault:"0" default:"all four cases" flag:"clients" range:"0..20000" help:"measure one case only: so many clients"`
	Outstanding int           `env:"--outstanding" envDefault:"0" default:"1" flag:"outstanding" range:"0..4096" help:"with --clients: datagrams that each has in flight"`
	Only        []string      `env:"--only" default:"all" flag:"only" help:"these contestants, by name or the beginning of a word of it: udplab,nginx,pen"`
	Also        []string      `env:"--also" default:"none" flag:"also" help:"other builds of the balancer as further contestants: NAME=PATH,…"`
	Balancer    string        `env:"--balancer" default:"built from here" flag:"balancer" help:"a balancer that is built already, as udplab"`
	Quick       bool          `env:"--quick" flag:"quick" help:"one short round: proves that it works, not how fast"`
	Netns       string        `env:"--netns" envDefault:"auto" flag:"netns" help:"a network namespace of its own (auto: if permitted), where no firewall slows loopback down"`
}

// load reads the flags.
func load(args []string) (*settings, error) {
	var cfg settings
	_, err := config.Load(&cfg, config.Source{Args: args})
	if cfg.Quick {
		cfg.Rounds, cfg.Duration, cfg.WarmUp = 1, min(cfg.Duration, 300*time.Millisecond), min(cfg.WarmUp, 100*time.Millisecond)
	}
	return &cfg, err
}

// mostInFlight is more datagrams than any system has room for.
const mostInFlight = 1_000_000

// Check refuses what does not go together.
func (c *settings) Check(wrong func(variable, want string)) {
	if c.Outstanding > 0 && c.Clients == 0 {
		wrong("--outstanding", "--clients with it")
	}
	if c.Clients*c.Outstanding > mostInFlight {
		wrong("--outstanding", fmt.Sprintf("at most %d datagrams in flight with --clients", mostInFlight))
	}
	for _, word := range c.Only {
		if !slices.ContainsFunc(contestantNames, func(name string) bool { return chooses(word, name) }) {
			wrong("--only", "the beginnings of some of: "+strings.Join(contestantNames, ", "))
			break
		}
	}
	if !slices.Contains([]string{"auto", "on", "off"}, c.Netns) {
		wrong("--netns", "auto, on or off")
	}
	names := slices.Clone(contestantNames)
	for _, also := range c.Also {
		name, path, _ := strings.Cut(also, "=")
		if name == "" || path == "" || strings.Contains(name, " ") || slices.Contains(names, name) {
			wrong("--also", "NAME=PATH of a balancer that is built already, under a name that no other contestant has")
			break
		}
		names = append(names, name)
	}
}

// The contestants, as the flags and the report name them.
const (
	direct           = "direct"
	udplab           = "udplab"
	udplabPortable   = "udplab portable"
	nginxPerDatagram = "nginx per datagram"
	nginxPerFlow     = "nginx per flow"
	pen              = "pen"
	relayInC         = "relay in C"
)

var contestantNames = []string{direct, udplab, udplabPortable, nginxPerDatagram, nginxPerFlow, pen, relayInC}

// ours says whether a contestant is the balancer or the load itself, whose
// failure fails the run. That others cannot serve a case is a result.
func ours(name string) bool {
	return name != nginxPerDatagram && name != nginxPerFlow && name != pen && name != relayInC
}

// chooses says whether a word of --only stands for a contestant: its whole
// name, or, unless it is another's, the beginning of a word of it.
func chooses(word, name string) bool {
	if slices.Contains(contestantNames, word) {
		return word == name
	}
	return slices.ContainsFunc(strings.Fields(name), func(part string) bool { return strings.HasPrefix(part, word) })
}

// wanted says whether --only lets a contestant take part.
func (c *settings) wanted(name string) bool {
	return len(c.Only) == 0 || slices.ContainsFunc(c.Only, func(word string) bool { return chooses(word, name) })
}

// loadCase is so many clients, each with so many datagrams in flight.
type loadCase struct{ clients, outstanding int }

// String is "500 × 1".
func (c loadCase) String() string { return fmt.Sprintf("%d × %d", c.clients, c.outstanding) }

// cases is what is measured.
func (c *settings) cases() []loadCase {
	if c.Clients > 0 {
		return []loadCase{{c.Clients, max(c.Outstanding, 1)}}
	}
	return []loadCase{{1, 64}, {500, 1}, {10_000, 1}, {1, 1}}
}
