package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/integration/scenario"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m))
}

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

func TestARefusalTakesAServerOutUntilATrialFindsItBack(t *testing.T) {
	onEveryDataPath(t, func(t *testing.T, path string) {
		stack := labtest.Start(t, lab.Config{Balancer: lab.Env{"BALANCER_DATAPATH": path}})
		asked := uint64(0)
		// ask sends a datagram and returns the place of the server that gets it.
		ask := func() int {
			conn, err := net.Dial("udp", stack.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("PING")); err != nil {
				t.Fatal(err)
			}
			var ledger lab.Ledger
			labtest.Eventually(t, "the datagram has its turn", func(ctx context.Context) error {
				ledger, err = lab.ReadLedger(ctx, stack.URL(), asked)
				if err == nil && len(ledger.Turns) != 1 {
					err = fmt.Errorf("the ledger has %+v after turn %d", ledger, asked)
				}
				return err
			})
			asked++
			return ledger.Turns[0].Place
		}
		if err := stack.KillServer(t.Context(), "server2"); err != nil {
			t.Fatal(err)
		}
		// Without probes only a refusal tells, and the datagram that brings it
		// is lost: its turn is not given again.
		if first, second := ask(), ask(); first != 1 || second != 2 {
			t.Fatalf("the first turns are server%d's and server%d's, want server1's and server2's", first, second)
		}
		labtest.AwaitServer(t, stack.URL(), "server2", false)
		if third := ask(); third != 3 {
			t.Errorf("the turn after the refusal is server%d's, want server3's", third)
		}
		// From now on one turn every two seconds tries server2; the others skip it.
		skipped := false
		for last := 3; !skipped; {
			next := ask()
			skipped = last == 1 && next == 3
			if next != last%3+1 && !skipped {
				t.Fatalf("the turn after server%d's is server%d's", last, next)
			}
			last = next
		}
		if err := stack.StartServer(labtest.Within(t), "server2"); err != nil {
			t.Fatal(err)
		}
		labtest.Eventually(t, "a trial finds server2", func(ctx context.Context) error {
			if ask() == 2 {
				return nil
			}
			return errors.New("no turn was server2's")
		})
		labtest.AwaitServer(t, stack.URL(), "server2", true)
		scenario.ExpectBooksToBalance(t, labtest.Status(t, stack.URL()))
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

func TestAStackThatCannotStartLeavesNothing(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// In a directory of their own, so that no other test's processes are in the way.
	programs := lab.Programs(t.TempDir())
	for _, name := range []string{"balancer", "pingserver"} {
		if err := os.Symlink(filepath.Join(string(labtest.Programs(t)), name), filepath.Join(string(programs), name)); err != nil {
			t.Skip(err)
		}
	}
	_, err = lab.Start(labtest.Within(t), lab.Config{
		Programs: programs,
		Servers:  []string{"127.0.0.1:0", taken.LocalAddr().String()},
	})
	if err == nil || !strings.Contains(err.Error(), taken.LocalAddr().String()) {
		t.Errorf("Start returned %v, want the address that is taken", err)
	}
	if left, err := programs.Running(); err != nil || len(left) > 0 {
		t.Errorf("still running: %q (%v)", left, err)
	}
}
