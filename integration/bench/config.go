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
	Outstanding int           `env:"--outstanding" envDefault:"0" default:"1" flag:"outstanding" range:"0..4096" help:"with --clients: datagrams that each has under way"`
	Only        []string      `env:"--only" default:"all" flag:"only" help:"these contestants, by name or the beginning of a word of it: udplab,nginx,pen"`
	Balancer    string        `env:"--balancer" default:"built from here" flag:"balancer" help:"a balancer that is built already, as udplab"`
	Also        []string      `env:"--also" default:"none" flag:"also" help:"other builds of the balancer as further contestants: NAME=PATH,…"`
	Quick       bool          `env:"--quick" flag:"quick" help:"one short round: proves that it works, not how fast"`
	JSON        bool          `env:"--json" flag:"json" help:"one JSON document instead of tables"`
	Markdown    bool          `env:"--markdown" flag:"markdown" help:"the README's tables instead"`
	Netns       netns         `env:"--netns" envDefault:"auto" flag:"netns" want:"auto, on or off" help:"a network namespace of our own (auto: if we may), where no firewall's rules slow loopback down"`
}

// netns says whether to measure in a network namespace of our own.
type netns string

func (n *netns) UnmarshalText(text []byte) error {
	if !slices.Contains([]string{"auto", "on", "off"}, string(text)) {
		return fmt.Errorf("%q is none of them", text)
	}
	*n = netns(text)
	return nil
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

// Check refuses what does not go together.
func (c *settings) Check(wrong func(variable, want string)) {
	if c.Outstanding > 0 && c.Clients == 0 {
		wrong("--outstanding", "--clients with it")
	}
	if c.Clients*c.Outstanding > mostUnderWay {
		wrong("--outstanding", fmt.Sprintf("at most %s datagrams under way with --clients", thousands(mostUnderWay)))
	}
	if c.JSON && c.Markdown {
		wrong("--markdown", "either it or --json")
	}
	c.checkAlso(wrong)
	for _, name := range c.Only {
		if !slices.ContainsFunc(contestantNames, func(n string) bool { return chooses(name, n) }) {
			wrong("--only", "the beginnings of some of: "+strings.Join(contestantNames, ", "))
			return
		}
	}
}

// checkAlso refuses builds without a path, and names that are taken.
func (c *settings) checkAlso(wrong func(variable, want string)) {
	names := slices.Clone(contestantNames)
	for _, also := range c.Also {
		name, path, _ := strings.Cut(also, "=")
		switch {
		case name == "" || path == "":
			wrong("--also", "NAME=PATH of a balancer that is built already")
		case slices.Contains(names, name):
			wrong("--also", fmt.Sprintf("names that no other contestant has, and %q has one", name))
		}
		names = append(names, name)
	}
}

// contestants are the names of all contestants, in the order of their turns.
func (c *settings) contestants() (names []string) {
	for _, name := range contestantNames {
		names = append(names, name)
		if name != udplab {
			continue
		}
		for _, also := range c.Also {
			name, _, _ := strings.Cut(also, "=")
			names = append(names, name)
		}
	}
	return names
}

// alsoPath is where another build of the balancer is; empty if none has this name.
func (c *settings) alsoPath(name string) string {
	for _, also := range c.Also {
		if path, ok := strings.CutPrefix(also, name+"="); ok {
			return path
		}
	}
	return ""
}

// mostUnderWay is how many datagrams may be under way at a time, more than any
// system has room for.
const mostUnderWay = 1_000_000

// wanted says whether a contestant is to take part.
func (c *settings) wanted(name string) bool {
	return len(c.Only) == 0 || c.alsoPath(name) != "" || slices.ContainsFunc(c.Only, func(word string) bool { return chooses(word, name) })
}

// loadCase is so many clients, each with so many datagrams under way.
type loadCase struct {
	Clients     int `json:"clients"`
	Outstanding int `json:"outstanding"`
}

// String is "500 clients × 1".
func (c loadCase) String() string {
	if c.Clients == 1 {
		return fmt.Sprintf("1 client × %d", c.Outstanding)
	}
	return fmt.Sprintf("%s clients × %d", thousands(c.Clients), c.Outstanding)
}

// cases are what is measured.
func (c *settings) cases() []loadCase {
	if c.Clients > 0 {
		return []loadCase{{c.Clients, max(c.Outstanding, 1)}}
	}
	return []loadCase{{1, 64}, {500, 1}, {10_000, 1}, {1, 1}}
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
