package datapath

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"udplab/services/balancer/internal/ledger"
)

func testItself(t *testing.T, open opener) {
	for _, listen := range []string{"127.0.0.1:0", ":0"} {
		t.Run(listen, func(t *testing.T) {
			r := open.start(t, setup{listen: listen})
			if _, err := r.servers[1].conn.WriteToUDPAddrPort([]byte("from a server"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.path.Addr().Port())); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it was dropped", func() bool { return r.snapshot().Dropped[ledger.Loop] == 1 })
			r.move(0, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.path.Addr().Port()))
			c := r.clientAt(t, "127.0.0.1")
			c.send("round and round")
			eventually(t, "it was dropped when it came back", func() bool { return r.snapshot().Dropped[ledger.Loop] == 2 })
			c.who("23")
			if s := r.snapshot(); s.Turns != 3 || s.SessionsOpened != 1 {
				t.Errorf("turns %d, sessions opened %d", s.Turns, s.SessionsOpened)
			}
		})
	}
}

func testStranger(t *testing.T, open opener) {
	r := open.start(t, setup{idle: 100 * time.Millisecond, hold: "hold"})
	c := r.client()
	c.send("hold")
	held := <-r.held
	stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(held.session))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	eventually(t, "the session was closed", func() bool {
		stranger.Write([]byte("buy this")) // may be refused: that is an answer too
		return r.snapshot().SessionsClosed[ledger.Idle] == 1
	})
	if got, heard := c.hearFor(time.Millisecond); heard {
		t.Errorf("the client heard %q", got)
	}
	if _, connected := r.path.(*portable); !connected && r.snapshot().Dropped[ledger.Stranger] == 0 {
		t.Error("no stranger's datagram is counted")
	}
}

// longestV6 is the longest payload over IPv6, in bytes, longer than any over
// IPv4: its length counts no IP header (RFC 8200).
const longestV6 = 65_535 - 8

func testTooLong(t *testing.T, open opener) {
	r := open.start(t, setup{listen: "[::1]:0"})
	c := r.client()
	c.send(strings.Repeat("x", longestV6))
	eventually(t, "it was dropped", func() bool { return r.snapshot().Dropped[ledger.SendFailed] == 1 })
	c.who("231")
	if r.isDown(0) {
		t.Error("it took server1 down")
	}
	r = open.start(t, setup{listen: "[::1]:0", servers: "[::1]:0", answer: (*server).echo})
	if got := r.client().ask(strings.Repeat("x", longestV6)); len(got) != longestV6 {
		t.Errorf("over IPv6 all the way %d bytes came back as %d", longestV6, len(got))
	}
}

func testReplyNotTaken(t *testing.T, open opener) {
	r := open.start(t, setup{servers: "[::1]:0", answer: func(s *server, payload []byte, from netip.AddrPort) {
		if s.name == "server1" {
			s.echo(make([]byte, longestV6), from)
		}
		s.named(payload, from)
	}})
	r.client().who("1231")
	eventually(t, "the replies are counted", func() bool { return r.snapshot().Replied == 4 && r.snapshot().Backends[0].Lost == 2 })
}

func testAddressGone(t *testing.T, open opener) {
	r := open.start(t, setup{})
	r.move(0, netip.AddrPort{})
	c := r.client()
	c.send("lost")
	c.who("23")
	if n := r.snapshot().Dropped[ledger.SendFailed]; n != 1 {
		t.Errorf("%d dropped", n)
	}
}

func testRefusingClient(t *testing.T, open opener) {
	const n, each = 20, 3
	r := open.start(t, setup{hold: "do not answer yet"})
	stays := r.client()
	_, deaf := r.path.(*portable) // package net does not pass on what the system says of a listener
	for i := range uint64(n) {
		goes := r.client()
		goes.send("do not answer yet")
		held := <-r.held
		goes.conn.Close()
		for k := range each { // of different lengths, or the kernel may refuse several as one
			held.answer(strings.Repeat("!", k))
		}
		stays.who(fmt.Sprint((2*i+1)%3 + 1))
		eventually(t, "every reply is counted", func() bool { return r.snapshot().Replied == (i+1)*(each+1) })
		eventually(t, "and so is every refusal", func() bool { return deaf || r.snapshot().RepliesRefused == (i+1)*each })
	}
	r.allUp()
	for _, b := range r.snapshot().Backends {
		if b.Lost > 0 {
			t.Errorf("%s: %d replies lost", b.Name, b.Lost)
		}
	}
}

func testKernelDrops(t *testing.T, open opener) {
	long(t)
	if runtime.GOOS != "linux" {
		t.Skip("this system does not say how many datagrams a full buffer dropped")
	}
	// Before the data path runs, nobody empties its listener.
	sent := uint64(0)
	r := open.start(t, setup{beforeRun: func(r *rig) {
		for r.path.KernelDrops() == 0 {
			if sent > 100_000 {
				t.Fatalf("no drops reported after %d datagrams that nobody read", sent)
			}
			c := r.client() // several, for the kernel spreads them over the workers
			for range 10_000 {
				c.send("too many")
				sent++
			}
		}
	}})
	drops := r.path.KernelDrops()
	r.stop()
	if after, s := r.path.KernelDrops(), r.snapshot(); after < drops || s.Received == 0 || s.Received+after > sent {
		t.Errorf("%d drops before it ran, %d after it stopped, %d received of %d", drops, after, s.Received, sent)
	}
}
