package integration

import (
	"bytes"
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

// original is a server as the assignment has it: IPv4 only, it reads 1024
// bytes of a datagram at most, stays silent on some requests, and answers the
// others in upper case without saying who it is.
type original struct {
	addr string
	got  chan string // every request
}

// silent says whether a request is not answered, by its number among those of
// its server, from 0. The assignment's own servers choose 4 of 11 at random.
func silent(n int) bool { return n%3 == 1 }

// startOriginal starts a server that ends with the test.
func startOriginal(t *testing.T) original {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	o := original{conn.LocalAddr().String(), make(chan string, 100)}
	go func() {
		defer close(o.got)
		buf := make([]byte, 1024)
		for n := 0; ; n++ {
			length, client, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil && length == 0 {
				return
			}
			o.got <- string(buf[:length])
			if !silent(n) {
				_, _ = conn.WriteToUDPAddrPort(bytes.ToUpper(buf[:length]), client)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		for range o.got { // until it has ended
		}
	})
	return o
}

func TestTheAssignmentsServersWorkBehindTheBalancer(t *testing.T) {
	var originals []original
	var backends []string
	for i := range 3 {
		o := startOriginal(t)
		originals = append(originals, o)
		backends = append(backends, fmt.Sprintf("server%d=%s", i+1, o.addr))
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
	want, answers := map[string]bool{}, map[string]bool{}
	for n := range pings {
		request := fmt.Sprintf("Ping %d", n+1)
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-originals[n%3].got:
			if got != request {
				t.Errorf("server%d got %q, want %q", n%3+1, got, request)
			}
		case <-labtest.Within(t).Done():
			t.Fatalf("server%d did not get %q", n%3+1, request)
		}
		if !silent(n / 3) {
			want[strings.ToUpper(request)] = true
		}
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
		t.Errorf("the client got %v, want %v", answers, want)
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

func TestTheAssignmentsServersCutALongDatagram(t *testing.T) {
	o := startOriginal(t)
	stack := labtest.Start(t, lab.Config{Servers: []string{}, Balancer: lab.Env{"BALANCER_BACKENDS": o.addr}})
	// Padding comes back short, and that is still an answer to its ping.
	scenario.ExpectOrder(t, stack, "?", "--size", "2000")
	if got := <-o.got; len(got) != 1024 {
		t.Errorf("the server got %d bytes, want the 1024 it reads", len(got))
	}
}
