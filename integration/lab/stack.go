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
	Config
	servers  []*server
	balancer *Process
}

// server is one ping server, perhaps stopped.
type server struct {
	name    string
	addr    string // where it listens, also after it was started again
	process *Process
}

// Start starts a lab and returns once everything listens. After an error
// nothing runs.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.Servers == nil {
		cfg.Servers = []string{anyPort, anyPort, anyPort}
	}
	s := &Stack{Config: cfg}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	var backends []string
	for i, addr := range s.Config.Servers {
		server := &server{name: fmt.Sprintf("server%d", i+1), addr: addr}
		s.servers = append(s.servers, server)
		if err := s.StartServer(ctx, server.name); err != nil {
			return err
		}
		backends = append(backends, server.name+"="+server.addr)
	}
	var err error
	s.balancer, err = s.Programs.Launch(ctx, "balancer", "balancer", merge(Env{
		"BALANCER_LISTEN":   anyPort,
		"BALANCER_HTTP":     anyPort,
		"BALANCER_BACKENDS": strings.Join(backends, ","),
	}, s.Config.Balancer))
	return err
}

// merge is the variables of both, where both have one the second's.
func merge(usual, given Env) Env {
	merged := Env{}
	maps.Copy(merged, usual)
	maps.Copy(merged, given)
	return merged
}

// Addr is where clients send to.
func (s *Stack) Addr() netip.AddrPort { return netip.MustParseAddrPort(s.balancer.Addr) }

// URL is the address of the balancer's page, without a slash at its end.
func (s *Stack) URL() string { return s.balancer.URL }

// BalancerPID is the balancer's process.
func (s *Stack) BalancerPID() int { return s.balancer.PID() }

// ServerPID is the process of a ping server.
func (s *Stack) ServerPID(name string) (int, error) {
	server, err := s.find(name)
	if err != nil {
		return 0, err
	}
	return server.process.PID(), nil
}

// Servers is where the ping servers listen, in turn order.
func (s *Stack) Servers() (addrs []string) {
	for _, server := range s.servers {
		addrs = append(addrs, server.addr)
	}
	return addrs
}

// ClientCommand is a client, ready to run, whose target is this stack unless
// its arguments say another. When ctx ends it is told to end.
func (s *Stack) ClientCommand(ctx context.Context, args ...string) *exec.Cmd {
	return s.Programs.Command(ctx, "client", Env{"CLIENT_TARGET": s.balancer.Addr}, args...)
}

// Client runs a client with these arguments until its end; its target is this
// stack unless they say another.
func (s *Stack) Client(ctx context.Context, args ...string) (Exit, error) {
	return Run(ctx, s.ClientCommand(ctx, args...))
}

// SelfCheck runs the self-check of "balancer", or of a ping server by its name.
func (s *Stack) SelfCheck(ctx context.Context, service string) (Exit, error) {
	if service == "balancer" {
		http := strings.TrimPrefix(s.URL(), "http://")
		return s.Programs.Run(ctx, "balancer", merge(s.Config.Balancer, Env{"BALANCER_HTTP": http}), "healthcheck")
	}
	server, err := s.find(service)
	if err != nil {
		return Exit{}, err
	}
	return s.Programs.Run(ctx, "pingserver", Env{"PINGSERVER_LISTEN": server.addr}, "healthcheck")
}

func (s *Stack) find(name string) (*server, error) {
	i := slices.IndexFunc(s.servers, func(server *server) bool { return server.name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no server called %q", name)
	}
	return s.servers[i], nil
}

// KillServer ends a ping server at once, without a chance to say anything.
func (s *Stack) KillServer(_ context.Context, name string) error {
	server, err := s.find(name)
	if err != nil {
		return err
	}
	server.process.Kill()
	return nil
}

// StopServer tells a ping server to end and waits until it has.
func (s *Stack) StopServer(ctx context.Context, name string) (Exit, error) {
	server, err := s.find(name)
	if err != nil {
		return Exit{}, err
	}
	return server.process.Stop(ctx), nil
}

// StartServer starts a ping server that was killed or stopped, where it was.
func (s *Stack) StartServer(ctx context.Context, name string) error {
	server, err := s.find(name)
	if err != nil {
		return err
	}
	process, err := s.Programs.Launch(ctx, "pingserver", name, merge(Env{
		"PINGSERVER_NAME":   name,
		"PINGSERVER_LISTEN": server.addr,
	}, s.Config.Server))
	if err != nil {
		return err
	}
	server.process, server.addr = process, process.Addr
	return nil
}

// Stop tells the balancer to end and waits until it has.
func (s *Stack) Stop(ctx context.Context) (Exit, error) { return s.balancer.Stop(ctx), nil }

// Close stops what still runs, the balancer first, and waits for it. It returns
// an error for everything that did not end with code 0, unless it was killed
// for a purpose.
func (s *Stack) Close() error {
	var problems []error
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	end := func(p *Process) {
		if p == nil {
			return
		}
		wanted := p.killed
		if exit := p.Stop(ctx); exit.Code != 0 && !wanted {
			problems = append(problems, fmt.Errorf("%s ended with %v\n%s", p.name, p.cmd.ProcessState, exit.Stderr))
		}
	}
	end(s.balancer)
	for _, server := range s.servers {
		end(server.process)
	}
	return errors.Join(problems...)
}
