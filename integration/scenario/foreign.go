package scenario

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
)

// plain is a client that knows nothing of ours: one UDP socket, and the wire
// format of the assignment.
type plain struct {
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

// dial opens a socket of its own source port that hears only the balancer.
func dial(t *testing.T, stack Stack) *plain {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(stack.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &plain{t, conn, make([]byte, 1<<16)}
}

func (p *plain) send(payload string) {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(payload)); err != nil {
		p.t.Fatal(err)
	}
}

// receive waits for the next answer, which is bound to come.
func (p *plain) receive() answer {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(lab.Patience))
	n, err := p.conn.Read(p.buf)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer(p.buf[:n])
}

// ping sends one ping and returns its answer.
func (p *plain) ping(seq int) answer {
	p.t.Helper()
	request := fmt.Sprintf("PING %d %s", seq, time.Now().Format(time.TimeOnly))
	p.send(request)
	a := p.receive()
	if !strings.HasPrefix(string(a), request+" ") {
		p.t.Fatalf("%q was answered by %q", request, a)
	}
	return a
}

// foreignClient does what the assignment's client does: ten pings, each with
// its number and the time of day, up to a second for each answer, and a line
// for what came of it.
func foreignClient(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	var printed strings.Builder
	buf := make([]byte, 1024)
	for seq := 1; seq <= 10; seq++ {
		request := fmt.Sprintf("PING %d %s", seq, time.Now().Format(time.TimeOnly))
		begin := time.Now()
		if _, err := conn.WriteToUDPAddrPort([]byte(request), stack.Addr()); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(begin.Add(time.Second))
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			fmt.Fprintln(&printed, "REQUEST TIMED OUT")
			continue
		}
		fmt.Fprintf(&printed, "%s  %v\n", buf[:n], time.Since(begin))
		if from != stack.Addr() {
			t.Errorf("answer %d came from %v, want the balancer's own address %v", seq, from, stack.Addr())
		}
		if want := fmt.Sprintf("%s server%d", request, (seq-1)%3+1); string(buf[:n]) != want {
			t.Errorf("answer %d is %q, want %q", seq, buf[:n], want)
		}
	}
	t.Logf("the client printed\n%s", &printed)
	if strings.Contains(printed.String(), "TIMED OUT") || strings.Count(printed.String(), "\n") != 10 {
		t.Errorf("want ten answers, the client printed\n%s", &printed)
	}
}
