package main

import (
	"time"

	"udplab/services/balancer/internal/api"
	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/datapath"
	"udplab/services/balancer/internal/membership"
	"udplab/services/kit/config"
	"udplab/services/kit/logging"
)

const usage = `
usage: balancer [PORT]        balance from that port instead of BALANCER_LISTEN's
       balancer healthcheck   exit 0 if the balancer that these variables configure is alive

Hands every UDP datagram to the next server in turn and carries the replies back.
`

// settings is everything that can be set.
type settings struct {
	Listen          config.Address     `env:"BALANCER_LISTEN" envDefault:":8888" help:"[host]:port that clients send to (argument 1: the port)"`
	Backends        membership.List    `env:"BALANCER_BACKENDS" envDefault:"server1=localhost:2526,server2=localhost:2527,server3=localhost:2528" empty:"refused" help:"the servers, name=host:port, in turn order"`
	HTTP            config.Address     `env:"BALANCER_HTTP" envDefault:"localhost:8080" empty:"off" help:"[host]:port of the page, the status and the health"`
	HTTPHosts       api.Hosts          `env:"BALANCER_HTTP_HOSTS" envDefault:"localhost,127.0.0.1,[::1],balancer" help:"names that a request may come under"`
	WhenDown        balancing.WhenDown `env:"BALANCER_WHEN_DOWN" envDefault:"skip" want:"skip or hold" help:"the turn of a server that is down: skip gives it to the next, hold loses it"`
	Workers         int                `env:"BALANCER_WORKERS" envDefault:"1" range:"0..256" help:"event loops that share the port; 0: one for each processor"`
	DataPath        datapath.Kind      `env:"BALANCER_DATAPATH" envDefault:"auto" help:"how datagrams are carried: epoll (Linux), portable, or auto: the best there is"`
	SessionIdle     time.Duration      `env:"BALANCER_SESSION_IDLE" envDefault:"60s" range:"1ms.." help:"a client without a datagram either way for so long is forgotten"`
	MaxSessions     int                `env:"BALANCER_MAX_SESSIONS" envDefault:"10000" range:"1..1000000" help:"clients at once"`
	ClientRate      int                `env:"BALANCER_CLIENT_RATE" envDefault:"0" range:"0..1000000" help:"datagrams a second from one client, its address and port; 0: no limit"`
	AnswerTimeout   time.Duration      `env:"BALANCER_ANSWER_TIMEOUT" envDefault:"1s" range:"1ms.." help:"after so long a turn shows as unanswered"`
	ResolveInterval time.Duration      `env:"BALANCER_RESOLVE_INTERVAL" envDefault:"2s" range:"10ms.." help:"how often the servers' names are resolved again"`
	Probe           string             `env:"BALANCER_PROBE" empty:"off" help:"payload that servers are probed with"`
	ProbeInterval   time.Duration      `env:"BALANCER_PROBE_INTERVAL" envDefault:"1s" range:"10ms.." help:"from one probe of a server to the next"`
	ProbeTimeout    time.Duration      `env:"BALANCER_PROBE_TIMEOUT" envDefault:"500ms" range:"1ms.." help:"how long a probe's answer may take"`
	ProbeRise       int                `env:"BALANCER_PROBE_RISE" envDefault:"2" range:"1..100" help:"probes answered in a row until a server is up"`
	ProbeFall       int                `env:"BALANCER_PROBE_FALL" envDefault:"3" range:"1..100" help:"probes failed in a row until a server is down"`
	StateFile       string             `env:"BALANCER_STATE_FILE" empty:"off" help:"file that keeps whose turn it is over a restart"`
	Drain           time.Duration      `env:"BALANCER_DRAIN" envDefault:"1s" help:"how long replies are still carried after the stop"`
	logging.Config
}

// Check refuses several workers on a data path that has only one.
func (c *settings) Check(wrong func(variable, want string)) {
	if c.Workers > 1 && c.DataPath.Choose() != datapath.Epoll {
		wrong("BALANCER_WORKERS", "0 or 1: only the data path epoll has more")
	}
}

// load reads the configuration of a start with these arguments.
func load(args, environ []string) (*settings, []string, error) {
	var cfg settings
	warnings, err := config.Load(&cfg, config.Source{
		Prefix: "BALANCER_", Args: args, Environ: environ,
		Arguments: func(args []string) (map[string]string, error) {
			switch len(args) {
			case 0:
				return nil, nil
			case 1:
				return map[string]string{"BALANCER_LISTEN": ":" + args[0]}, config.Port(args[0])
			}
			return nil, config.Problem{Name: "argument", Value: args[1], Want: "one argument at most, the port"}
		},
	})
	return &cfg, warnings, err
}
