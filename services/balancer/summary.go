package main

import (
	"fmt"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/config"
)

// announce says where everything is. Programs that start a balancer on free
// ports read the attributes.
func (b *balancer) announce() {
	asked, granted := b.path.ReceiveBuffer()
	page := "off"
	if b.page != nil {
		page = "http://" + config.Loopback(b.page.Addr().String())
	}
	b.log.Info(fmt.Sprintf("balancer listens on %v, page %s", b.path.Addr(), page),
		"event", "listening", "addr", b.path.Addr().String(), "http", page,
		"receive_buffer_asked", asked, "receive_buffer_granted", granted)
	if granted < asked {
		b.log.Info(fmt.Sprintf("receive buffer: %d KiB granted of %d KiB asked for; the system's limit is net.core.rmem_max", granted>>10, asked>>10))
	}
	for i, s := range b.members.Snapshot().Backends {
		if s.Addr.IsValid() {
			b.log.Info(fmt.Sprintf("turn %d: %s at %v", i+1, s.Name, s.Addr), "server", s.Name, "addr", s.Addr.String())
		} else {
			b.log.Info(fmt.Sprintf("turn %d: %s, once %s resolves", i+1, s.Name, b.cfg.Backends[i].Host), "server", s.Name)
		}
	}
}

// sumUp says at the end how everything was.
func (b *balancer) sumUp() {
	s := b.ledger.Snapshot(time.Now())
	drops, attrs := "", []any{"received", s.Received, "forwarded", s.Forwarded, "replied", s.Replied, "dropped", s.DroppedTotal()}
	for d, n := range s.Dropped {
		if n > 0 {
			drops += fmt.Sprintf(", %s %d", ledger.Disposition(d), n)
			attrs = append(attrs, "dropped_"+ledger.Disposition(d).String(), n)
		}
	}
	if drops != "" {
		drops = " (" + drops[2:] + ")"
	}
	next := "no server is up"
	if turn, ok := b.scheduler.Next(); ok {
		next = "the next turn is " + turn.Backend.Name + "'s"
	}
	kernel := ""
	if n := b.path.KernelDrops(); n > 0 {
		kernel = fmt.Sprintf(" (the kernel dropped %d more before we saw them)", n)
		attrs = append(attrs, "kernel_drops", n)
	}
	b.log.Info(fmt.Sprintf("stopped: %d received%s, %d forwarded, %d replied, %d dropped%s; %s",
		s.Received, kernel, s.Forwarded, s.Replied, s.DroppedTotal(), drops, next), attrs...)
}
