package integration

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/integration/scenario"
)

func TestTheBalancerKeepsNoSocketOfClientsThatAreGone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("%s does not list the sockets of another process as files", runtime.GOOS)
	}
	onEveryDataPath(t, func(t *testing.T, path string) {
		stack := labtest.Start(t, lab.Config{Balancer: lab.Env{
			"BALANCER_DATAPATH":     path,
			"BALANCER_SESSION_IDLE": "1s",
		}})
		before := sockets(t, stack.BalancerPID())
		const clients = 50
		most := 0
		for range clients {
			if _, err := lab.Ask(labtest.Within(t), stack.Addr(), "PING"); err != nil {
				t.Fatal(err)
			}
			most = max(most, sockets(t, stack.BalancerPID()))
		}
		if most <= before {
			t.Errorf("%d sockets before %d clients and %d with them: this test sees nothing", before, clients, most)
		}
		labtest.Eventually(t, fmt.Sprintf("%d sockets as before %d clients", before, clients), func(context.Context) error {
			if left := sockets(t, stack.BalancerPID()); left != before {
				return fmt.Errorf("%d", left)
			}
			return nil
		})
		status := labtest.Status(t, stack.URL())
		if status.Sessions != 0 || status.Turns != clients {
			t.Errorf("%d sessions and %d turns, want none and %d", status.Sessions, status.Turns, clients)
		}
		scenario.ExpectBooksToBalance(t, status)
	})
}

// sockets counts the sockets that a process has open.
func sockets(t *testing.T, pid int) (n int) {
	t.Helper()
	files, err := lab.Files(pid)
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d: no open files (%v)", pid, err)
	}
	for _, file := range files {
		if lab.FileKind(file) == "socket" {
			n++
		}
	}
	return n
}
