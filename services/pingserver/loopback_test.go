package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"udplab/services/kit/udp"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// listen opens a real socket on a free port.
func listen(t *testing.T, host string) *udp.Socket {
	t.Helper()
	socket, err := udp.Listen(t.Context(), net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("no %s on this machine: %v", host, err)
	}
	return socket
}

func TestAnyDatagramIsAnswered(t *testing.T) {
	room := udp.MaxPayload - len(" server1")
	for _, family := range []struct{ listen, ask string }{
		{"", "127.0.0.1"}, {"", "::1"}, {"0.0.0.0", "127.0.0.1"}, {"127.0.0.1", "127.0.0.1"}, {"::1", "::1"},
	} {
		t.Run(fmt.Sprintf("on [%s] asked at %s", family.listen, family.ask), func(t *testing.T) {
			socket := listen(t, family.listen)
			_, log, stop := start(t, socket, "PINGSERVER_NAME=server1")
			to := netip.AddrPortFrom(netip.MustParseAddr(family.ask), socket.Addr().Port())
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
			if err != nil {
				t.Skipf("no way to %s on this machine: %v", to, err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			buf := make([]byte, udp.MaxDatagram)
			for _, tt := range []struct {
				name          string
				request, want []byte
			}{
				{"a ping", []byte("PING 1 10:04:05.120"), []byte("PING 1 10:04:05.120 server1")},
				{"none", nil, []byte(" server1")},
				{"the probe", []byte(probe), []byte("HEALTHCHECK server1")},
				{"almost the probe", []byte(probe + "\n"), []byte("HEALTHCHECK\n server1")},
				{"the biggest", bytes.Repeat([]byte("y"), udp.MaxPayload), append(bytes.Repeat([]byte("Y"), room), " server1"...)},
			} {
				if _, err := conn.Write(tt.request); err != nil {
					t.Fatal(err)
				}
				if n, err := conn.Read(buf); err != nil || !bytes.Equal(buf[:n], tt.want) {
					t.Errorf("%s: %.60q (%d bytes), want %.60q (%d bytes), error %v", tt.name, buf[:n], n, tt.want, len(tt.want), err)
				}
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			requests := log.lines(t, "request")
			if len(requests) != 4 { // the probe is not one
				t.Fatalf("%d requests in the log", len(requests))
			}
			for i, line := range requests {
				if line["outcome"] != "answered" || line["cut"] != (i == 3) || line["client"] != conn.LocalAddr().String() {
					t.Errorf("request %d: %v", i, line)
				}
			}
			if msg := requests[3]["msg"].(string); !strings.HasSuffix(msg, `y"… from `+conn.LocalAddr().String()+": answered, cut to 65507 bytes") {
				t.Errorf("the biggest: %s", msg)
			}
			if _, err := socket.Conn().Write(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the socket is open after the stop: %v", err)
			}
		})
	}
}

func TestAHealthcheckAsksTheServerOnThisMachine(t *testing.T) {
	for _, host := range []string{"", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost"} {
		t.Run("on ["+host+"]", func(t *testing.T) {
			socket := listen(t, host)
			_, _, stop := start(t, socket, "PINGSERVER_LOSS=1", "PINGSERVER_DELAY=1h")
			address := net.JoinHostPort(host, fmt.Sprint(socket.Addr().Port()))
			if err := healthcheck(t.Context(), address, patience); err != nil {
				t.Errorf("it runs: %v", err)
			}
			stop()
			if err := healthcheck(t.Context(), address, patience); err == nil {
				t.Error("it is gone, and the healthcheck passes")
			}
		})
	}
}

func TestWhatAHealthcheckRefuses(t *testing.T) {
	silent, echo := listen(t, "127.0.0.1"), listen(t, "127.0.0.1")
	defer silent.Close()
	defer echo.Close()
	go func() {
		buf := make([]byte, 100)
		n, peer, _ := echo.Read(buf)
		echo.Write(buf[:n], peer)
	}()
	for _, tt := range []struct {
		address string
		timeout time.Duration
		want    string
	}{
		{silent.Addr().String(), time.Millisecond, "no answer within 1ms"},
		{echo.Addr().String(), patience, `the answer "healthcheck" is not a ping server's`},
		{"a..b:2526", patience, "healthcheck of a..b:2526: "}, // a name that no host can have
		{"2526", patience, "healthcheck of 2526: "},
	} {
		if err := healthcheck(t.Context(), tt.address, tt.timeout); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

func TestAPortInUseIsOneClearLine(t *testing.T) {
	taken := listen(t, "127.0.0.1")
	defer taken.Close()
	t.Setenv("PINGSERVER_LISTEN", taken.Addr().String())
	args := os.Args
	os.Args = []string{"pingserver"}
	defer func() { os.Args = args }()
	err := run(t.Context())
	want := fmt.Sprintf("PINGSERVER_LISTEN=%q: want an address that is free here (", taken.Addr())
	if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want %s…", err, want)
	}
}
