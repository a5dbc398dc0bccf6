package main

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

// carriers are all ways to carry datagrams that this system has.
var carriers = map[string]func(context.Context, []*book, string) (uint64, error){
	"of this system": carry, "portable": carryPortably,
}

// crookedServer answers like a ping server, but loses, doubles and garbles
// some answers by their number.
func crookedServer(t *testing.T) (addr string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn.(*net.UDPConn).SetReadBuffer(1 << 20)
	ended := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-ended })
	go func() {
		defer close(ended)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			answer := fmt.Appendf(nil, "%s server%d", buf[:n], n%3+1)
			switch number(answer) {
			case 10:
				continue
			case 20:
				conn.WriteTo(answer, from)
			case 30:
				conn.WriteTo([]byte("garbage"), from)
			}
			conn.WriteTo(answer, from)
		}
	}()
	return conn.LocalAddr().String()
}

func TestEveryDatagramIsCarriedAndEveryAnswerEntered(t *testing.T) {
	for name, carry := range carriers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const clients, datagrams = 3, 3000
			books, settled := newBooks(&settings{Datagrams: datagrams, Clients: clients, Window: 16, Seed: 5})
			drops, err := carry(t.Context(), books, crookedServer(t))
			if err != nil {
				t.Fatal(err)
			}
			// Each client meets each of the crooked numbers once.
			want := counts{Sent: datagrams, InTime: datagrams - clients, Lost: clients, Twice: clients, Foreign: clients}
			if got := sum(books); got != want || drops != 0 || settled.Load() != datagrams {
				t.Errorf("entered %+v, %d dropped, %d settled; want %+v", got, drops, settled.Load(), want)
			}
		})
	}
}

func TestCarryingEndsWhenItIsToldTo(t *testing.T) {
	for name, carry := range carriers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			books, settled := newBooks(&settings{Datagrams: 1e12, Clients: 2, Window: 8, Seed: 5})
			go func() {
				defer cancel()
				look := time.NewTicker(time.Millisecond)
				defer look.Stop()
				for settled.Load() < 100 {
					select {
					case <-look.C:
					case <-t.Context().Done():
						return
					}
				}
			}()
			_, err := carry(ctx, books, crookedServer(t))
			cancel()
			if got := sum(books); err != nil || got.Sent < 100 || got.Sent != got.InTime+got.Lost {
				t.Errorf("carry: %v, entered %+v, want 100 sent or more and what became of each", err, got)
			}
		})
	}
}

func TestANobodyThatRefusesIsNoEnd(t *testing.T) {
	gone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for name, carry := range carriers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			books, _ := newBooks(&settings{Datagrams: 6, Clients: 2, Window: 2, Seed: 5})
			_, err := carry(t.Context(), books, gone.LocalAddr().String())
			if want := (counts{Sent: 6, Lost: 6}); err != nil || sum(books) != want {
				t.Errorf("carry: %v, entered %+v, want %+v", err, sum(books), want)
			}
		})
	}
}
