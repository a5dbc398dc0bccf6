package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"udplab/services/kit/program"
	"udplab/services/kit/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a socket whose requests come from the test.
type fake struct {
	requests chan any // string or error
	closed   context.Context
	close    func()

	mu      sync.Mutex // of Write
	answers []string
	times   []time.Time
	err     error // of every Write
}

func newFake() *fake {
	f := &fake{requests: make(chan any)}
	f.closed, f.close = context.WithCancel(context.Background())
	return f
}

func (f *fake) Addr() netip.AddrPort { return netip.MustParseAddrPort("[::]:2526") }
func (f *fake) Close() error         { f.close(); return nil }

func (f *fake) Read(buf []byte) (int, udp.Peer, error) {
	select {
	case <-f.closed.Done():
		return 0, udp.Peer{}, net.ErrClosed
	case request := <-f.requests:
		if err, broken := request.(error); broken {
			return 0, udp.Peer{}, err
		}
		return copy(buf, request.(string)), udp.Peer{Addr: netip.MustParseAddrPort("127.0.0.1:4000")}, nil
	}
}

func (f *fake) Write(payload []byte, to udp.Peer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.answers, f.times = append(f.answers, string(payload)), append(f.times, time.Now())
	}
	return f.err
}

// journal is a log in JSON that tests read back once the server has stopped.
type journal struct{ bytes.Buffer }

// lines returns the log's lines about an event.
func (j *journal) lines(t *testing.T, event string) (lines []map[string]any) {
	t.Helper()
	for text := range bytes.Lines(j.Bytes()) {
		var line map[string]any
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if line["event"] == event {
			lines = append(lines, line)
		}
	}
	return lines
}

// start runs a server on the socket until stop is called or the test ends. It
// takes a configuration as the environment gives it.
func start(t *testing.T, socket socket, environ ...string) (s *server, log *journal, stop func() error) {
	t.Helper()
	cfg, _, err := load(nil, environ, hostname)
	if err != nil {
		t.Fatal(err)
	}
	log = &journal{}
	s = newServer(cfg, socket, slog.New(slog.NewJSONHandler(log, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { stop() })
	return s, log, stop
}

func TestEachAnswerHasItsOwnTimerAndTheLogSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		_, log, stop := start(t, socket, "PINGSERVER_LOSS=0.04", "PINGSERVER_DELAY=1s", "PINGSERVER_JITTER=1s", "PINGSERVER_SEED=7")
		begin := time.Now()
		for i := range 3 {
			socket.requests <- fmt.Sprintf("\x1b[31mping %d", i)
		}
		time.Sleep(2 * time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		for i, want := range []string{"0 server1 after 1.236s", "2 server1 after 1.837s", "1 server1 after 1.867s"} {
			if got := fmt.Sprint(socket.answers[i], " after ", socket.times[i].Sub(begin).Truncate(time.Millisecond)); got != "\x1b[31MPING "+want {
				t.Errorf("answer %q, want %q", got, want)
			}
		}
		if lines := log.lines(t, "listening"); len(lines) != 1 || lines[0]["addr"] != "[::]:2526" || lines[0]["name"] != "server1" ||
			lines[0]["msg"] != "server1 listens on [::]:2526, loses 4% of its answers, holds them back for 1000 ms and up to 1000 ms more (seed 7)" {
			t.Errorf("listening: %v", lines)
		}
		if lines := log.lines(t, "request"); len(lines) != 3 || lines[0]["client"] != "127.0.0.1:4000" || lines[0]["bytes"] != 11. ||
			lines[0]["outcome"] != "delayed" || int(lines[0]["delay_ms"].(float64)) != 1236 ||
			!strings.HasPrefix(lines[0]["msg"].(string), `server1 got "\x1b[31mping 0" from 127.0.0.1:4000: answering in 1236`) {
			t.Errorf("request: %v", lines)
		}
	})
}

func TestStopDropsWhatIsHeldBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		s, log, stop := start(t, socket, "PINGSERVER_DELAY=1h")
		for range 5 {
			socket.requests <- "ping"
		}
		synctest.Wait()
		begin := time.Now()
		if err := stop(); err != nil || time.Since(begin) != 0 {
			t.Errorf("the stop took %v, error %v", time.Since(begin), err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := s.counts[dropped].Load(); got != 5 || len(socket.answers) > 0 {
			t.Errorf("%d dropped, want 5; sent after the stop: %q", got, socket.answers)
		}
		want := "server1 stops: 5 requests, 0 answered, 0 lost on purpose, 0 failed, 5 dropped"
		if lines := log.lines(t, "stopped"); len(lines) != 1 || lines[0]["msg"] != want {
			t.Errorf("log: %v", lines)
		}
	})
}

func TestAFloodOfDelayedAnswersIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		s, _, stop := start(t, socket, "PINGSERVER_DELAY=1s")
		s.held.Store(maxHeld - 2*int64(heldCost+len("PING server1")))
		for range 2 { // the second time, room has been given back
			for range 3 {
				socket.requests <- "ping"
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		stop()
		if got := s.counts[dropped].Load(); got != 2 || len(socket.answers) != 4 {
			t.Errorf("%d of 6 dropped, %d answered", got, len(socket.answers))
		}
	})
}

func TestNoErrorOfTheSocketStopsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		s, log, stop := start(t, socket)
		for range 3 {
			socket.requests <- &net.OpError{Op: "read", Net: "udp", Err: syscall.ECONNREFUSED}
		}
		socket.requests <- "still there?"
		synctest.Wait()
		socket.err = errors.New("no route to host")
		socket.requests <- "and now?"
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if !slices.Equal(socket.answers, []string{"STILL THERE? server1"}) {
			t.Errorf("after three errors: %q", socket.answers)
		}
		if got := len(log.lines(t, "read_failed")); got != 3 {
			t.Errorf("%d read errors in the log, want 3", got)
		}
		want := `server1 got "and now?" from 127.0.0.1:4000: could not answer: no route to host`
		if lines := log.lines(t, "request"); len(lines) != 2 || lines[1]["msg"] != want {
			t.Errorf("log: %v", lines)
		}
		if s.counts[failed].Load() != 1 || s.counts[answered].Load() != 1 {
			t.Errorf("%d failed, %d answered", s.counts[failed].Load(), s.counts[answered].Load())
		}
	})
}

func TestASocketThatIsLostEndsTheServerWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		_, _, stop := start(t, socket)
		socket.Close()
		synctest.Wait()
		if err := stop(); !errors.Is(err, net.ErrClosed) || program.ExitCode(err) != 1 {
			t.Errorf("error %v", err)
		}
	})
}

func TestEveryRequestIsCountedOnceWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		s, log, stop := start(t, socket, "PINGSERVER_LOSS=0.3", "PINGSERVER_JITTER=20ms", "PINGSERVER_SEED=3")
		chance, wantLost := newChance(3), uint64(0)
		for range 500 {
			socket.requests <- "ping"
			socket.requests <- probe // never lost, delayed, counted or logged
			time.Sleep(time.Millisecond)
			if isLost, _ := chance.next(impairment{loss: 0.3}); isLost {
				wantLost++
			}
		}
		stop()
		sum := uint64(0)
		for o := range s.counts {
			sum += s.counts[o].Load()
		}
		if s.received.Load() != 500 || sum != 500 || s.counts[lost].Load() != wantLost || s.counts[dropped].Load() == 0 {
			t.Errorf("%d received, outcomes %v, want %d lost", s.received.Load(), &s.counts, wantLost)
		}
		probes := len(slices.DeleteFunc(socket.answers, func(answer string) bool { return answer != "HEALTHCHECK server1" }))
		if lines := len(log.lines(t, "request")); lines != 500 || probes != 500 {
			t.Errorf("%d lines for 500 requests, %d probes answered of 500", lines, probes)
		}
	})
}

func TestAnImpairmentMayChangeWhileTheServerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		s, _, _ := start(t, socket)
		for _, i := range []impairment{{}, {loss: 1}, {delay: time.Hour}, {}} {
			s.impairment.Store(&i)
			socket.requests <- "ping"
			synctest.Wait()
		}
		if len(socket.answers) != 2 || s.counts[lost].Load() != 1 {
			t.Errorf("%d answers, %d lost", len(socket.answers), s.counts[lost].Load())
		}
	})
}
