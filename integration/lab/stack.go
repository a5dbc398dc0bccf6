package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
)

// Config says what a Stack consists of.
type Config struct {
	Programs Programs
	// Servers is where each ping server listens, "host:port", in turn order;
	// they are called server1, server2 and so on. nil: three of them on free
	// ports. Empty but not nil: none, and BALANCER_BACKENDS names others.
	Servers []string
	// Server and Balancer are variables of each ping server and of the
	// balancer, over those that a Stack sets by itself.
	Server, Balancer Env
}

// anyPort is a free port of this machine that nobody else can reach.
const anyPort = "127.0.0.1:0"

// Stack is a lab that runs. Its methods may not be called by several
// goroutines at once, but for Client and SelfCheck.
type Stack struct {
	cfg   Config
	parts map[string]*Process // "balancer" and the servers, running or ended
}

// Start starts a lab and returns once everything listens. After an error
// nothing runs.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.Servers == nil {
		cfg.Servers = []string{anyPort, anyPort, anyPort}
	}
	s := &Stack{cfg, map[string]*Process{}}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	var backends []string
	for i, addr := range s.cfg.Servers {
		name := serverName(i)
		if err := s.startServer(ctx, name, addr); err != nil {
			return err
		}
		backends = append(backends, name+"="+s.parts[name].Addr)
	}
	return s.launch(ctx, "balancer", "balancer", s.cfg.Balancer, Env{
		"BALANCER_LISTEN":   anyPort,
		"BALANCER_HTTP":     anyPort,
		"BALANCER_BACKENDS": strings.Join(backends, ","),
	})
}

func serverName(i int) string { return fmt.Sprintf("server%d", i+1) }

func (s *Stack) startServer(ctx context.Context, name, addr string) error {
	return s.launch(ctx, "pingserver", name, s.cfg.Server, Env{"PINGSERVER_NAME": name, "PINGSERVER_LISTEN": addr})
}

// launch starts a part with the variables given, and the usual ones that are not.
func (s *Stack) launch(ctx context.Context, program, name string, given, usual Env) error {
	maps.Copy(usual, given)
	process, err := s.cfg.Programs.Launch(ctx, program, name, usual)
	if err == nil {
		s.parts[name] = process
	}
	return err
}

// Addr is where clients send to.
func (s *Stack) Addr() netip.AddrPort { return netip.MustParseAddrPort(s.parts["balancer"].Addr) }

// URL is the address of the balancer's page, without a slash at its end.
func (s *Stack) URL() string { return s.parts["balancer"].URL }

// Servers is where the ping servers listen, in turn order.
func (s *Stack) Servers() (addrs []string) {
	for i := range s.cfg.Servers {
		addrs = append(addrs, s.parts[serverName(i)].Addr)
	}
	return addrs
}

// Part is "balancer", or a ping server by its name.
func (s *Stack) Part(name string) *Process { return s.parts[name] }

// ClientCommand is a client, ready to run, whose target is this stack unless
// its arguments say another. When ctx ends it is told to end.
func (s *Stack) ClientCommand(ctx context.Context, args ...string) *exec.Cmd {
	return s.cfg.Programs.Command(ctx, "client", Env{"CLIENT_TARGET": s.Addr().String()}, args...)
}

// Client runs a client with these arguments until its end; its target is this
// stack unless they say another.
func (s *Stack) Client(ctx context.Context, args ...string) (Exit, error) {
	return Run(ctx, s.ClientCommand(ctx, args...))
}

// SelfCheck runs the self-check of "balancer", or of a ping server by its name.
func (s *Stack) SelfCheck(ctx context.Context, part string) (Exit, error) {
	if part == "balancer" {
		return s.cfg.Programs.Run(ctx, "balancer", Env{"BALANCER_HTTP": strings.TrimPrefix(s.URL(), "http://")}, "healthcheck")
	}
	return s.cfg.Programs.Run(ctx, "pingserver", Env{"PINGSERVER_LISTEN": s.parts[part].Addr}, "healthcheck")
}

// KillServer ends a ping server at once, without a chance to say anything.
func (s *Stack) KillServer(_ context.Context, name string) error {
	s.parts[name].Kill()
	return nil
}

// StartServer starts a ping server that was killed or stopped, where it was.
func (s *Stack) StartServer(ctx context.Context, name string) error {
	return s.startServer(ctx, name, s.parts[name].Addr)
}

// Stop tells the balancer to end and waits until it has.
func (s *Stack) Stop(ctx context.Context) (Exit, error) { return s.parts["balancer"].Stop(ctx), nil }

// Close stops what still runs and waits for it. It returns an error for
// everything that did not end with code 0, unless it was killed for a purpose.
func (s *Stack) Close() error {
	var problems []error
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for _, name := range slices.Sorted(maps.Keys(s.parts)) { // the balancer first
		p := s.parts[name]
		wanted := p.killed
		if exit := p.Stop(ctx); exit.Code != 0 && !wanted {
			problems = append(problems, fmt.Errorf("%s ended with %v\n%s", name, p.cmd.ProcessState, exit.Stderr))
		}
	}
	return errors.Join(problems...)
}
