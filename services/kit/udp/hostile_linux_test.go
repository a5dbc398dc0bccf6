package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"udplab/services/kit/nettest"
)

func TestAFullSendBufferIsAnErrorAndNoWait(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		nettest.SilentLink(t)
		silent := netip.MustParseAddrPort("192.0.2.2:9")
		s, err := Listen(t.Context(), "192.0.2.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c, err := Dial(silent)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for name, socket := range map[string]*Socket{"listening": s, "connected": c} {
			to := Peer{}
			if socket == s {
				to.Addr = silent
			}
			if err := socket.Conn().SetWriteBuffer(1); err != nil { // the kernel makes it a few KiB
				t.Fatal(err)
			}
			for range 1000 {
				if err = socket.Write([]byte("anybody?"), to); err != nil {
					break
				}
			}
			if !errors.Is(err, syscall.EAGAIN) {
				t.Errorf("%s: after 1000 datagrams: %v", name, err)
			}
		}
	})
}

func TestAfterItsEndASocketSendsNothing(t *testing.T) {
	s, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	c.Close()
	if err := s.Write(nil, Peer{Addr: s.Addr()}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listening: %v", err)
	}
	if err := c.Write(nil, Peer{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("connected: %v", err)
	}
}
