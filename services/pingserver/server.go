package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
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

// What answers that are delayed may take of the memory, in bytes: all of them, and
// each beside its text.
const (
	maxHeld  = 512 << 20
	heldCost = 4 << 10
)

// server answers what arrives at one socket. One goroutine reads and decides; each
// delayed answer has a goroutine of its own.
type server struct {
	// never changed after newServer
	name   string
	seed   uint64
	socket socket
	log    *slog.Logger

	impairment atomic.Pointer[impairment] // of the next request

	// of the goroutine that reads
	chance chance
	answer []byte // reused

	held    atomic.Int64 // bytes of memory, by delayed answers
	holders sync.WaitGroup

	// Once the server has stopped, received is the sum of counts.
	received atomic.Uint64
	counts   [outcomes]atomic.Uint64
}

func newServer(cfg settings, socket socket, log *slog.Logger) *server {
	seed := rand.Uint64()
	if cfg.Seed != nil {
		seed = *cfg.Seed
	}
	s := &server{
		name: string(cfg.Name), seed: seed, socket: socket, log: log,
		chance: newChance(seed), answer: make([]byte, 0, udp.MaxPayload),
	}
	s.impairment.Store(&impairment{cfg.Loss, cfg.Delay, cfg.Jitter})
	return s
}

// run answers until the context ends, which is no error. It closes the socket
// and leaves nothing running.
func (s *server) run(ctx context.Context) error {
	defer s.socket.Close()
	defer context.AfterFunc(ctx, func() { s.socket.Close() })()

	addr, impairment := s.socket.Addr().String(), s.impairment.Load()
	text := s.name + " listens on " + addr + impairment.String()
	if impairment.loss > 0 || impairment.jitter > 0 { // chance has a part in it
		text += fmt.Sprintf(" (seed %d)", s.seed)
	}
	s.log.Info(text, "event", "listening", "name", s.name, "addr", addr)
	running, stop := context.WithCancel(ctx)
	err := s.serve(running)
	stop()
	s.holders.Wait()
	s.logStop()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serve reads until the socket is closed and returns that error.
func (s *server) serve(ctx context.Context) error {
	buf := make([]byte, udp.MaxDatagram)
	for {
		n, peer, err := s.socket.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			s.readFailed(err)
		case string(buf[:n]) == probe:
			answer, _ := appendAnswer(s.answer[:0], buf[:n], s.name)
			_ = s.socket.Write(answer, peer) // the sender of a probe sees whether it arrives
		default:
			s.received.Add(1)
			r := s.respond(ctx, buf[:n], peer)
			if r.outcome != delayed {
				s.counts[r.outcome].Add(1)
			}
			s.logRequest(ctx, buf[:n], peer, r)
		}
	}
}

// readFailed goes on after an error, such as the refusal of an earlier answer
// that some systems report here. The pause keeps an error that stays from
// taking a whole core.
func (s *server) readFailed(err error) {
	s.log.Warn(fmt.Sprintf("%s could not read a request: %v", s.name, err),
		"event", "read_failed", "name", s.name, "error", err.Error())
	time.Sleep(time.Millisecond)
}

// respond answers one request as the impairment wants it.
func (s *server) respond(ctx context.Context, request []byte, peer udp.Peer) (r result) {
	isLost, delay := s.chance.next(*s.impairment.Load())
	if isLost {
		return result{outcome: lost}
	}
	s.answer, r.cut = appendAnswer(s.answer[:0], request, s.name)
	switch {
	case delay == 0:
		r.outcome, r.err = s.send(s.answer, peer)
	case s.hold(ctx, delay, s.answer, peer):
		r.outcome, r.delay = delayed, delay
	default:
		r.outcome = dropped
	}
	return r
}

// hold sends a copy of the answer after the delay, or drops it when the context ends.
// It returns false, and does nothing, if too much is held back already.
func (s *server) hold(ctx context.Context, delay time.Duration, answer []byte, peer udp.Peer) bool {
	size := int64(heldCost + len(answer))
	if s.held.Add(size) > maxHeld {
		s.held.Add(-size)
		return false
	}
	answer = bytes.Clone(answer)
	s.holders.Go(func() {
		defer s.held.Add(-size)
		select {
		case <-ctx.Done():
			s.counts[dropped].Add(1)
		case <-time.After(delay):
			s.sendDelayed(answer, peer)
		}
	})
	return true
}

func (s *server) send(answer []byte, peer udp.Peer) (outcome, error) {
	err := s.socket.Write(answer, peer)
	switch {
	case err == nil:
		return answered, nil
	case errors.Is(err, net.ErrClosed): // the stop was faster
		return dropped, nil
	}
	return failed, err
}

func (s *server) sendDelayed(answer []byte, peer udp.Peer) {
	outcome, err := s.send(answer, peer)
	s.counts[outcome].Add(1)
	if err != nil {
		s.log.Warn(fmt.Sprintf("%s could not answer %v: %v", s.name, peer.Addr, err),
			"event", "send_failed", "name", s.name, "client", peer.Addr.String(), "error", err.Error())
	}
}

// logRequest writes the one line that a request gets.
func (s *server) logRequest(ctx context.Context, request []byte, peer udp.Peer, r result) {
	if !s.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	client := peer.Addr.String()
	attrs := []slog.Attr{
		slog.String("event", "request"), slog.String("name", s.name),
		slog.String("client", client), slog.Int("bytes", len(request)),
		slog.String("outcome", r.outcome.String()), slog.Bool("cut", r.cut),
	}
	if r.outcome == delayed {
		attrs = append(attrs, slog.Float64("delay_ms", inMilliseconds(r.delay)))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo,
		s.name+" got "+logging.Quote(request, len(request))+" from "+client+": "+r.String(), attrs...)
}

func (s *server) logStop() {
	count := func(o outcome) uint64 { return s.counts[o].Load() }
	s.log.Info(fmt.Sprintf("%s stops: %d requests, %d answered, %d lost on purpose, %d failed, %d dropped",
		s.name, s.received.Load(), count(answered), count(lost), count(failed), count(dropped)),
		"event", "stopped", "name", s.name, "received", s.received.Load(), "answered", count(answered),
		"lost", count(lost), "failed", count(failed), "dropped", count(dropped))
}
