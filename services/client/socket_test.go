package main

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"udplab/services/client/internal/transport"
)

// serve answers on a real socket until the test ends, and returns HOST:PORT. answer is
// called for the n-th request, counted from 0.
func serve(t *testing.T, answer func(n int, request string) []string) (target string) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for n := 0; ; n++ {
			size, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, payload := range answer(n, string(buf[:size])) {
				conn.WriteToUDPAddrPort([]byte(payload), from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String()
}

// threeServers answer in turn.
func threeServers(n int, request string) []string {
	return []string{fmt.Sprintf("%s server%d", strings.ToUpper(request), n%3+1)}
}

// masked hides what differs from run to run.
func masked(text string) string {
	for _, m := range []struct{ pattern, with string }{
		{`\d\d:\d\d:\d\d\.\d{3}`, "TIME"},
		{`127\.0\.0\.1:\d+`, "ADDR"},
		{`= \d+\.\d{3}(/\d+\.\d{3})+ ms`, "= MS ms"},
		{`\d+\.\d{3} ms`, "MS ms"},
		{`seq=(\d+) \d+ ms`, "seq=$1 MS ms"},
		{`time \d+ ms`, "time MS ms"},
		{`[\d.]+ answers a second`, "N answers a second"},
	} {
		text = regexp.MustCompile(m.pattern).ReplaceAllString(text, m.with)
	}
	return text
}

func TestRealSockets(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   string
		answer func(n int, request string) []string
		code   int
		want   string
	}{
		{"three servers", "-c 4 -i 0 -W 1m", threeServers, 0, `
PING 127.0.0.1 (ADDR): 4 pings
server1  seq=1  MS ms  PING 1 TIME
server2  seq=2  MS ms  PING 2 TIME
server3  seq=3  MS ms  PING 3 TIME
server1  seq=4  MS ms  PING 4 TIME
--- 127.0.0.1 ping statistics ---
4 sent, 4 received, 0% loss, time MS ms
rtt min/avg/max/mdev = MS ms
answered by  server1 ×2  server2 ×1  server3 ×1
order        1 2 3  1        the balancer keeps counting: the next turn is expected to be server2's
`},
		{"a load", "load -c 300 --window 5 --clients 7 -W 1m", threeServers, 0, `
LOAD 127.0.0.1 (ADDR): 300 datagrams, 35 under way of 7 clients
--- 127.0.0.1 load statistics ---
300 sent, 300 received, 0 lost, 0% loss, time MS ms
N answers a second
rtt min/avg/max = MS ms
rtt p50/p90/p99/p99.9 = MS ms
answered by  server1 ×100 (33.3%)  server2 ×100 (33.3%)  server3 ×100 (33.3%)
order        not told: of many under way, answers come back in another order than the turns
`},
		{"a load at a rate, as large as datagrams are", "load -c 9 --window 1 --rate 1000 -s 65507 -W 1m", func(_ int, request string) []string {
			return []string{request[:65499] + " server1"}
		}, 0, `
LOAD 127.0.0.1 (ADDR): 9 datagrams, 1 under way, 1000 a second
--- 127.0.0.1 load statistics ---
9 sent, 9 received, 0 lost, 0% loss, time MS ms
N answers a second, 1000 wanted
rtt min/avg/max = MS ms  (from when each was due)
answered by  server1 ×9 (100.0%)
order        not told: of many under way, answers come back in another order than the turns
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, open := range map[string]transport.Opener{"plain": transport.Plain(transport.Dial), "batched": transport.Batched} {
				s := (&session{args: tt.args + " " + serve(t, tt.answer), open: open}).run(t.Context())
				s.stdout = masked(s.stdout)
				if tt.code != s.code {
					t.Errorf("%s: exit code %d (%v)", name, s.code, s.err)
				}
				same(t, name, s.stdout, tt.want)
			}
		})
	}
}

func TestNobodyListensOnARealPort(t *testing.T) {
	// Bound and closed again: nobody is there, and hardly anybody will be.
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	s := (&session{args: "-c 2 -i 0 -W 1m " + conn.LocalAddr().String(), open: transport.Plain(transport.Dial)}).run(t.Context())
	s.stdout = masked(s.stdout)
	s.check(t, 1, `
PING 127.0.0.1 (ADDR): 2 pings
REQUEST TIMED OUT  seq=1  (refused)
REQUEST TIMED OUT  seq=2  (refused)
--- 127.0.0.1 ping statistics ---
2 sent, 0 received, 100% loss, time MS ms
`, "")
}
