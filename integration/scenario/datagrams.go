package scenario

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/services/kit/udp"
)

// socket is a client that knows nothing of ours: one UDP socket, which hears
// only the balancer.
type socket struct {
	t    *testing.T
	conn *net.UDPConn
	buf  []byte
}

func dial(t *testing.T, stack Stack) *socket {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(stack.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &socket{t, conn, make([]byte, udp.MaxDatagram)}
}

func (s *socket) send(payload string) {
	s.t.Helper()
	if _, err := s.conn.Write([]byte(payload)); err != nil {
		s.t.Fatal(err)
	}
}

// receive waits for the next answer, which is bound to come.
func (s *socket) receive() string {
	s.t.Helper()
	s.conn.SetReadDeadline(time.Now().Add(lab.Patience))
	n, err := s.conn.Read(s.buf)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(s.buf[:n])
}

func everySize(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{})
	client := dial(t, stack)
	turn := 0
	for _, size := range []int{1, 63, 1024, 1473, 9000, udp.MaxPayload - len(" server1"), udp.MaxPayload} {
		request := strings.Repeat("abcdefgh", size/8+1)[:size]
		name := fmt.Sprintf(" server%d", turn%3+1)
		turn++
		client.send(request)
		// What does not fit with the server's name behind it loses its end.
		want := strings.ToUpper(request[:min(size, udp.MaxPayload-len(name))]) + name
		if got := client.receive(); got != want {
			t.Errorf("%d bytes were answered by %d, want %d", size, len(got), len(want))
		}
	}
	// The empty datagram is one too and takes a turn. Our client sends it from
	// beside the balancer: not every network between here and there passes it
	// on, Docker's published ports for one.
	run, err := Ping(t, stack, "ask", "")
	if want := fmt.Sprint(turn%3 + 1); err != nil || run.Order != want {
		t.Errorf("the empty datagram was answered by %q, want server %s (%v)\n%s", run.Order, want, err, run.Exit.Stdout)
	}
	status := labtest.Status(t, stack.URL())
	if status.Turns != uint64(turn)+1 {
		t.Errorf("%d turns, want %d", status.Turns, turn+1)
	}
	ExpectBooksToBalance(t, status)
}

func garbage(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{})
	client := dial(t, stack)
	random := rand.New(rand.NewPCG(1, 2))
	for turn := range 30 {
		request := make([]byte, 1+random.IntN(300))
		for i := range request {
			request[i] = byte(random.UintN(256))
		}
		client.send(string(request))
		got, name := client.receive(), fmt.Sprintf(" server%d", turn%3+1)
		if len(got) != len(request)+len(name) || !strings.HasSuffix(got, name) {
			t.Fatalf("%q was answered by %q, want an answer as long and%s", request, got, name)
		}
	}
	ExpectOrder(t, stack, "123")
	ExpectBooksToBalance(t, labtest.Status(t, stack.URL()))
}

// seededLoss gives all three servers one seed: they must then lose the same of
// their own requests.
func seededLoss(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{Server: map[string]string{
		"PINGSERVER_LOSS": "0.5",
		"PINGSERVER_SEED": "2526",
	}})
	client := dial(t, stack)
	const each = 12
	for seq := range 3 * each {
		client.send(fmt.Sprintf("PING %d 00:00:00", seq))
	}
	// No waiting for what is lost: the servers never lose an answer to this
	// one, and it comes after all others of the same server.
	const last = "healthcheck"
	for range 3 {
		client.send(last)
	}
	var results [3][]byte // by server: '!' for each answer, '.' for each loss
	for i := range results {
		results[i] = bytes.Repeat([]byte{'.'}, each)
	}
	for lasts := 0; lasts < 3; {
		a := client.receive()
		var seq int
		if strings.HasPrefix(a, strings.ToUpper(last)) {
			lasts++
		} else if _, err := fmt.Sscanf(a, "PING %d", &seq); err != nil {
			t.Fatalf("answer %q: %v", a, err)
		} else {
			results[seq%3][seq/3] = '!'
		}
	}
	first := string(results[0])
	if !strings.Contains(first, "!") || !strings.Contains(first, ".") {
		t.Errorf("server1 answered %s, want some of them", first)
	}
	for i, f := range results {
		if string(f) != first {
			t.Errorf("server%d answered %s, server1 %s with the same seed", i+1, f, first)
		}
	}
}
