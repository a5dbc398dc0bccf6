package main

import (
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"udplab/services/kit/config"
	"udplab/services/kit/logging"
	"udplab/services/kit/udp"
)

const usage = `
usage: client                           the menu if stdin is a terminal, ten pings otherwise
       client [flags] HOST PORT         ten pings (also HOST:PORT, or: client ping …)
       client menu [flags] [HOST PORT]  questions and options, also through a pipe
       client ask [flags] TEXT…         one question, the answer, who gave it
       client load [flags] [HOST PORT]  many datagrams under way, shares and percentiles

Exit code 0: at least one answer, and the limits met. 1: no answer, or a limit
broken. 2: usage, configuration, name or socket error, or output that cannot be
written.`

// settings is the client's configuration: variables, flags and arguments.
type settings struct {
	Target      address       `env:"CLIENT_TARGET" envDefault:"localhost:8888" help:"whom to ask, HOST:PORT; the arguments override it"`
	Count       int           `env:"CLIENT_COUNT" envDefault:"10" range:"0..2147483647" flag:"count,c" help:"how many pings; 0: until Ctrl-C; a load sends exactly so many only if the flag says so"`
	Interval    time.Duration `env:"CLIENT_INTERVAL" envDefault:"200ms" range:"0s.." flag:"interval,i" help:"from one ping to the next, such as 200ms or 0.2; never before the answer or its timeout"`
	Timeout     time.Duration `env:"CLIENT_TIMEOUT" envDefault:"1s" range:"1ms.." flag:"timeout,W" help:"how long to wait for an answer"`
	Size        int           `env:"CLIENT_SIZE" envDefault:"0" range:"0..65507" flag:"size,s" help:"bytes to pad each ping to"`
	Quiet       bool          `env:"--quiet" flag:"quiet,q" help:"the summary only; ask: the answer only"`
	JSON        bool          `env:"--json" flag:"json" help:"one JSON object a line on stdout, nothing else there"`
	MaxLoss     float64       `env:"CLIENT_MAX_LOSS" envDefault:"100" range:"0..100" flag:"max-loss" help:"exit 1 if more than this percentage is lost"`
	ExpectCycle cycle         `env:"CLIENT_EXPECT_CYCLE" flag:"expect-cycle" help:"server1,server2,server3: exit 1 at the first answer out of turn"`
	Window      int           `env:"--window" envDefault:"64" range:"1..10000" flag:"window" help:"load: datagrams that each client keeps under way"`
	Rate        int           `env:"--rate" envDefault:"0" range:"0..1000000" flag:"rate" help:"load: datagrams a second, of all clients; 0: as fast as answers come"`
	Duration    time.Duration `env:"--duration" envDefault:"5s" range:"0s.." flag:"duration" help:"load: how long to send; 0: until Ctrl-C"`
	Clients     int           `env:"--clients" envDefault:"1" range:"1..1000" flag:"clients" help:"load: clients at once, each with a port of its own"`
	Epilogue    string        `env:"CLIENT_EPILOGUE" help:"printed after the summary; compose says there how to run again"`
}

// misplaced says of each command which flags do not go with it, and what would.
var misplaced = map[string]map[string]string{
	"ping": onlyLoads,
	"ask": merge(onlyLoads, map[string]string{
		"count":    "no such flag: a question is asked once",
		"interval": "no such flag: a question is asked once",
		"size":     "no such flag: a question is sent as it is",
	}),
	"load": {
		"interval":     "--rate: a load waits for no single answer",
		"expect-cycle": noOrder,
	},
}

// onlyLoads is what ping and ask say to the flags of load.
var onlyLoads = map[string]string{
	"window":   "load in front of it: only a load has more than one under way",
	"rate":     "load in front of it; pings have --interval",
	"duration": "load in front of it; pings have --count",
	"clients":  "load in front of it: pings come from one client",
}

// noOrder is why a load takes no --expect-cycle.
const noOrder = "it left out: of many datagrams under way nobody can tell the order; ping can"

// loadDefaults are the flags of a load that was given none: how many pings a
// variable asks for does not count here.
var loadDefaults = []string{"--count=0"}

func merge(these, those map[string]string) map[string]string {
	all := maps.Clone(these)
	maps.Copy(all, those)
	return all
}

// checkLoad says what is wrong with a configuration that is fine for pings.
func (c settings) checkLoad() error {
	if c.ExpectCycle != nil {
		return config.Problems{config.Problem{Name: "CLIENT_EXPECT_CYCLE", Value: strings.Join(c.ExpectCycle, ","), Want: noOrder}}
	}
	return nil
}

// epilogue is the text that follows the summary, without its last line break.
func (c settings) epilogue() string { return strings.TrimRight(c.Epilogue, "\n") }

// address is HOST:PORT of somebody to send to: neither may be missing.
type address string

// UnmarshalText refuses what is not HOST:PORT.
func (a *address) UnmarshalText(text []byte) error {
	host, port, err := net.SplitHostPort(string(text))
	if err != nil || host == "" || config.Port(port) != nil {
		return config.Problem{Value: string(text), Want: "HOST PORT or HOST:PORT, with a port from 1 to 65535"}
	}
	*a = address(text)
	return nil
}

// host is the address without its port, as a person names the target.
func (a address) host() string {
	host, _, _ := net.SplitHostPort(string(a))
	return host
}

// emptyCycle says whether the command line has an empty --expect-cycle: where a
// script forgot to set a variable, that must not pass for a check.
func emptyCycle(from config.Source) bool {
	var probe settings
	from.Environ = []string{"CLIENT_EXPECT_CYCLE=server1"} // which an empty flag takes back
	_, err := config.Load(&probe, from)
	return err == nil && probe.ExpectCycle == nil
}

// wantCycle is what --expect-cycle is to be.
const wantCycle = "servers in the order of their turns, each once, such as server1,server2,server3"

// cycle is the names of servers in the order of their turns, each once.
type cycle []string

// UnmarshalText reads names separated by commas.
func (c *cycle) UnmarshalText(text []byte) error {
	names := strings.Split(string(text), ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
		if names[i] == "" || slices.Contains(names[:i], names[i]) {
			return config.Problem{Value: string(text), Want: wantCycle}
		}
	}
	*c = names
	return nil
}

// target turns the arguments HOST PORT or HOST:PORT into the variable they
// override.
func target(args []string) (map[string]string, error) {
	switch len(args) {
	case 0:
		return nil, nil
	case 1:
		return map[string]string{"CLIENT_TARGET": args[0]}, nil
	case 2:
		if err := config.Port(args[1]); err != nil {
			return nil, err
		}
		host := strings.Trim(args[0], "[]") // as an IPv6 address may be written
		return map[string]string{"CLIENT_TARGET": net.JoinHostPort(host, args[1])}, nil
	}
	return nil, config.Problem{Name: "argument", Value: args[2], Want: "nothing after HOST PORT"}
}

// checkQuestion says what is wrong with the words of `client ask`.
func checkQuestion(words []string) error {
	switch text := question(words); {
	case len(words) == 0:
		return config.Problem{Name: "argument", Want: "a text to send"}
	case len(text) > udp.MaxPayload:
		return config.Problem{Name: "argument", Value: text[:logging.Quoted] + "…", Want: "a text of at most 65507 bytes"}
	}
	return nil
}

// question is the text that the words of a command line make.
func question(words []string) string { return strings.Join(words, " ") }
