package backend

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"udplab/services/kit/udp"
)

// Probe is how a backend is asked whether it lives.
type Probe struct {
	Payload  string        // what it is sent; empty: probes are off
	Interval time.Duration // from one probe to the next
	Timeout  time.Duration // how long an answer may take
	Rise     int           // so many answers in a row: it is up
	Fall     int           // so many failures in a row: it is down
}

// probeAll probes one backend until the context ends.
func (s *Set) probeAll(ctx context.Context, i int) {
	tick := time.NewTicker(s.Probe.Interval)
	defer tick.Stop()
	var tally streak
	up := true
	for {
		addr := s.Addr(i)
		if now := s.Up(i); now != up {
			up, tally = now, streak{} // by other evidence: the count begins anew
		}
		if addr.IsValid() {
			err := s.Probe.ask(ctx, addr)
			if ctx.Err() != nil {
				return
			}
			s.judge(i, addr, &tally, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// streak counts answers or failures in a row; one of the two is 0.
type streak struct{ answers, failures int }

// judge draws the conclusion from a probe that err ended, nil for an answer.
func (s *Set) judge(i int, addr netip.AddrPort, t *streak, err error) {
	if err == nil {
		*t = streak{answers: t.answers + 1}
		if t.answers >= s.Probe.Rise {
			s.Answered(i, addr)
		}
		return
	}
	*t = streak{failures: t.failures + 1}
	switch {
	case udp.IsRefusal(err):
		s.Refused(i, addr, err)
	case t.failures >= s.Probe.Fall:
		s.Refused(i, addr, fmt.Errorf("%d probes unanswered", t.failures))
	}
}

// ask sends one probe from a socket of its own and waits for any answer.
func (p Probe) ask(ctx context.Context, addr netip.AddrPort) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	conn.SetDeadline(time.Now().Add(p.Timeout))
	if _, err := conn.Write([]byte(p.Payload)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, udp.MaxPayload)) // Windows takes a cut datagram for an error
	return err
}
