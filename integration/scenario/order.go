package scenario

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"udplab/integration/lab/labtest"
)

// The ten pings of three runs, one after the other, over three servers.
var threeRuns = []string{"1231231231", "2312312312", "3123123123"}

func orderGoesOn(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{})
	for i, want := range threeRuns {
		run := ExpectOrder(t, stack, want, "--expect-cycle", "server1,server2,server3")
		if run.Exit.Code != 0 {
			t.Errorf("run %d: exit %d\n%s", i+1, run.Exit.Code, run.Exit.Stderr)
		}
		next := string(threeRuns[(i+1)%3][0])
		if run.Summary.NextExpected == nil || *run.Summary.NextExpected != "server"+next {
			t.Errorf("run %d: the summary does not expect server%s next\n%s", i+1, next, run.Exit.Stdout)
		}
	}
	ExpectBooksToBalance(t, labtest.Status(t, stack.URL()))
}

// foreignClient does what the assignment's client does, three times: ten pings
// from one socket, each with its number and the time of day.
func foreignClient(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{})
	for run, order := range threeRuns {
		client := dial(t, stack) // a new source port each time
		for i, server := range order {
			request := fmt.Sprintf("PING %d %s", i+1, time.Now().Format(time.TimeOnly))
			client.send(request)
			if got, want := client.receive(), fmt.Sprintf("%s server%c", request, server); got != want {
				t.Errorf("run %d: answer %d is %q, want %q", run+1, i+1, got, want)
			}
		}
	}
	ExpectBooksToBalance(t, labtest.Status(t, stack.URL()))
}

func twoClientsAtOnce(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{})
	const each = 30
	var runs [2]Pinged
	var errs [2]error
	var wg sync.WaitGroup
	for i := range runs {
		wg.Go(func() { runs[i], errs[i] = Ping(t, stack, "--count", "30", "--interval", "10ms") })
	}
	wg.Wait()
	for i, run := range runs {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if run.Summary.Received != each || run.Summary.Duplicates != 0 || strings.ContainsAny(run.Order, "·?") {
			t.Errorf("client %d: %d of %d answered, from %s", i+1, run.Summary.Received, each, run.Order)
		}
	}
	status := labtest.Status(t, stack.URL())
	ExpectBooksToBalance(t, status)
	if status.Turns != 2*each {
		t.Errorf("%d turns, want %d", status.Turns, 2*each)
	}
	for _, b := range status.Backends {
		if b.Turns != 2*each/3 {
			t.Errorf("%s had %d turns, want a third of %d", b.Name, b.Turns, 2*each)
		}
	}
}

func killedServer(t *testing.T, boot Boot) {
	// With probes, as in the compose file, so that no ping is lost on the way
	// to finding out.
	stack := boot.Start(t, Options{Balancer: map[string]string{
		"BALANCER_PROBE":            "healthcheck",
		"BALANCER_PROBE_INTERVAL":   "100ms",
		"BALANCER_RESOLVE_INTERVAL": "100ms",
	}})
	ExpectOrder(t, stack, "1231")

	if err := stack.KillServer(labtest.Within(t), "server2"); err != nil {
		t.Fatal(err)
	}
	labtest.AwaitServer(t, stack.URL(), "server2", false)
	// It is server2's turn, which goes to the next.
	ExpectOrder(t, stack, "313131")

	if err := stack.StartServer(labtest.Within(t), "server2"); err != nil {
		t.Fatal(err)
	}
	labtest.AwaitServer(t, stack.URL(), "server2", true)
	ExpectOrder(t, stack, "231231")
	ExpectBooksToBalance(t, labtest.Status(t, stack.URL()))
}
