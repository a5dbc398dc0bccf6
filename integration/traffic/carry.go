package traffic

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"udplab/services/kit/udp"
)

// bufferSize is what sockets ask for, in bytes: nothing is to be lost here.
const bufferSize = 4 << 20

// Carry sends what the books have to one address and records what comes back,
// until all are done. When ctx ends nothing more is sent, and what is in flight
// is still waited for. It returns how many replies the kernel dropped at the
// clients' sockets.
func Carry(ctx context.Context, books []*Book, target netip.AddrPort) (uint64, error) {
	var drops atomic.Uint64
	failed := make([]error, len(books))
	var wg sync.WaitGroup
	for i, b := range books {
		wg.Go(func() {
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target))
			if err != nil {
				failed[i] = err
				return
			}
			defer conn.Close()
			udp.SetReceiveBuffer(conn, bufferSize)
			failed[i] = exchange(ctx, b, conn)
			drops.Add(udp.Drops(conn))
		})
	}
	wg.Wait()
	return drops.Load(), errors.Join(failed...)
}

// exchange carries one client's datagrams. Once all are done, those that are
// lost have the timeout once more to come late.
func exchange(ctx context.Context, b *Book, conn *net.UDPConn) error {
	start := time.Now()
	done := time.Duration(0) // not before
	buf := make([]byte, udp.MaxDatagram)
	for {
		now := time.Since(start)
		if ctx.Err() != nil {
			b.Stop()
		}
		b.Expire(now)
		for number, payload, ok := b.Next(now); ok; number, payload, ok = b.Next(now) {
			if _, err := conn.Write(payload); err != nil {
				b.Unsent(number)
				break // a full buffer, or news of an earlier datagram: try later
			}
		}
		if !b.Done() {
			done = now
		} else if b.Missing() == 0 || now-done > b.Timeout {
			return nil
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			return err
		}
		for 2*b.InFlight() >= b.Window || b.left == 0 { // once half the window is free, send again
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) || udp.IsRefusal(err) {
				break
			}
			if err != nil {
				return err
			}
			b.Reply(buf[:n], time.Since(start))
		}
	}
}
