package integration

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/integration/scenario"
)

// original is a server as the assignment has it: IPv4 only, it reads 1024
// bytes of a datagram at most, stays silent on 4 of 11 requests, and answers
// the others in upper case without saying who it is.
type original struct {
	conn   *net.UDPConn
	random *rand.Rand
	done   chan struct{}

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
	o := &original{conn: conn, random: rand.New(rand.NewPCG(seed, 0)), done: make(chan struct{})}
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
		silent := o.random.IntN(11) < 4
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
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(stack.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for n := range pings {
		if _, err := fmt.Fprintf(conn, "Ping %d", n+1); err != nil {
			t.Fatal(err)
		}
	}
	want, answers := map[string]bool{}, map[string]bool{}
	for i, o := range originals {
		labtest.Eventually(t, fmt.Sprintf("server%d gets its third", i+1), func(context.Context) error {
			if got, _ := o.seen(); len(got) != pings/3 {
				return fmt.Errorf("it got %q", got)
			}
			return nil
		})
		got, silent := o.seen()
		for j, request := range got {
			if ping := fmt.Sprintf("Ping %d", 3*j+i+1); request != ping {
				t.Errorf("server%d got %q as number %d, want %q", i+1, request, j+1, ping)
			}
			if !silent[j] {
				want[strings.ToUpper(request)] = true
			}
		}
	}
	if len(want) == 0 || len(want) == pings {
		t.Fatalf("the servers answered %d of %d, want some of them", len(want), pings)
	}
	conn.SetReadDeadline(time.Now().Add(lab.Patience))
	buf := make([]byte, 100)
	for range want {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		answers[string(buf[:n])] = true
	}
	if !maps.Equal(answers, want) {
		t.Errorf("the client got %v, the servers answered %v", answers, want)
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
	// Padding comes back short, and that is still an answer to its ping. The
	// server answers some of them only.
	labtest.Eventually(t, "a ping is answered", func(context.Context) error {
		run, err := scenario.Ping(t, stack, "--count", "1", "--size", "2000", "--timeout", "300ms")
		if err == nil && run.Order != "?" {
			err = fmt.Errorf("the client saw %s\n%s", run.Order, run.Exit.Stderr)
		}
		return err
	})
	if got, _ := o.seen(); len(got[0]) != 1024 {
		t.Errorf("the server got %d bytes, want the 1024 it reads", len(got[0]))
	}
}
