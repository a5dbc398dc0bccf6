package main

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"udplab/services/client/internal/transport"
)

// serve is three servers that answer in turn on a real socket until the test ends. It
// returns HOST:PORT.
func serve(t *testing.T) (target string) {
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
			conn.WriteToUDPAddrPort(fmt.Appendf(nil, "%s server%d", buf[:size], n%3+1), from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String()
}

func TestRealSockets(t *testing.T) {
	for args, want := range map[string]string{
		"-c 4 -i 0 -W 1m":                             "answered by  server1 ×2  server2 ×1  server3 ×1\norder        1 2 3  1        the balancer keeps counting: the next turn is expected to be server2's\n",
		"load -c 300 --window 5 --clients 7 -W 1m":    "answered by  server1 ×100 (33.3%)  server2 ×100 (33.3%)  server3 ×100 (33.3%)\n",
		"load -c 9 --window 1 --rate 1000 -s 1 -W 1m": "answered by  server1 ×3 (33.3%)  server2 ×3 (33.3%)  server3 ×3 (33.3%)\n",
	} {
		s := (&session{args: args + " " + serve(t), dial: transport.Dial}).run(t.Context())
		if s.code != 0 || s.stderr != "" || !strings.Contains(s.stdout, want) {
			t.Errorf("%s: exit code %d (%v)\n%s", args, s.code, s.err, s.stdout+s.stderr)
		}
	}
}
