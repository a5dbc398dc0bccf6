package integration

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"udplab/integration/scenario"
	"udplab/integration/stack"
)

func TestProcesses(t *testing.T) {
	onEveryDataPath(t, func(t *testing.T, path string) { scenario.Run(t, processes{path}) })
}

// onEveryDataPath plays a test on each way in which the balancer can carry
// datagrams here.
func onEveryDataPath(t *testing.T, play func(t *testing.T, path string)) {
	for _, path := range []string{"auto", "portable"} {
		t.Run("datapath="+path, func(t *testing.T) { play(t, path) })
	}
}

// patience is how long anything may take that is bound to happen.
const patience = 30 * time.Second

// within is a context for one step of a test.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// processes starts labs as processes of this machine, whose balancers carry
// datagrams in one of their ways.
type processes struct{ datapath string }

func (p processes) Start(t *testing.T, o scenario.Options) scenario.Stack {
	t.Helper()
	balancer := stack.Env{"BALANCER_DATAPATH": p.datapath}
	maps.Copy(balancer, o.Balancer)
	return process{start(t, stack.Config{Server: o.Server, Balancer: balancer})}
}

func (processes) Run(t *testing.T, program string, env map[string]string, args ...string) scenario.Exit {
	t.Helper()
	exit, err := programs(t).Run(within(t), program, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	return scenario.Exit(exit)
}

// start starts a lab that ends with the test, and fails it if something in the
// lab does not end as it should.
func start(t testing.TB, cfg stack.Config) *stack.Stack {
	t.Helper()
	cfg.Programs = programs(t)
	lab, err := stack.Start(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab
}

// process is a stack as scenarios see it.
type process struct{ *stack.Stack }

func (p process) Addr() netip.AddrPort { return netip.MustParseAddrPort(p.Stack.Addr()) }

func (p process) Client(ctx context.Context, args ...string) (scenario.Exit, error) {
	exit, err := p.Stack.Client(ctx, args...)
	return scenario.Exit(exit), err
}

func (p process) SelfCheck(ctx context.Context, service string) (scenario.Exit, error) {
	exit, err := p.Stack.SelfCheck(ctx, service)
	return scenario.Exit(exit), err
}

func (p process) KillServer(_ context.Context, name string) error { return p.Stack.KillServer(name) }

func (p process) Stop(ctx context.Context) (scenario.Exit, error) {
	return scenario.Exit(p.Stack.Stop(ctx)), nil
}

// What follows only processes can show: containers have no ports in common, no
// IPv6 unless Docker is told so, and no way for a refusal to come back.

func TestADatagramToADeadServerIsLostAndTheNextOneSkipsIt(t *testing.T) {
	onEveryDataPath(t, func(t *testing.T, path string) {
		lab := process{start(t, stack.Config{Balancer: stack.Env{"BALANCER_DATAPATH": path}})}
		scenario.ExpectOrder(t, lab, "123")
		if err := lab.KillServer(t.Context(), "server2"); err != nil {
			t.Fatal(err)
		}
		// Without probes only a refusal tells, and the datagram that brings it
		// is lost: no turn is given twice.
		scenario.ExpectOrder(t, lab, "1·31313", "--timeout", "300ms")
	})
}

func TestADeadServerIsTriedAgainAndTakesItsPlace(t *testing.T) {
	onEveryDataPath(t, func(t *testing.T, path string) {
		lab := process{start(t, stack.Config{Balancer: stack.Env{"BALANCER_DATAPATH": path}})}
		if err := lab.KillServer(t.Context(), "server2"); err != nil {
			t.Fatal(err)
		}
		scenario.ExpectOrder(t, lab, "1·3", "--timeout", "300ms")
		if err := lab.StartServer(within(t), "server2"); err != nil {
			t.Fatal(err)
		}
		// One turn every two seconds tries it.
		deadline := time.Now().Add(patience)
		for back := false; !back; {
			run, err := scenario.Ping(t, lab, "--count", "6", "--interval", "1ms", "--timeout", "300ms")
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("server2 is back, answers still come from %s (%v)", run.Order, err)
			}
			back = strings.Contains("12312312", run.Order)
		}
	})
}

func TestTheBalancerIsReachedOverIPv6(t *testing.T) {
	if probe, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	} else {
		probe.Close()
	}
	t.Run("at an address of its own", func(t *testing.T) {
		lab := process{start(t, stack.Config{Balancer: stack.Env{"BALANCER_LISTEN": "[::1]:0"}})}
		scenario.ExpectOrder(t, lab, "1231231231")
	})
	t.Run("beside IPv4, at every address of the machine", func(t *testing.T) {
		lab := process{start(t, stack.Config{Balancer: stack.Env{"BALANCER_LISTEN": ":0"}})}
		port := fmt.Sprint(lab.Addr().Port())
		scenario.ExpectOrder(t, lab, "12312", "::1", port)
		scenario.ExpectOrder(t, lab, "31231", "127.0.0.1", port)
	})
}

func TestAPortInUseIsNamedAndNothingStarts(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	const free = "127.0.0.1:0"
	for _, c := range []struct {
		program, variable, value string
		env                      stack.Env
	}{
		{"pingserver", "PINGSERVER_LISTEN", udp.LocalAddr().String(), nil},
		{"balancer", "BALANCER_LISTEN", udp.LocalAddr().String(), stack.Env{"BALANCER_HTTP": free}},
		{"balancer", "BALANCER_HTTP", tcp.Addr().String(), stack.Env{"BALANCER_LISTEN": free}},
	} {
		t.Run(c.variable, func(t *testing.T) {
			env := stack.Env{c.variable: c.value}
			maps.Copy(env, c.env)
			exit, err := programs(t).Run(within(t), c.program, env)
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("%s: %s=%q: ", c.program, c.variable, c.value)
			if exit.Code != 2 || exit.Stdout != "" || !strings.HasPrefix(exit.Stderr, want) || strings.Count(exit.Stderr, "\n") != 1 {
				t.Errorf("exit %d, stdout %q, stderr %q, want exit 2 and one line %s…", exit.Code, exit.Stdout, exit.Stderr, want)
			}
		})
	}
}

func TestAStackThatCannotStartLeavesNothing(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// Built for itself, so that no other test's processes are in the way.
	programs, err := stack.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stack.Start(within(t), stack.Config{
		Programs: programs,
		Servers:  []string{"127.0.0.1:0", taken.LocalAddr().String()},
	})
	if err == nil || !strings.Contains(err.Error(), taken.LocalAddr().String()) {
		t.Errorf("Start returned %v, want the address that is taken", err)
	}
	left, err := programs.Running()
	if err != nil {
		t.Skip(err)
	}
	if len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
}
