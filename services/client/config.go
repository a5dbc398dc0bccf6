package main

import (
	"net"
	"strings"
	"time"

	"udplab/services/client/internal/load"
	"udplab/services/client/internal/ping"
	"udplab/services/kit/config"
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
	ExpectCycle ping.Cycle    `env:"CLIENT_EXPECT_CYCLE" flag:"expect-cycle" help:"server1,server2,server3: exit 1 at the first answer out of turn"`
	Window      int           `env:"--window" envDefault:"64" range:"1..10000" flag:"window" help:"load: datagrams that each client keeps under way"`
	Rate        int           `env:"--rate" envDefault:"0" range:"0..1000000" flag:"rate" help:"load: datagrams a second, of all clients; 0: as fast as answers come"`
	Duration    time.Duration `env:"--duration" envDefault:"5s" range:"0s.." flag:"duration" help:"load: how long to send; 0: until Ctrl-C"`
	Clients     int           `env:"--clients" envDefault:"1" range:"1..1000" flag:"clients" help:"load: clients at once, each with a port of its own"`
	Epilogue    string        `env:"CLIENT_EPILOGUE" help:"printed after the summary; compose says there how to run again"`

	question *string // the words of ask
}

// noOrder is why a load takes no --expect-cycle.
const noOrder = "it left out: of many datagrams under way nobody can tell the order; ping can"

// misplaced says which flags do not go with a command, and what would.
func misplaced(command string) map[string]string {
	flags := map[string]string{
		"window":   "load in front of it: only a load has more than one under way",
		"rate":     "load in front of it; pings have --interval",
		"duration": "load in front of it; pings have --count",
		"clients":  "load in front of it: pings come from one client",
	}
	switch command {
	case "menu":
		return nil
	case "load":
		return map[string]string{"interval": "--rate: a load waits for no single answer", "expect-cycle": noOrder}
	case "ask":
		flags["count"] = "no such flag: a question is asked once"
		flags["interval"] = flags["count"]
		flags["size"] = "no such flag: a question is sent as it is"
	}
	return flags
}

// loadSettings reads the configuration of a command.
func loadSettings(command string, args, environ []string) (cfg settings, warnings []string, err error) {
	from := config.Source{Prefix: "CLIENT_", Args: args, Environ: environ, Refused: misplaced(command), Arguments: target}
	switch command {
	case "ask":
		from.Arguments = func(words []string) (map[string]string, error) {
			text := strings.Join(words, " ")
			cfg.question = &text
			if len(words) == 0 {
				return nil, config.Problem{Name: "argument", Want: "a text to send"}
			}
			return nil, ping.CheckQuestion(text)
		}
	case "load": // how many pings a variable asks for is no limit for a load
		from.Args = append([]string{"--count=0"}, args...)
	}
	warnings, err = config.Load(&cfg, from)
	switch {
	case err != nil:
	case emptyCycle(from):
		err = config.Problem{Name: "--expect-cycle", Want: ping.WantCycle + ", or no such flag"}
	case command == "load" && cfg.ExpectCycle != nil:
		err = config.Problem{Name: "CLIENT_EXPECT_CYCLE", Value: strings.Join(cfg.ExpectCycle, ","), Want: noOrder}
	case command == "menu" && cfg.JSON:
		err = config.Problem{Name: "--json", Value: "true", Want: "no menu: it is for people"}
	}
	return cfg, warnings, err
}

// emptyCycle says whether the command line has an empty --expect-cycle: where a
// script forgot to set a variable, that must not pass for a check.
func emptyCycle(from config.Source) bool {
	var probe settings
	from.Environ = []string{"CLIENT_EXPECT_CYCLE=server1"} // which an empty flag takes back
	_, err := config.Load(&probe, from)
	return err == nil && probe.ExpectCycle == nil
}

// target turns the arguments HOST PORT or HOST:PORT into the variable they override.
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

// setFlag sets in a plan what a flag of the command line would set.
func setFlag(plan *ping.Plan, flag, value string) error {
	var cfg settings
	if _, err := config.Load(&cfg, config.Source{Args: []string{flag + "=" + value}}); err != nil {
		return err
	}
	switch flag {
	case "--count":
		plan.Count = int64(cfg.Count)
	case "--interval":
		plan.Interval = cfg.Interval
	case "--timeout":
		plan.Timeout = cfg.Timeout
	}
	return nil
}

// pings is the plan of a run of pings, or of a question.
func (c settings) pings() ping.Plan {
	return ping.Plan{
		Count: int64(c.Count), Interval: c.Interval, Timeout: c.Timeout, Size: c.Size,
		Cycle: c.ExpectCycle, Question: c.question,
	}
}

// load is the plan of a load. With a count, the duration is no limit.
func (c settings) load() load.Plan {
	p := load.Plan{
		Clients: c.Clients, Window: c.Window * c.Clients, Count: int64(c.Count), Rate: int64(c.Rate),
		Duration: c.Duration, Timeout: c.Timeout, Size: c.Size,
	}
	if p.Count > 0 {
		p.Duration = 0
	}
	return p
}

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
