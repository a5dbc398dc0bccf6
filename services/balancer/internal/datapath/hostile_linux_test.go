package datapath

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/nettest"
)

func TestWithoutDescriptorsDatagramsAreDroppedUntilThereAreSome(t *testing.T) {
	everyPath(t, func(t *testing.T, open opener) {
		r := open.start(t, setup{})
		there, comes, another := r.client(), r.client(), r.client()
		there.who("123")
		free := useUpDescriptors(t)
		comes.send("let me in")
		eventually(t, "it was dropped", func() bool { return r.snapshot().Dropped[ledger.NoSocket] == 1 })
		there.who("23")
		another.send("me too")
		comes.send("please")
		eventually(t, "they were dropped", func() bool { return r.snapshot().Dropped[ledger.NoSocket] == 3 })
		free()
		comes.who("3")
		another.who("1")
		there.who("2")
		r.allUp()
	})
}

// useUpDescriptors lets this process open no file until free is called.
func useUpDescriptors(t *testing.T) (free func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	free = func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) }
	t.Cleanup(free)
	return free
}

// Nobody can be answered at port 0. And a datagram in the listener's own name
// would be answered to the balancer itself, which would take the answer for
// another one, and so on.
func TestADatagramThatCannotBeAnsweredTakesNoTurn(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", ":0"} {
			t.Run(listen, func(t *testing.T) {
				everyPath(t, func(t *testing.T, open opener) {
					r := open.start(t, setup{listen: listen})
					loopback := netip.MustParseAddr("127.0.0.1")
					itself := netip.AddrPortFrom(loopback, r.path.Addr().Port())
					for from, why := range map[netip.AddrPort]ledger.Disposition{itself: ledger.Loop, netip.AddrPortFrom(loopback, 0): ledger.PortZero} {
						nettest.Datagram{From: from, To: itself, Payload: []byte("to whom?")}.Send(t)
						eventually(t, "it was dropped", func() bool { return r.snapshot().Dropped[why] == 1 })
					}
					r.clientAt(t, "127.0.0.1").who("123")
				})
			})
		}
	})
}

// The way to a backend turns out to be narrow: the next datagram that is sent
// would hear of it instead.
func TestTheNewsOfANarrowWayCostsNoDatagram(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		everyPath(t, func(t *testing.T, open opener) {
			var from sync.Map // a server's name to the session's address there
			r := open.start(t, setup{answer: func(s *server, payload []byte, session netip.AddrPort) {
				from.Store(s.name, session)
				s.named(payload, session)
			}})
			c := r.client()
			c.who("123")
			for range 20 {
				for _, s := range r.servers {
					session, _ := from.Load(s.name)
					nettest.Datagram{From: session.(netip.AddrPort), To: s.addr, Payload: []byte("ping")}.Unreachable(t, nettest.FragmentationNeeded, 1000)
				}
				c.who("123")
			}
			if s := r.snapshot(); s.DroppedTotal() != 0 {
				t.Errorf("dropped %v", s.Dropped)
			}
			r.allUp()
		})
	})
}

// Clients and servers at link-local addresses, which mean nothing without the
// interface, over a link with a usual width.
func TestLinkLocalAddresses(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		_, right := nettest.Veth(t, "left", "right")
		// Whoever writes to right's address by way of left goes over the cable.
		far := right.WithZone("left")
		left, err := net.InterfaceByName("left")
		if err != nil {
			t.Fatal(err)
		}
		zone := strconv.Itoa(left.Index)
		t.Run("a client of a wildcard listener", func(t *testing.T) {
			everyPath(t, func(t *testing.T, open opener) {
				open.start(t, setup{listen: ":0"}).clientAt(t, far.String()).who("1231")
			})
		})
		t.Run("client, listener and servers", func(t *testing.T) {
			everyPath(t, func(t *testing.T, open opener) {
				onLink := netip.AddrPortFrom(right, 0).String()
				r := open.start(t, setup{listen: onLink, servers: onLink, answer: (*server).echo})
				if r.path.Addr().Addr().Zone() == "" {
					t.Errorf("the listener says it is at %v", r.path.Addr())
				}
				for i, s := range r.servers { // the directory has zones as the kernel has them
					r.move(i, netip.AddrPortFrom(right.WithZone(zone), s.addr.Port()))
				}
				c := r.clientAt(t, far.String())
				for _, size := range []int{0, 1, 1452, 1453, 9000, longestV6, 64} {
					if got := c.ask(strings.Repeat("x", size)); len(got) != size {
						t.Errorf("%d bytes came back as %d", size, len(got))
					}
				}
				if s := r.snapshot(); s.DroppedTotal() != 0 || s.Turns != 7 {
					t.Errorf("%d turns, dropped %v", s.Turns, s.Dropped)
				}
			})
		})
	})
}

// A session's send buffer holds what is for two such servers, and not for a
// third. The portable data path has a socket for each and loses nothing that it
// could know of.
func TestWhatAFullSendBufferDoesNotTakeIsCounted(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		nettest.SilentLink(t)
		everyPath(t, func(t *testing.T, open opener) {
			const n = 60
			r := open.start(t, setup{})
			for i := range 3 {
				r.move(i, netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:9", 2+i)))
			}
			c := r.client()
			for i := range n {
				c.send(strings.Repeat("x", 30_000))
				eventually(t, "it was received", func() bool { return r.snapshot().Received == uint64(i+1) })
			}
			s := r.snapshot()
			if _, portable := r.path.(*portable); !portable && s.Dropped[ledger.SendFailed] == 0 || s.DroppedTotal() != s.Dropped[ledger.SendFailed] {
				t.Errorf("dropped %v", s.Dropped)
			}
			r.allUp()
			for i := range r.servers {
				r.move(i, r.servers[i].addr)
			}
			r.client().who(fmt.Sprint(n%3 + 1))
		})
	})
}

// Clients that are not there, as a flood under forged names would have them,
// fill the listener's send buffer with the replies to them.
func TestRepliesThatCannotLeaveHoldUpNobody(t *testing.T) {
	long(t)
	nettest.Run(t, func(t *testing.T) {
		nettest.SilentLink(t)
		everyPath(t, func(t *testing.T, open opener) {
			r := open.start(t, setup{listen: "192.0.2.1:0"})
			lost := func() uint64 {
				b := r.snapshot().Backends
				return b[0].Lost + b[1].Lost + b[2].Lost
			}
			sent := uint64(0)
			for i := 2; i < 255 && lost() == 0; i++ {
				from := netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:9", i))
				for range 6 {
					nettest.Datagram{From: from, To: r.path.Addr(), Payload: make([]byte, 30_000)}.Send(t)
					sent++
					eventually(t, "it was answered", func() bool { return r.snapshot().Replied+lost() == sent })
				}
			}
			if lost() == 0 {
				t.Fatalf("the system took %d replies to nobody", sent)
			}
			// Whoever is there is not heard either until the kernel gives them up,
			// and the books say so.
			c := r.client()
			for range 3 {
				c.send("ping")
			}
			delivered := 0
			for number := sent + 1; number <= sent+3; number++ {
				eventually(t, "the books say what became of it", func() bool {
					turn, ok := r.ledger.Turn(time.Now(), number)
					if ok && turn.Outcome == ledger.Answered {
						delivered++
					}
					return ok && (turn.Outcome == ledger.Answered || turn.Outcome == ledger.Undelivered)
				})
			}
			for range delivered {
				c.hear()
			}
			if _, more := c.hearFor(10 * time.Millisecond); more {
				t.Errorf("the client heard more than the %d answers of the books", delivered)
			}
			r.allUp()
		})
	})
}
