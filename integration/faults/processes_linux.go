package faults

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"udplab/integration/lab"
	"udplab/services/kit/nettest"
)

// Where everything is in a network of its own.
const (
	resolverHost = "127.0.0.1"
	balancerHost = "127.0.0.10"
	firstPlace   = "127.0.0.11"
)

// processes is a lab of processes on a loopback interface of its own, where
// every address of 127.0.0.0/8 and every port is free: so a ping server can
// move as it could between machines.
type processes struct {
	*testing.T
	programs lab.Programs
	names    *Names
	dir      string // for the state file

	mu      sync.Mutex
	env     map[string]string // of the balancer
	running map[string]*lab.Process
}

// NewProcesses returns a lab of processes whose balancers have these variables
// too. It is for a test that runs in namespaces of its own, package nettest, and
// whose loopback interface is down. All ends with the test.
func NewProcesses(t *testing.T, programs lab.Programs, env map[string]string) Lab {
	t.Helper()
	p := &processes{T: t, programs: programs, dir: t.TempDir(), env: Env(), running: map[string]*lab.Process{}}
	maps.Copy(p.env, map[string]string{
		"BALANCER_LISTEN":     balancerHost + ":8888",
		"BALANCER_HTTP":       balancerHost + ":8080",
		"BALANCER_HTTP_HOSTS": balancerHost,
		"BALANCER_STATE_FILE": p.StateFile(),
		"GODEBUG":             "netdns=go", // the C library would ask others too
	})
	maps.Copy(p.env, env)
	if err := nettest.LoopbackUp(); err != nil {
		t.Fatal(err)
	}
	nettest.UseResolver(t, resolverHost)
	var err error
	if p.names, err = ServeNames(resolverHost + ":53"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.end()
		p.names.Close()
	})
	return p
}

// end ends what still runs.
func (p *processes) end() {
	for part, process := range p.running {
		process.Kill()
		if p.Failed() && part == balancer {
			exit := process.Wait(context.Background())
			p.Logf("the balancer said at last\n%s%s", exit.Stdout[max(0, len(exit.Stdout)-4000):], exit.Stderr)
		}
	}
}

func (p *processes) Addr() netip.AddrPort { return netip.MustParseAddrPort(balancerHost + ":8888") }
func (p *processes) URL() string          { return "http://" + balancerHost + ":8080" }
func (p *processes) Names() *Names        { return p.names }
func (p *processes) StateFile() string    { return filepath.Join(p.dir, "turns") }

func (p *processes) Places() (places []netip.Addr) {
	place := netip.MustParseAddr(firstPlace)
	for range 8 {
		places = append(places, place)
		place = place.Next()
	}
	return places
}

func (p *processes) Configure(env map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.env, env)
}

func (p *processes) Start(ctx context.Context, part string, place netip.Addr) error {
	p.mu.Lock()
	program, env := "balancer", lab.Env(maps.Clone(p.env))
	p.mu.Unlock()
	if part != balancer {
		program, env = "pingserver", lab.Env{"PINGSERVER_NAME": part, "PINGSERVER_LISTEN": place.String() + ":" + Port}
	}
	process, err := p.programs.Launch(ctx, program, part, env)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[part] = process
	return nil
}

func (p *processes) find(part string) *lab.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running[part]
}

// gone looks at how a part ended: with this code, and without a word of
// complaint.
func gone(part string, exit lab.Exit, code int) error {
	if exit.Code != code || exit.Stderr != "" {
		return fmt.Errorf("%s ended with %d, want %d\n%s", part, exit.Code, code, exit.Stderr)
	}
	return nil
}

func (p *processes) Kill(ctx context.Context, part string) error {
	process := p.find(part)
	process.Kill()
	return gone(part, process.Wait(ctx), -1)
}

func (p *processes) Stop(ctx context.Context, part string) error {
	return gone(part, p.find(part).Stop(ctx), 0)
}

func (p *processes) Freeze(_ context.Context, part string) error {
	return syscall.Kill(p.find(part).PID(), syscall.SIGSTOP)
}

func (p *processes) Thaw(_ context.Context, part string) error {
	return syscall.Kill(p.find(part).PID(), syscall.SIGCONT)
}

func (p *processes) Dump(ctx context.Context) (string, error) {
	process := p.find(balancer)
	if err := syscall.Kill(process.PID(), syscall.SIGQUIT); err != nil {
		return "", err
	}
	exit := process.Wait(ctx)
	if !strings.HasPrefix(exit.Stderr, "SIGQUIT") {
		return "", fmt.Errorf("the balancer said at SIGQUIT\n%s", exit.Stderr)
	}
	return exit.Stderr, nil
}

func (p *processes) PID(context.Context) (int, error) { return p.find(balancer).PID(), nil }
