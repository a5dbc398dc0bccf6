package traffic

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// listen opens a server's socket, which is closed after the test.
func listen(t *testing.T) (conn *net.UDPConn, addr netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// faultyServer replies like a ping server, but repeats, garbles and misroutes
// some replies. It calls told with the number of every datagram.
func faultyServer(t *testing.T, told func(number uint64)) netip.AddrPort {
	t.Helper()
	conn, addr := listen(t)
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			reply := fmt.Appendf(nil, "%s server%d", buf[:n], n%3+1)
			client, number := parse(reply)
			told(number)
			switch number {
			case 20:
				conn.WriteToUDPAddrPort(reply, from)
			case 30:
				conn.WriteToUDPAddrPort([]byte("garbage"), from)
			case 40:
				conn.WriteToUDPAddrPort(replyTo(client+1, 40, "server1"), from)
			}
			conn.WriteToUDPAddrPort(reply, from)
		}
	}()
	return addr
}

func TestEveryDatagramIsSentAndEveryReplyRecorded(t *testing.T) {
	const clients, count = 3, 3000
	s := settings(count, 16)
	s.Timeout = time.Minute // so that a busy machine loses nothing
	books := NewBooks(clients, s)
	drops, err := Carry(t.Context(), books, faultyServer(t, func(uint64) {}))
	want := Counts{Sent: count, InTime: count, Duplicate: clients, Misrouted: clients, Unmatched: clients}
	if got := Sum(books); got != want || got.Replies() != count+3*clients || drops != 0 || err != nil {
		t.Errorf("recorded %+v, %d dropped (%v); want %+v", got, drops, err, want)
	}
}

func TestCarryingEndsWithItsContextAndAwaitsWhatIsInFlight(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := settings(1e12, 8)
	s.Timeout = time.Minute
	books := NewBooks(2, s)
	_, err := Carry(ctx, books, faultyServer(t, func(number uint64) {
		if number == 100 {
			cancel()
		}
	}))
	if got := Sum(books); err != nil || got.Sent == 0 || got.Sent != got.InTime {
		t.Errorf("Carry: %v, recorded %+v, want some sent, and all of them answered", err, got)
	}
}

func TestARefusalIsALoss(t *testing.T) {
	gone, addr := listen(t)
	gone.Close()
	s := settings(6, 2)
	s.Timeout = 50 * time.Millisecond
	books := NewBooks(2, s)
	_, err := Carry(t.Context(), books, addr)
	if got := Sum(books); err != nil || got != (Counts{Sent: 6, Lost: 6}) {
		t.Errorf("Carry: %v, recorded %+v, want six sent and six lost", err, got)
	}
}
