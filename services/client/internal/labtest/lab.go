// Package labtest stands in tests for everything behind the client's sockets: it
// decides what comes back for each request.
package labtest

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"udplab/services/client/internal/transport"
)

// Datagram is what comes back after a while.
type Datagram struct {
	After   time.Duration
	Payload string
	Err     error // what a read returns instead
}

// Answer says what comes back for the n-th request of all runs, counted from 0.
type Answer func(n int, request string) []Datagram

// Reply is the answer of a server of ours, 0.4 ms after the request.
func Reply(request, server string) Datagram {
	return Datagram{After: 400 * time.Microsecond, Payload: strings.ToUpper(request) + " " + server}
}

// RoundRobin is three servers that answer in turn, except for the requests given by
// number.
func RoundRobin(silent ...int) Answer { return After(400*time.Microsecond, silent...) }

// After is RoundRobin whose answers take so long.
func After(delay time.Duration, silent ...int) Answer {
	return func(n int, request string) []Datagram {
		if slices.Contains(silent, n) {
			return nil
		}
		d := Reply(request, []string{"server1", "server2", "server3"}[n%3])
		d.After = delay
		return []Datagram{d}
	}
}

// Refused is what a socket reports when nobody listens there.
var Refused error = &net.OpError{Op: "read", Err: os.NewSyscallError("recv", syscall.ECONNREFUSED)}

// Addr is the address of every Lab.
var Addr = netip.MustParseAddrPort("172.30.7.10:8888")

// Lab is reached over sockets of its own. In a synctest bubble its clock is the
// bubble's, so that transcripts are exact.
type Lab struct {
	Answer Answer
	// RefuseWrites is how many of the coming writes fail as if an earlier datagram
	// had been refused.
	RefuseWrites int

	mu       sync.Mutex
	Requests []string
	Times    []time.Time // of the requests
}

// Dial opens a socket into the lab; it is a transport.Dialer.
func (l *Lab) Dial(context.Context, string) (io.ReadWriteCloser, netip.AddrPort, error) {
	return &socket{lab: l, in: make(chan Datagram, 4096), closed: make(chan struct{})}, Addr, nil
}

type socket struct {
	lab    *Lab
	in     chan Datagram
	closed chan struct{}
}

func (s *socket) Read(buf []byte) (int, error) {
	select {
	case d := <-s.in:
		return copy(buf, d.Payload), d.Err
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

func (s *socket) Write(payload []byte) (int, error) {
	l := s.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.RefuseWrites > 0 {
		l.RefuseWrites--
		return 0, Refused
	}
	n := len(l.Requests)
	l.Requests = append(l.Requests, string(payload))
	l.Times = append(l.Times, time.Now())
	for _, d := range l.Answer(n, string(payload)) {
		time.AfterFunc(d.After, func() { s.in <- d })
	}
	return len(payload), nil
}

func (s *socket) Close() error { close(s.closed); return nil }

// Same compares a text with what is wanted, given without its first line break.
func Same(t *testing.T, what, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
	}
}

// Harmless wants a text to hold nothing that a terminal would obey.
func Harmless(t *testing.T, what, text string) {
	t.Helper()
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) {
		t.Errorf("%s: %q", what, text)
	}
}

// Traffic is a ping.Run or a load.Run.
type Traffic interface {
	Expire(now time.Time)
	Send(now time.Time, send func(client int, payloads [][]byte))
	Receive(client int, payload string, at time.Time)
	Undelivered(why string, at time.Time)
	Next(now time.Time) (at time.Time, over bool)
}

// Simulate drives a run from a time on as the real loop would, without sockets or a
// clock, until it is over or the limit has passed, and returns the time then.
func Simulate(run Traffic, now time.Time, limit time.Duration, answer Answer) time.Time {
	type arrival struct {
		Datagram
		at     time.Time
		client int
	}
	var underWay []arrival // the earliest first
	requests := 0
	send := func(client int, payloads [][]byte) {
		for _, payload := range payloads {
			for _, d := range answer(requests, string(payload)) {
				underWay = append(underWay, arrival{d, now.Add(d.After), client})
			}
			requests++
		}
		slices.SortStableFunc(underWay, func(a, b arrival) int { return a.at.Compare(b.at) })
	}
	end := now.Add(limit)
	for {
		run.Expire(now)
		if !now.Before(end) {
			return now
		}
		run.Send(now, send)
		next, over := run.Next(now)
		if over {
			return now
		}
		if end.Before(next) {
			next = end
		}
		if len(underWay) == 0 || next.Before(underWay[0].at) {
			now = next
			continue
		}
		a := underWay[0]
		underWay = underWay[1:]
		now = a.at
		if a.Err != nil {
			run.Undelivered(transport.Reason(a.Err), now)
		} else {
			run.Receive(a.client, a.Payload, now)
		}
	}
}
