// Package fakenet is a network in memory for tests: it stands for everything behind the
// client's sockets and decides what comes back for each request.
package fakenet

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
		d := Reply(request, "server"+strconv.Itoa(n%3+1))
		d.After = delay
		return []Datagram{d}
	}
}

// Always is a server that treats every request alike; without datagrams, it is silent.
// An empty payload stands for the request's own.
func Always(all ...Datagram) Answer {
	return func(_ int, request string) []Datagram {
		answers := slices.Clone(all)
		for i, d := range answers {
			if d.Payload == "" && d.Err == nil {
				answers[i].Payload = request
			}
		}
		return answers
	}
}

// Refused is what a socket reports when nobody listens there.
var Refused error = &net.OpError{Op: "read", Err: os.NewSyscallError("recv", syscall.ECONNREFUSED)}

// Addr is the target's address in every Network.
var Addr = netip.MustParseAddrPort("172.30.7.10:8888")

// Network is reached over sockets of its own. In a synctest bubble its clock is the
// bubble's, so that transcripts are exact.
type Network struct {
	Answer Answer
	// RefuseWrites is how many of the coming writes fail as if an earlier datagram
	// had been refused.
	RefuseWrites int

	mu       sync.Mutex
	Requests []string
}

// Dial opens a socket; it is a transport.Dialer.
func (n *Network) Dial(context.Context, string) (io.ReadWriteCloser, netip.AddrPort, error) {
	return &socket{network: n, in: make(chan Datagram, 4096), closed: make(chan struct{})}, Addr, nil
}

type socket struct {
	network *Network
	in      chan Datagram
	closed  chan struct{}
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
	n := s.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.RefuseWrites > 0 {
		n.RefuseWrites--
		return 0, Refused
	}
	n.Requests = append(n.Requests, string(payload))
	for _, d := range n.Answer(len(n.Requests)-1, string(payload)) {
		time.AfterFunc(d.After, func() { s.in <- d })
	}
	return len(payload), nil
}

func (s *socket) Close() error { close(s.closed); return nil }

// Simulate drives a run from a time on as transport.Sockets.Drive would, without sockets
// or a clock, until it is over or the limit has passed, and returns the time then.
func Simulate(run transport.Traffic, now time.Time, limit time.Duration, answer Answer) time.Time {
	type arrival struct {
		at      time.Time
		deliver func()
	}
	var coming []arrival // the earliest first
	requests := 0
	send := func(client int, payload []byte) {
		for _, d := range answer(requests, string(payload)) {
			at := now.Add(d.After)
			coming = append(coming, arrival{at, func() {
				if d.Err != nil {
					run.Undelivered(transport.Reason(d.Err), at)
				} else {
					run.Receive(client, d.Payload, at)
				}
			}})
		}
		slices.SortStableFunc(coming, func(a, b arrival) int { return a.at.Compare(b.at) })
		requests++
	}
	for end := now.Add(limit); ; {
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
		if now = next; len(coming) > 0 && !next.Before(coming[0].at) {
			now = coming[0].at
			coming[0].deliver()
			coming = coming[1:]
		}
	}
}

// Same compares a text with what is wanted, given without its first line break.
func Same(t *testing.T, what, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
	}
}

// Harmless wants a text to hold nothing that a terminal would act on.
func Harmless(t *testing.T, what, text string) {
	t.Helper()
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) {
		t.Errorf("%s: %q", what, text)
	}
}
