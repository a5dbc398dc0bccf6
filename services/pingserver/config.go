package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"udplab/services/kit/config"
	"udplab/services/kit/logging"
	"udplab/services/kit/program"
)

// settings is what a ping server can be told.
type settings struct {
	Listen config.Address `env:"PINGSERVER_LISTEN" envDefault:":2526" help:"where requests arrive (argument 1: the port)"`
	Name   serverName     `env:"PINGSERVER_NAME" default:"server1 for port 2526, server2 for 2527, …, else the host's name" help:"who answers: the last word of each answer"`
	Loss   float64        `env:"PINGSERVER_LOSS" envDefault:"0" range:"0..1" help:"the share of answers lost on purpose; the assignment lost 0.36"`
	Seed   *uint64        `env:"PINGSERVER_SEED" empty:"random" help:"the same seed, the same losses and jitter" want:"a whole number from 0 to 18446744073709551615"`
	Delay  time.Duration  `env:"PINGSERVER_DELAY" envDefault:"0s" range:"..1h" help:"how long each answer is held back"`
	Jitter time.Duration  `env:"PINGSERVER_JITTER" envDefault:"0s" range:"..1h" help:"up to how much longer than that, evenly spread"`
	logging.Config

	selfCheck bool // the first argument was healthcheck
}

// load reads the configuration. The warnings are worth a line in the log.
func load(args, environ []string, hostname func() (string, error)) (c settings, warnings []string, err error) {
	warnings, err = config.Load(&c, config.Source{
		Prefix:    "PINGSERVER_",
		Args:      args,
		Environ:   environ,
		Arguments: c.arguments,
	})
	if err != nil || c.Name != "" || c.selfCheck {
		return c, warnings, err
	}
	c.Name, err = defaultName(string(c.Listen), hostname)
	return c, warnings, program.CannotStart(err)
}

func (c *settings) arguments(args []string) (map[string]string, error) {
	if len(args) > 0 && args[0] == "healthcheck" {
		c.selfCheck = true
		args = args[1:]
	}
	switch {
	case len(args) == 0:
		return nil, nil
	case len(args) > 1:
		return nil, config.Problem{Name: "argument", Value: args[1], Want: "nothing behind the port"}
	}
	return map[string]string{"PINGSERVER_LISTEN": ":" + args[0]}, config.Port(args[0])
}

// The ports that name their server: 2526 is server1, 2527 server2, and so on
// to server99.
const (
	firstPort  = 2526
	namedPorts = 99
)

// defaultName is what a server on the address is called unless told.
func defaultName(listen string, hostname func() (string, error)) (serverName, error) {
	_, port, _ := net.SplitHostPort(listen)
	if n, err := strconv.Atoi(port); err == nil && n >= firstPort && n < firstPort+namedPorts {
		return serverName("server" + strconv.Itoa(n-firstPort+1)), nil
	}
	host, err := hostname()
	if err != nil {
		return "", fmt.Errorf("no name for the server: %w; set PINGSERVER_NAME", err)
	}
	var name serverName
	if name.UnmarshalText([]byte(host)) != nil {
		return "", fmt.Errorf("the host's name %q cannot be the last word of an answer; set PINGSERVER_NAME", host)
	}
	return name, nil
}

// serverName is one visible word, since clients read it as the last word of an
// answer and show it. It is no longer than a host's name in DNS.
type serverName string

// UnmarshalText refuses what is not one visible word.
func (n *serverName) UnmarshalText(text []byte) error {
	hidden := func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }
	if len(text) == 0 || len(text) > 253 || !utf8.Valid(text) || strings.ContainsFunc(string(text), hidden) {
		return config.Problem{Value: string(text), Want: "one word without spaces or control characters, at most 253 bytes"}
	}
	*n = serverName(text)
	return nil
}
