package scenario

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
)

// socket is a client that knows nothing of ours: one UDP socket, and the wire
// format of the assignment.
type socket struct {
	t    *testing.T
	conn *net.UDPConn
	buf  []byte
}

// answer is a payload that came back.
type answer string

// server is who gave the answer, by the last digit of its last word.
func (a answer) server() string {
	words := strings.Fields(string(a))
	return strings.TrimPrefix(words[len(words)-1], "server")
}

// dial opens a socket that hears only the balancer.
func dial(t *testing.T, stack Stack) *socket {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(stack.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &socket{t, conn, make([]byte, 1<<16)}
}

func (s *socket) send(payload string) {
	s.t.Helper()
	if _, err := s.conn.Write([]byte(payload)); err != nil {
		s.t.Fatal(err)
	}
}

// receive waits for the next answer, which is bound to come.
func (s *socket) receive() answer {
	s.t.Helper()
	s.conn.SetReadDeadline(time.Now().Add(lab.Patience))
	n, err := s.conn.Read(s.buf)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer(s.buf[:n])
}

// ping sends one ping and returns its answer.
func (s *socket) ping(seq int) answer {
	s.t.Helper()
	request := fmt.Sprintf("PING %d %s", seq, time.Now().Format(time.TimeOnly))
	s.send(request)
	a := s.receive()
	if !strings.HasPrefix(string(a), request+" ") {
		s.t.Fatalf("%q was answered by %q", request, a)
	}
	return a
}

// foreignClient does what the assignment's client does: ten pings from one
// socket, each with its number and the time of day.
func foreignClient(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(lab.Patience))
	buf := make([]byte, 1024)
	for seq := 1; seq <= 10; seq++ {
		request := fmt.Sprintf("PING %d %s", seq, time.Now().Format(time.TimeOnly))
		if _, err := conn.WriteToUDPAddrPort([]byte(request), stack.Addr()); err != nil {
			t.Fatal(err)
		}
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("answer %d: %v", seq, err)
		}
		if from != stack.Addr() {
			t.Errorf("answer %d came from %v, want the balancer's own address %v", seq, from, stack.Addr())
		}
		if want := fmt.Sprintf("%s server%d", request, (seq-1)%3+1); string(buf[:n]) != want {
			t.Errorf("answer %d is %q, want %q", seq, buf[:n], want)
		}
	}
}
