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

// Probe is how a server is asked whether it lives.
type Probe struct {
	Payload  string        // what it is sent; empty: probes are off
	Interval time.Duration // from one probe to the next
	Timeout  time.Duration // how long an answer may take
	Rise     int           // so many answers in a row: it is up
	Fall     int           // so many failures in a row: it is down

	// ask sends one probe and waits for its answer; nil: over a socket.
	ask func(ctx context.Context, addr netip.AddrPort) error
}

// returnHurry is how much sooner than usual a server is probed again that is down
// and has just answered: it is to have its turns back soon.
const returnHurry = 4

// probeAll checks one server's health until the context ends: at regular times,
// at once where it has come to another address, and soon again while it seems to
// return.
func (m *Members) probeAll(ctx context.Context, b *member) {
	tick := time.NewTicker(m.Probe.Interval)
	defer tick.Stop()
	var seen streak
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			select {
			case <-b.probe: // at the same time: one probe will do
			default:
			}
		case <-b.probe:
		}
		tick.Reset(m.Probe.Interval)
		now := m.now(b)
		if now.Addr != seen.addr || now.Up() != seen.up { // what was counted is of another place, or has been overruled
			seen = streak{addr: now.Addr, up: now.Up()}
		}
		if !now.Addr.IsValid() {
			continue
		}
		err := m.Probe.ask(ctx, now.Addr)
		if ctx.Err() != nil {
			return
		}
		m.judge(b.ID, &seen, err)
		if now = m.now(b); seen.answers > 0 && !now.Up() {
			tick.Reset(m.Probe.Interval / returnHurry)
		}
	}
}

// now is a server as it is, once a change that is under way has been made.
func (m *Members) now(b *member) Backend {
	m.mu.Lock()
	defer m.mu.Unlock()
	return b.Backend
}

// streak counts the probes in a row that a server answered, or failed to answer;
// one of the two is 0.
type streak struct {
	addr              netip.AddrPort
	up                bool // as it was taken to be
	answers, failures int
}

// judge draws the conclusion from a probe that err ended, nil for an answer.
func (m *Members) judge(id ID, s *streak, err error) {
	switch {
	case err == nil:
		s.answers, s.failures = s.answers+1, 0
		if s.answers >= m.Probe.Rise {
			s.up = true
			m.Answered(id, s.addr)
		}
	case udp.IsRefusal(err):
		s.answers, s.failures, s.up = 0, s.failures+1, false
		m.Failed(Evidence{Backend: id, Addr: s.addr, Cause: Refused, Reason: udp.Reason(err)})
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.answers, s.failures = 0, s.failures+1
		if s.failures >= m.Probe.Fall {
			s.up = false
			m.Failed(Evidence{Backend: id, Addr: s.addr, Cause: ProbeFailed, Reason: fmt.Sprintf("%d probes in a row unanswered", m.Probe.Fall)})
		}
	}
	// Any other error is trouble of our own, such as no file descriptor being
	// left, and says nothing about the server.
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
