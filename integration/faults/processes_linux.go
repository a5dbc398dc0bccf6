package faults

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
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
	site     Site
	env      lab.Env // of the balancer

	mu      sync.Mutex
	running map[string]*lab.Process
}

// NewProcesses returns a lab of processes whose balancers have these variables
// too. It is for a test within nettest.Run. All ends with the test.
func NewProcesses(t *testing.T, programs lab.Programs, env map[string]string) Lab {
	t.Helper()
	p := &processes{T: t, programs: programs, env: Env(), running: map[string]*lab.Process{}}
	nettest.UseResolver(t, resolverHost)
	names, err := ServeNames(resolverHost + ":53")
	if err != nil {
		t.Fatal(err)
	}
	p.site = Site{
		Addr: netip.MustParseAddrPort(balancerHost + ":8888"), URL: "http://" + balancerHost + ":8080",
		StateFile: filepath.Join(t.TempDir(), "turns"), Places: Places(netip.MustParseAddr(firstPlace)), Names: names,
	}
	maps.Copy(p.env, map[string]string{
		"BALANCER_LISTEN":     p.site.Addr.String(),
		"BALANCER_HTTP":       balancerHost + ":8080",
		"BALANCER_HTTP_HOSTS": balancerHost,
		"BALANCER_STATE_FILE": p.site.StateFile,
		"GODEBUG":             "netdns=go", // the C library would ask others too
	})
	maps.Copy(p.env, env)
	t.Cleanup(func() { p.endAll(); names.Close() })
	return p
}

// endAll ends what still runs.
func (p *processes) endAll() {
	for part, process := range p.running {
		process.Kill()
		if exit := process.Wait(context.Background()); p.Failed() && part == balancer {
			p.Logf("the balancer said at last\n%s%s", exit.Stdout[max(0, len(exit.Stdout)-4000):], exit.Stderr)
		}
	}
}

func (p *processes) Site() Site { return p.site }

func (p *processes) Start(ctx context.Context, part string, place netip.Addr) error {
	program, env := "balancer", p.env
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

// exitCodes is how a program ends at a signal: killed, in order, or with the
// stacks that Go's runtime prints.
var exitCodes = map[syscall.Signal]int{syscall.SIGKILL: -1, syscall.SIGTERM: 0, syscall.SIGQUIT: 2}

func (p *processes) End(ctx context.Context, part string, signal syscall.Signal) (stderr string, err error) {
	process := p.find(part)
	if err := syscall.Kill(process.PID(), signal); err != nil {
		return "", fmt.Errorf("%s: %v: %w", part, signal, err)
	}
	exit := process.Wait(ctx)
	if exit.Code != exitCodes[signal] || exit.Stderr != "" && signal != syscall.SIGQUIT {
		return "", fmt.Errorf("%s ended at %v with %d, want %d\n%s", part, signal, exit.Code, exitCodes[signal], exit.Stderr)
	}
	return exit.Stderr, nil
}

func (p *processes) Freeze(_ context.Context, part string, frozen bool) error {
	return Freeze(p.find(part).PID(), frozen)
}

func (p *processes) PID(_ context.Context, part string) (int, error) { return p.find(part).PID(), nil }

// Freeze keeps a process from running, or lets it go on, by SIGSTOP and SIGCONT.
// No process can refuse them, not even the first in a container.
func Freeze(pid int, frozen bool) error {
	if frozen {
		return syscall.Kill(pid, syscall.SIGSTOP)
	}
	return syscall.Kill(pid, syscall.SIGCONT)
}
