package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
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

	// ask sends one probe and waits for its answer; nil: over a socket.
	ask func(ctx context.Context, addr netip.AddrPort) error
}

// hurry is how much sooner than usual a backend is probed again that is down and
// has just answered: it is to have its turns back soon.
const hurry = 4

// probeAll probes one backend until the context ends: at regular times, at once
// where it has come to another address, and soon again while it seems to return.
func (s *Set) probeAll(ctx context.Context, i int) {
	pause := s.Probe.Interval
	tick := time.NewTicker(pause)
	defer tick.Stop()
	moved := s.watchers[i].probe
	var tally streak
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			select {
			case <-moved: // at the same time: one probe will do
			default:
			}
		case <-moved:
			pause = s.Probe.Interval
			tick.Reset(pause)
		}
		addr, up := s.Addr(i), s.Up(i)
		if addr != tally.addr || up != tally.up { // what was counted is of another place, or has been overruled
			tally = streak{addr: addr, up: up}
		}
		if !addr.IsValid() {
			continue
		}
		err := s.Probe.ask(ctx, addr)
		if ctx.Err() != nil {
			return
		}
		s.judge(i, &tally, err)
		if next := s.untilNext(i, tally); next != pause {
			pause = next
			tick.Reset(pause)
		}
	}
}

// untilNext is how long to wait before the next probe.
func (s *Set) untilNext(i int, t streak) time.Duration {
	if t.answers > 0 && !s.Up(i) {
		return s.Probe.Interval / hurry
	}
	return s.Probe.Interval
}

// streak counts the probes in a row that a backend answered, or failed to
// answer; one of the two is 0.
type streak struct {
	addr              netip.AddrPort
	up                bool // as it was taken to be
	answers, failures int
}

// judge draws the conclusion from a probe that err ended, nil for an answer.
func (s *Set) judge(i int, t *streak, err error) {
	switch {
	case err == nil:
		t.answers, t.failures = t.answers+1, 0
		if t.answers >= s.Probe.Rise {
			s.Answered(i, t.addr)
		}
	case udp.IsRefusal(err):
		t.answers, t.failures = 0, t.failures+1
		s.Refused(i, t.addr, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.answers, t.failures = 0, t.failures+1
		if t.failures >= s.Probe.Fall {
			s.Refused(i, t.addr, fmt.Errorf("%d probes in a row unanswered", s.Probe.Fall))
		}
	}
	// Any other error is trouble of our own, such as no file descriptor being
	// left, and says nothing about the backend.
}

// send sends one probe from a socket of its own, so that its answer is not
// taken for another's, and waits for any answer.
func (p Probe) send(ctx context.Context, addr netip.AddrPort) error {
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
