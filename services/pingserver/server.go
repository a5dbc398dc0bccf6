package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"udplab/services/kit/logging"
	"udplab/services/kit/udp"
)

// socket is what the server needs of a udp.Socket.
type socket interface {
	io.Closer
	Addr() netip.AddrPort
	// Read returns net.ErrClosed after Close and goes on after any other error.
	Read(buf []byte) (int, udp.Peer, error)
	Write(payload []byte, to udp.Peer) error
}

// server answers what arrives at one socket. One goroutine reads and rolls the
// dice; delayed answers leave from their own timers.
type server struct {
	// never changed after newServer
	name   string
	chance string // in words, for the first line of the log
	socket socket
	log    *slog.Logger

	// of the goroutine that reads
	dice   *dice
	answer []byte // reused

	waiting waiting
	counts  counts
}

// counts is what became of the requests. Once the server has stopped,
// received = answered + lost + failed + dropped.
type counts struct {
	received atomic.Uint64
	answered atomic.Uint64
	lost     atomic.Uint64 // on purpose
	failed   atomic.Uint64 // the system did not send the answer
	dropped  atomic.Uint64 // held back when the server stopped, or one too many to hold
}

func newServer(cfg settings, socket socket, log *slog.Logger) *server {
	number := cfg.Seed.number()
	return &server{
		name:   string(cfg.Name),
		chance: chance(cfg, number),
		socket: socket,
		log:    log,
		dice:   newDice(cfg.Loss, cfg.Delay, cfg.Jitter, number),
		answer: make([]byte, 0, udp.MaxPayload),
	}
}

// chance says what the dice will do, and with which seed they do it again.
func chance(cfg settings, number uint64) (text string) {
	if cfg.Loss > 0 {
		text += fmt.Sprintf(", loses %.4g%% of its answers", 100*cfg.Loss)
	}
	if cfg.Delay > 0 || cfg.Jitter > 0 {
		text += ", holds them back for " + milliseconds(cfg.Delay)
	}
	if cfg.Jitter > 0 {
		text += " and up to " + milliseconds(cfg.Jitter) + " more"
	}
	if cfg.Loss > 0 || cfg.Jitter > 0 {
		text += fmt.Sprintf(" (seed %d)", number)
	}
	return text
}

// run answers until the context ends, which is no error. It closes the socket
// and leaves nothing running.
func (s *server) run(ctx context.Context) error {
	defer s.socket.Close()
	defer context.AfterFunc(ctx, func() { s.socket.Close() })()

	addr := s.socket.Addr().String()
	s.log.Info(s.name+" listens on "+addr+s.chance,
		"event", "listening", "name", s.name, "addr", addr)
	err := s.serve(ctx)
	s.counts.dropped.Add(uint64(s.waiting.close()))
	s.logStop()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serve reads until the socket is closed and returns that error.
func (s *server) serve(ctx context.Context) error {
	buf := make([]byte, 1<<16) // longer than any datagram
	for {
		n, peer, err := s.socket.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			s.readFailed(ctx, err)
		case string(buf[:n]) == probe:
			answer, _ := appendAnswer(s.answer[:0], buf[:n], s.name)
			s.socket.Write(answer, peer) // whoever probes sees whether it arrives
		default:
			s.handle(ctx, buf[:n], peer)
		}
	}
}

// readFailed goes on after an error, such as the refusal of an earlier answer
// that some systems report here. The pause keeps an error that stays from
// taking a whole core.
func (s *server) readFailed(ctx context.Context, err error) {
	s.log.Warn(fmt.Sprintf("%s could not read a request: %v", s.name, err),
		"event", "read_failed", "name", s.name, "error", err.Error())
	pause := time.NewTimer(time.Millisecond)
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-pause.C:
	}
}

// handle gives one request its fate.
func (s *server) handle(ctx context.Context, request []byte, peer udp.Peer) {
	s.counts.received.Add(1)
	fate := s.dice.roll()
	if fate.lost {
		s.counts.lost.Add(1)
		s.logRequest(ctx, request, peer, deed{outcome: lost})
		return
	}
	var did deed
	s.answer, did.cut = appendAnswer(s.answer[:0], request, s.name)
	if fate.delay > 0 {
		did.outcome, did.delay = s.sendLater(fate.delay, bytes.Clone(s.answer), peer), fate.delay
	} else {
		did.outcome, did.err = s.send(s.answer, peer)
	}
	s.logRequest(ctx, request, peer, did)
}

// send sends an answer and counts it.
func (s *server) send(answer []byte, peer udp.Peer) (outcome, error) {
	err := s.socket.Write(answer, peer)
	switch {
	case err == nil:
		s.counts.answered.Add(1)
		return answered, nil
	case errors.Is(err, net.ErrClosed): // the stop was faster
		s.counts.dropped.Add(1)
		return dropped, nil
	}
	s.counts.failed.Add(1)
	return failed, err
}

// sendLater holds an answer back for the delay.
func (s *server) sendLater(delay time.Duration, answer []byte, peer udp.Peer) outcome {
	held := s.waiting.after(delay, len(answer), func() {
		if _, err := s.send(answer, peer); err != nil {
			s.log.Warn(fmt.Sprintf("%s could not answer %v: %v", s.name, peer.Addr, err),
				"event", "send_failed", "name", s.name, "client", peer.Addr.String(), "error", err.Error())
		}
	})
	if !held {
		s.counts.dropped.Add(1)
		return dropped
	}
	return delayed
}

// logRequest writes the one line that a request gets.
func (s *server) logRequest(ctx context.Context, request []byte, peer udp.Peer, did deed) {
	if !s.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	client := peer.Addr.String()
	attrs := []slog.Attr{
		slog.String("event", "request"), slog.String("name", s.name),
		slog.String("client", client), slog.Int("bytes", len(request)),
		slog.String("outcome", string(did.outcome)), slog.Bool("cut", did.cut),
	}
	if did.outcome == delayed {
		attrs = append(attrs, slog.Float64("delay_ms", inMilliseconds(did.delay)))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo,
		s.name+" got "+logging.Quote(request, len(request))+" from "+client+": "+did.String(), attrs...)
}

func (s *server) logStop() {
	c := &s.counts
	s.log.Info(fmt.Sprintf("%s stops: %d requests, %d answered, %d lost on purpose, %d failed, %d dropped",
		s.name, c.received.Load(), c.answered.Load(), c.lost.Load(), c.failed.Load(), c.dropped.Load()),
		"event", "stopped", "name", s.name, "received", c.received.Load(), "answered", c.answered.Load(),
		"lost", c.lost.Load(), "failed", c.failed.Load(), "dropped", c.dropped.Load())
}
