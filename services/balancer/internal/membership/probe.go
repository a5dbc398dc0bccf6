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
		m.mu.Lock() // until a change under way has been made
		addr := b.Addr
		m.mu.Unlock()
		if !addr.IsValid() {
			continue
		}
		err := m.Probe.ask(ctx, addr)
		if ctx.Err() != nil {
			return
		}
		if m.judge(b, addr, err) {
			tick.Reset(m.Probe.Interval / returnHurry)
		}
	}
}

// judge draws the conclusion from a probe of a server at addr that err ended, nil
// for an answer. It says whether the server seems to return.
func (m *Members) judge(b *member, addr netip.AddrPort, err error) (returns bool) {
	m.change(func(now time.Time) {
		switch {
		case b.Addr != addr:
		case err == nil:
			b.answers, b.failures = b.answers+1, 0
			if !b.Up() && b.answers >= m.Probe.Rise {
				b.up(now)
			}
		case udp.IsRefusal(err):
			b.answers, b.failures = 0, 0
			m.fail(now, b, Refused, udp.Reason(err))
		case errors.Is(err, os.ErrDeadlineExceeded):
			b.answers, b.failures = 0, b.failures+1
			if b.failures >= m.Probe.Fall {
				m.fail(now, b, ProbeFailed, fmt.Sprintf("%d probes in a row unanswered", m.Probe.Fall))
			}
		}
		// Any other error is trouble of our own, such as no file descriptor being
		// left, and says nothing about the server.
		returns = b.answers > 0 && !b.Up()
	})
	return returns
}

// send sends one probe from a socket of its own, so that its answer is not
// taken for another's, and waits for any answer.
func (p Probe) send(ctx context.Context, addr netip.AddrPort) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(p.Timeout)) // first: it must not undo that of a stop
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	if _, err := conn.Write([]byte(p.Payload)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, udp.MaxPayload)) // Windows takes a cut datagram for an error
	return err
}
