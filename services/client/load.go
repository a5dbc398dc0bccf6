package main

import (
	"context"
	"net/netip"
	"os"
	"time"

	"udplab/services/kit/program"
)

// load keeps many datagrams under way and says how many answers came, from
// whom, and how long they took. It claims no order: answers overtake each
// other, so who answered first need not have had the first turn.
func (p client) load(ctx context.Context, cfg settings) error {
	if err := cfg.checkLoad(); err != nil {
		return err
	}
	err := p.carryOut(ctx, cfg, p.reporter(cfg))
	if err == nil || program.ExitCode(err) == 1 {
		p.epilogue(cfg)
	}
	return err
}

// carryOut is one whole load: it opens the sockets, sends and listens, and
// tells show what comes of it. The error is nil if there was an answer and
// every limit was kept; program.ExitCode knows the others.
func (p client) carryOut(ctx context.Context, cfg settings, show func(event)) error {
	carrier, addr, err := p.openCarrier(ctx, cfg)
	if err != nil {
		return err
	}
	defer carrier.close()
	show, every := p.inPlace(show, cfg.Quiet)
	plan := cfg.plan()
	show(loadStarted{cfg.Target, addr, plan})

	status, stop := statusRequests()
	defer stop()
	l := &loader{flight: newFlight(plan, time.Now()), carrier: carrier, status: status, show: show, every: every}
	err = cannotReach(cfg.Target, l.run(ctx))
	found := l.results(l.now())
	if err == nil {
		loss, _ := found.loss()
		err = verdict(found.received, loss, cfg.MaxLoss)
	}
	show(loadEnded{cfg.Target, found, program.ExitCode(err)})
	return err
}

// openCarrier opens the best carrier there is, and says to which address.
func (p client) openCarrier(ctx context.Context, cfg settings) (carrier, netip.AddrPort, error) {
	if p.batched == nil {
		return openPlain(ctx, p.dial, cfg.Target, cfg.Clients)
	}
	addr, err := resolve(ctx, cfg.Target)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	c, err := p.batched(addr, cfg.Clients)
	return c, addr, cannotReach(cfg.Target, err)
}

// loader owns everything of one load. It is one loop: send what there is room
// for, wait for what comes.
type loader struct {
	*flight
	carrier  carrier
	status   <-chan os.Signal // somebody wants to know how far it is
	show     func(event)
	every    time.Duration // from one progress to the next; 0: none
	progress progress

	payloads [batchSize][]byte
	group    [][]byte
}

// glance is how long the loop sleeps at most before it looks whether it is to
// end or to say how far it is.
const glance = 50 * time.Millisecond

// now is the time since the load began.
func (l *loader) now() time.Duration { return time.Since(l.began) }

// run carries the load out. It returns nil also when the context ends it.
func (l *loader) run(ctx context.Context) error {
	for {
		now := l.now()
		l.expire(now)
		if ctx.Err() != nil {
			return nil
		}
		for n := l.room(now); n > 0; n -= batchSize {
			l.sendBatch(min(n, batchSize), now)
		}
		if l.over() {
			return nil
		}
		l.tell(now)
		if err := l.carrier.receive(min(l.next(now)-now, glance), l.arrived); err != nil {
			return err
		}
	}
}

// sendBatch sends the next n datagrams, those of one client together.
func (l *loader) sendBatch(n int, now time.Duration) {
	at := l.began.Add(now)
	first := l.sent + 1
	for i := range n {
		text := appendPing(l.payloads[i][:0], l.flight.send(now), at)
		l.payloads[i] = append(text, padding(len(text), l.size)...)
	}
	for i := range min(n, l.clients) {
		l.group = l.group[:0]
		for j := i; j < n; j += l.clients {
			l.group = append(l.group, l.payloads[j])
		}
		l.carrier.send(l.client(first+i), l.group, l.refused)
	}
}

// refused counts what the system said of a datagram that did not get there. The
// datagram keeps its place in the window until the timeout, so that a network
// that is gone is not asked a million times a second.
func (l *loader) refused(err error) { l.errors[reason(err)]++ }

// arrived takes in what came to a client.
func (l *loader) arrived(a arrival) {
	if a.err != nil {
		l.refused(a.err)
		return
	}
	l.flight.receive(a.client, a.payload, a.at.Sub(l.began))
}

// tell says how far it is, to those who asked and to those who watch.
func (l *loader) tell(now time.Duration) {
	select {
	case <-l.status:
		l.show(loadAsked{l.results(now)})
	default:
	}
	if l.every > 0 && now >= l.progress.at+l.every {
		l.progress.measure(l.flight, now)
		l.show(progressed{func() string { return l.progress.line(l.flight, l.now()) }})
	}
}
