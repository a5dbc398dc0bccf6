package main

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
)

// serve answers on a real socket until the test ends, and returns HOST PORT.
// answer is called for the n-th request, counted from 0.
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
	return fmt.Sprintf("127.0.0.1 %d", conn.LocalAddr().(*net.UDPAddr).Port)
}

// masked hides what differs from run to run.
func masked(text string) string {
	for _, m := range []struct{ pattern, with string }{
		{`\d\d:\d\d:\d\d\.\d{3}`, "TIME"},
		{`127\.0\.0\.1:\d+`, "ADDR"},
		{`= \d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3} ms`, "= MS/MS/MS/MS ms"},
		{`\d+\.\d{3} ms`, "MS ms"},
		{`seq=(\d+) \d+ ms`, "seq=$1 MS ms"},
		{`time \d+ ms`, "time MS ms"},
	} {
		text = regexp.MustCompile(m.pattern).ReplaceAllString(text, m.with)
	}
	return text
}

func TestRealSockets(t *testing.T) {
	held := ""
	for _, tt := range []struct {
		name   string
		args   string
		answer func(n int, request string) []string
		code   int
		want   string
	}{
		{
			name: "a server that answers as ours do",
			args: "-c 3 -i 0",
			answer: func(n int, request string) []string {
				return []string{fmt.Sprintf("%s server%d", request, n+1)}
			},
			want: `
PING 127.0.0.1 (ADDR): 3 pings
server1  seq=1  MS ms  PING 1 TIME
server2  seq=2  MS ms  PING 2 TIME
server3  seq=3  MS ms  PING 3 TIME
--- 127.0.0.1 ping statistics ---
3 sent, 3 received, 0% loss, time MS ms
rtt min/avg/max/mdev = MS/MS/MS/MS ms
answered by  server1 ×1  server2 ×1  server3 ×1
order        1 2 3        too few answers to tell who is next
`,
		},
		{
			name: "one of the assignment's, that loses some and says no name",
			args: "-c 3 -i 0 -W 300ms",
			answer: func(n int, request string) []string {
				if n == 1 {
					return nil
				}
				return []string{request}
			},
			want: `
PING 127.0.0.1 (ADDR): 3 pings
?  seq=1  MS ms  PING 1 TIME
REQUEST TIMED OUT  seq=2
?  seq=3  MS ms  PING 3 TIME
--- 127.0.0.1 ping statistics ---
3 sent, 2 received, 33.3333% loss, time MS ms
rtt min/avg/max/mdev = MS/MS/MS/MS ms
answered by  ? ×2
order        ? · ?        a server does not say its name, so nobody can tell who is next
`,
		},
		{
			name: "one that answers late, out of order and twice",
			args: "-c 2 -i 0 -W 300ms",
			answer: func(n int, request string) []string {
				if n == 0 {
					held = request
					return nil
				}
				return []string{held + " server1", held + " server1", request + " server2"}
			},
			want: `
PING 127.0.0.1 (ADDR): 2 pings
REQUEST TIMED OUT  seq=1
late server1 seq=1 MS ms (already counted as lost)
server1  seq=1  MS ms  PING 1 TIME  (DUP!)
server2  seq=2  MS ms  PING 2 TIME
--- 127.0.0.1 ping statistics ---
2 sent, 1 received, 1 late, 1 duplicate, 50% loss, time MS ms
rtt min/avg/max/mdev = MS/MS/MS/MS ms
answered by  server2 ×1
order        1 2        too few answers to tell who is next
`,
		},
		{
			name:   "one that talks nonsense",
			args:   "-c 1 -W 100ms",
			answer: func(int, string) []string { return []string{"", "\x00\xff"} },
			code:   1,
			want: `
PING 127.0.0.1 (ADDR): 1 ping
stray  "" (answers no ping of this run)
stray  "\x00\xff" (answers no ping of this run)
REQUEST TIMED OUT  seq=1
--- 127.0.0.1 ping statistics ---
1 sent, 0 received, 2 strays, 100% loss, time MS ms
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := (&session{args: tt.args + " " + serve(t, tt.answer), dial: dial}).run(t.Context())
			s.stdout = masked(s.stdout)
			s.check(t, tt.code, tt.want)
		})
	}
}

func TestNobodyListensOnARealPort(t *testing.T) {
	// Bound and closed again: nobody is there, and hardly anybody will be.
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	target := conn.LocalAddr().String()
	conn.Close()
	s := (&session{args: "-c 2 -i 0 -W 10s " + target, dial: dial}).run(t.Context())
	s.stdout = masked(s.stdout)
	s.check(t, 1, `
PING 127.0.0.1 (ADDR): 2 pings
REQUEST TIMED OUT  seq=1  (refused)
REQUEST TIMED OUT  seq=2  (refused)
--- 127.0.0.1 ping statistics ---
2 sent, 0 received, 100% loss, time MS ms
`)
}

func TestTheLargestDatagramGoesThereAndBack(t *testing.T) {
	// There is room for a name only in place of the request's end.
	target := serve(t, func(_ int, request string) []string {
		return []string{request[:65499] + " server1"}
	})
	s := (&session{args: "-c 1 -s 65507 --json " + target, dial: dial}).run(t.Context())
	if s.code != 0 || !strings.Contains(s.stdout, `"server":"server1"`) || !strings.Contains(s.stdout, `"bytes":65507`) {
		t.Errorf("exit code %d\n%.300s", s.code, s.stdout)
	}
}

func TestAskOnARealSocket(t *testing.T) {
	answer := func(_ int, request string) []string { return []string{upper(request) + " server2"} }
	host, port, _ := strings.Cut(serve(t, answer), " ")
	environ := []string{"CLIENT_TARGET=" + net.JoinHostPort(host, port), "CLIENT_SIZE=100"} // padding is for pings
	s := (&session{args: "ask Who goes there?", environ: environ, dial: dial}).run(t.Context())
	s.stdout = masked(s.stdout)
	s.check(t, 0, "WHO GOES THERE?\nanswered by server2 in MS ms\n")

	s = (&session{args: "ask --json -- -1 ?", environ: environ, dial: dial}).run(t.Context())
	lines := strings.Split(strings.TrimSpace(s.stdout), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], `"server":"server2"`) || !strings.Contains(lines[1], `"message":"-1 ? server2"`) {
		t.Errorf("%s", s.stdout)
	}
}
