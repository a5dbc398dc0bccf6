package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"udplab/services/kit/program"
)

func TestMain(m *testing.M) {
	if os.Getenv(asClient) != "" {
		main()
	}
	time.Local = time.UTC
	// The runtime's signal loop starts with the first use and never ends, so
	// it must not start in a synctest bubble.
	_, stop := statusRequests()
	stop()
	goleak.VerifyTestMain(m)
}

// asClient is a variable that makes this test's binary the client itself.
const asClient = "UDPLAB_TEST_AS_CLIENT"

// lab stands for everything behind the client's socket: it decides what comes
// back for the n-th request of all runs, counted from 0. In a synctest bubble
// its clock is the bubble's, so that transcripts are exact to the microsecond.
type lab struct {
	answer func(n int, request string) []datagram
	// refuseWrites is how many of the coming writes fail as if an earlier
	// datagram had been refused.
	refuseWrites int

	mu       sync.Mutex
	requests []string
	times    []time.Time
}

// datagram is what the lab sends back after a while.
type datagram struct {
	after   time.Duration
	payload string
	err     error // what a read returns instead
}

// dial opens a socket into the lab.
func (l *lab) dial(context.Context, address) (io.ReadWriteCloser, netip.AddrPort, error) {
	s := &labSocket{lab: l, in: make(chan datagram, 100), closed: make(chan struct{})}
	return s, netip.MustParseAddrPort("172.30.7.10:8888"), nil
}

type labSocket struct {
	lab    *lab
	in     chan datagram
	closed chan struct{}
}

func (s *labSocket) Read(buf []byte) (int, error) {
	select {
	case d := <-s.in:
		return copy(buf, d.payload), d.err
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

func (s *labSocket) Write(payload []byte) (int, error) {
	l := s.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuseWrites > 0 {
		l.refuseWrites--
		return 0, refusal
	}
	n := len(l.requests)
	l.requests = append(l.requests, string(payload))
	l.times = append(l.times, time.Now())
	for _, d := range l.answer(n, string(payload)) {
		time.AfterFunc(d.after, func() { s.in <- d })
	}
	return len(payload), nil
}

func (s *labSocket) Close() error { close(s.closed); return nil }

// reply is the answer of a server of ours, 0.4 ms after the request.
func reply(request, server string) datagram {
	return datagram{after: 400 * time.Microsecond, payload: upper(request) + " " + server}
}

// roundRobin answers in turn, except for the requests given by number.
func roundRobin(silent ...int) func(int, string) []datagram {
	servers := []string{"server1", "server2", "server3"}
	return func(n int, request string) []datagram {
		for _, s := range silent {
			if n == s {
				return nil
			}
		}
		return []datagram{reply(request, servers[n%3])}
	}
}

// session is one start of the client.
type session struct {
	args       string // split at spaces
	environ    []string
	stdin      string
	terminal   bool   // stdin, stdout and stderr are one
	piped      string // but for this one of them
	stdout     string
	stderr     string
	code       int
	err        error
	dial       dialer
	batched    batchOpener
	stdinPipe  io.Reader // instead of stdin
	stderrPipe io.Writer // beside stderr
	screen     io.Writer // beside stdout and stderr, as a terminal has both
}

// run starts the client and waits for its end.
func (s *session) run(ctx context.Context) *session {
	var stdout, stderr bytes.Buffer
	p := client{
		stdin: strings.NewReader(s.stdin), stdout: &stdout, stderr: &stderr,
		args: strings.Fields(s.args), environ: s.environ,
		dial:    s.dial,
		batched: s.batched,
	}
	if s.stdinPipe != nil {
		p.stdin = s.stdinPipe
	}
	if s.stderrPipe != nil {
		p.stderr = io.MultiWriter(&stderr, s.stderrPipe)
	}
	if s.screen != nil {
		p.stdout, p.stderr = io.MultiWriter(&stdout, s.screen), io.MultiWriter(&stderr, s.screen)
	}
	files := map[string]any{"stdin": p.stdin, "stdout": p.stdout, "stderr": p.stderr}
	p.isTerminal = func(file any) bool { return s.terminal && file != files[s.piped] }
	s.err = p.run(ctx)
	s.stdout, s.stderr, s.code = stdout.String(), stderr.String(), program.ExitCode(s.err)
	return s
}

// inLab runs the client against the lab in a bubble of its own time.
func inLab(t *testing.T, l *lab, s *session) *session {
	t.Helper()
	s.dial = l.dial
	synctest.Test(t, func(t *testing.T) { s.run(t.Context()) })
	return s
}

// inLabFor is inLab, with a Ctrl-C after a while.
func inLabFor(t *testing.T, while time.Duration, l *lab, s *session) *session {
	t.Helper()
	s.dial = l.dial
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), while)
		defer cancel()
		s.run(ctx)
	})
	return s
}

// same compares a transcript, given without its first line break.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
	}
}

func (s *session) check(t *testing.T, code int, stdout string) {
	t.Helper()
	same(t, "stdout", s.stdout, stdout)
	if s.code != code {
		t.Errorf("exit code %d (%v), want %d", s.code, s.err, code)
	}
}

// refusal is what a socket reports when nobody listens there.
var refusal error = &net.OpError{Op: "read", Err: os.NewSyscallError("recv", refusedErrno)}

func TestARefusalIsKnown(t *testing.T) {
	if why := undelivered(refusal); why != "refused" {
		t.Errorf("%v: %q", refusal, why)
	}
	if why := undelivered(errors.New("anything else")); why != "" {
		t.Errorf("anything else: %q", why)
	}
}
