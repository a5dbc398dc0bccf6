package main

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"udplab/services/kit/udp"
)

// carryPortably does what carry has to, on package net: a goroutine for each
// client, a system call for each datagram.
func carryPortably(ctx context.Context, books []*book, target string) (uint64, error) {
	var drops atomic.Uint64
	failed := make([]error, len(books))
	var wg sync.WaitGroup
	for i, b := range books {
		wg.Go(func() {
			conn, err := net.Dial("udp", target)
			if err != nil {
				failed[i] = err
				return
			}
			defer conn.Close()
			failed[i] = converse(ctx, b, conn)
			drops.Add(udp.Drops(conn.(*net.UDPConn)))
		})
	}
	wg.Wait()
	return drops.Load(), errors.Join(failed...)
}

// converse carries one client's datagrams.
func converse(ctx context.Context, b *book, conn net.Conn) error {
	start := time.Now()
	var done time.Duration // since when it is; 0: it is not
	buf := make([]byte, 2*maxSize)
	for {
		now := time.Since(start)
		if ctx.Err() != nil {
			b.stop()
		}
		b.giveUp(now)
		for slot, payload, ok := b.next(now); ok; slot, payload, ok = b.next(now) {
			if _, err := conn.Write(payload); err != nil {
				b.unsent(slot)
				break // a full buffer, or a refusal of something earlier: later, then
			}
		}
		switch {
		case !b.done():
			done = 0
		case done == 0:
			done = now
		}
		if b.done() && (len(b.missing) == 0 || now-done > patience) {
			return nil
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			return err
		}
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) || udp.IsRefusal(err) {
				break
			}
			if err != nil {
				return err
			}
			b.answer(buf[:n])
			if 2*len(b.free) >= len(b.slots) {
				break // half the window is free: send again
			}
		}
	}
}
