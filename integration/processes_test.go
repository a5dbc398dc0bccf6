package integration

import (
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/integration/scenario"
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

// processes starts labs as processes of this machine, whose balancers carry
// datagrams in one of their ways.
type processes struct{ datapath string }

func (p processes) Start(t *testing.T, o scenario.Options) scenario.Stack {
	t.Helper()
	balancer := lab.Env{"BALANCER_DATAPATH": p.datapath}
	maps.Copy(balancer, o.Balancer)
	return labtest.Start(t, lab.Config{Server: o.Server, Balancer: balancer})
}

func (processes) Run(t *testing.T, program string, env map[string]string, args ...string) lab.Exit {
	t.Helper()
	exit, err := labtest.Programs(t).Run(labtest.Within(t), program, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

// What follows only processes can show: containers have no ports in common, no
// IPv6 unless Docker is told so, and no way for a refusal to come back.

func TestADatagramToADeadServerIsLostAndTheNextOneSkipsIt(t *testing.T) {
	onEveryDataPath(t, func(t *testing.T, path string) {
		stack := labtest.Start(t, lab.Config{Balancer: lab.Env{"BALANCER_DATAPATH": path}})
		scenario.ExpectOrder(t, stack, "123")
		if err := stack.KillServer(t.Context(), "server2"); err != nil {
			t.Fatal(err)
		}
		// Without probes only a refusal tells, and the datagram that brings it
		// is lost: no turn is given twice.
		scenario.ExpectOrder(t, stack, "1·31313", "--timeout", "300ms")
	})
}

func TestADeadServerIsTriedAgainAndTakesItsPlace(t *testing.T) {
	onEveryDataPath(t, func(t *testing.T, path string) {
		stack := labtest.Start(t, lab.Config{Balancer: lab.Env{"BALANCER_DATAPATH": path}})
		if err := stack.KillServer(t.Context(), "server2"); err != nil {
			t.Fatal(err)
		}
		scenario.ExpectOrder(t, stack, "1·3", "--timeout", "300ms")
		if err := stack.StartServer(labtest.Within(t), "server2"); err != nil {
			t.Fatal(err)
		}
		// One turn every two seconds tries it.
		deadline := time.Now().Add(lab.Patience)
		for back := false; !back; {
			run, err := scenario.Ping(t, stack, "--count", "6", "--interval", "1ms", "--timeout", "300ms")
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
		stack := labtest.Start(t, lab.Config{Balancer: lab.Env{"BALANCER_LISTEN": "[::1]:0"}})
		scenario.ExpectOrder(t, stack, "1231231231")
	})
	t.Run("beside IPv4, at every address of the machine", func(t *testing.T) {
		stack := labtest.Start(t, lab.Config{Balancer: lab.Env{"BALANCER_LISTEN": ":0"}})
		port := fmt.Sprint(stack.Addr().Port())
		scenario.ExpectOrder(t, stack, "12312", "::1", port)
		scenario.ExpectOrder(t, stack, "31231", "127.0.0.1", port)
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
		env                      lab.Env
	}{
		{"pingserver", "PINGSERVER_LISTEN", udp.LocalAddr().String(), nil},
		{"balancer", "BALANCER_LISTEN", udp.LocalAddr().String(), lab.Env{"BALANCER_HTTP": free}},
		{"balancer", "BALANCER_HTTP", tcp.Addr().String(), lab.Env{"BALANCER_LISTEN": free}},
	} {
		t.Run(c.variable, func(t *testing.T) {
			env := lab.Env{c.variable: c.value}
			maps.Copy(env, c.env)
			exit, err := labtest.Programs(t).Run(labtest.Within(t), c.program, env)
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
	programs, err := lab.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, err = lab.Start(labtest.Within(t), lab.Config{
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
