package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/integration/scenario"
)

// original is a server as the assignment has it: IPv4 only, it reads 1024
// bytes of a datagram at most, stays silent on 4 of 11 requests, and answers
// the others in upper case without saying who it is.
type original struct {
	conn *net.UDPConn
	dice *rand.Rand
	done chan struct{}

	mu     sync.Mutex
	got    []string // every request
	silent []bool   // whether it was not answered
}

// startOriginal starts a server that ends with the test.
func startOriginal(t *testing.T, seed uint64) *original {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	o := &original{conn: conn, dice: rand.New(rand.NewPCG(seed, 0)), done: make(chan struct{})}
	go o.serve()
	t.Cleanup(func() {
		conn.Close()
		<-o.done
	})
	return o
}

func (o *original) serve() {
	defer close(o.done)
	buf := make([]byte, 1024)
	for {
		n, client, err := o.conn.ReadFromUDPAddrPort(buf)
		if err != nil && n == 0 {
			return
		}
		silent := o.dice.IntN(11) < 4
		o.mu.Lock()
		o.got, o.silent = append(o.got, string(buf[:n])), append(o.silent, silent)
		o.mu.Unlock()
		if !silent {
			_, _ = o.conn.WriteToUDPAddrPort(bytes.ToUpper(buf[:n]), client)
		}
	}
}

// seen is the requests so far and which were not answered.
func (o *original) seen() (got []string, silent []bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.got, o.silent
}

func TestTheAssignmentsServersWorkBehindTheBalancer(t *testing.T) {
	var originals []*original
	var backends []string
	for i := range 3 {
		o := startOriginal(t, uint64(i))
		originals = append(originals, o)
		backends = append(backends, fmt.Sprintf("server%d=%v", i+1, o.conn.LocalAddr()))
	}
	stack := labtest.Start(t, lab.Config{
		Servers:  []string{},
		Balancer: lab.Env{"BALANCER_BACKENDS": strings.Join(backends, ",")},
	})
	const pings = 12
	run, err := scenario.Ping(t, stack, "--count", fmt.Sprint(pings), "--interval", "1ms", "--timeout", "300ms")
	if err != nil {
		t.Fatal(err)
	}

	want := ""
	for turn := range pings {
		got, silent := originals[turn%3].seen()
		if len(got) != pings/3 {
			t.Fatalf("server%d got %d requests, want %d", turn%3+1, len(got), pings/3)
		}
		if ping := fmt.Sprintf("PING %d ", turn+1); !strings.HasPrefix(got[turn/3], ping) {
			t.Errorf("turn %d brought server%d %q, want %s…", turn+1, turn%3+1, got[turn/3], ping)
		}
		if silent[turn/3] {
			want += "·"
		} else {
			want += "?"
		}
	}
	if run.Order != want || !strings.Contains(want, "·") || !strings.Contains(want, "?") {
		t.Errorf("the client saw %s, the servers did %s, want both and some of each", run.Order, want)
	}
	if run.Exit.Code != 0 {
		t.Errorf("exit %d\n%s", run.Exit.Code, run.Exit.Stderr)
	}
	// A lost answer is no evidence against a server.
	status := labtest.Status(t, stack.URL())
	for _, b := range status.Backends {
		if !b.Up || b.Turns != pings/3 {
			t.Errorf("%s up: %v, turns: %d, want it up with %d", b.Name, b.Up, b.Turns, pings/3)
		}
	}
	scenario.ExpectBooksToBalance(t, status)
}

func TestTheAssignmentsServersCutALongDatagramAndGoOn(t *testing.T) {
	o := startOriginal(t, 0)
	stack := labtest.Start(t, lab.Config{
		Servers:  []string{},
		Balancer: lab.Env{"BALANCER_BACKENDS": o.conn.LocalAddr().String()},
	})
	// Padding comes back short, and that is still an answer to its ping.
	for answered := false; !answered; {
		run, err := scenario.Ping(t, stack, "--count", "1", "--size", "2000", "--timeout", "300ms")
		if err != nil {
			t.Fatal(err)
		}
		answered = run.Order == "?"
		if got, silent := o.seen(); !answered && !silent[len(silent)-1] {
			t.Fatalf("the server answered %d bytes, the client saw %s\n%s", len(got[len(got)-1]), run.Order, run.Exit.Stderr)
		}
	}
	if got, _ := o.seen(); len(got[0]) != 1024 {
		t.Errorf("the server got %d bytes, want the 1024 it reads", len(got[0]))
	}
}
