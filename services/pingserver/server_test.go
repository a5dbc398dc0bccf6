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
	"sync/atomic"
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
	requests chan any // []byte or error
	closed   chan struct{}
	once     sync.Once

	mu   sync.Mutex
	sent []sent
	err  error // of every Write
}

type sent struct {
	answer string
	at     time.Time
}

var somebody = udp.Peer{Addr: netip.MustParseAddrPort("127.0.0.1:4000")}

func newFake() *fake { return &fake{requests: make(chan any), closed: make(chan struct{})} }

func (f *fake) Addr() netip.AddrPort { return netip.MustParseAddrPort("[::]:2526") }

func (f *fake) Close() error { f.once.Do(func() { close(f.closed) }); return nil }

func (f *fake) Read(buf []byte) (int, udp.Peer, error) {
	select {
	case <-f.closed:
		return 0, udp.Peer{}, net.ErrClosed
	case request := <-f.requests:
		if err, broken := request.(error); broken {
			return 0, udp.Peer{}, err
		}
		return copy(buf, request.([]byte)), somebody, nil
	}
}

func (f *fake) Write(payload []byte, to udp.Peer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	f.sent = append(f.sent, sent{string(payload), time.Now()})
	return nil
}

func (f *fake) answers() []sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

// journal is a log that tests read back, one JSON object a line.
type journal struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.out.Write(p)
}

func (j *journal) lines(t *testing.T, event string) (lines []map[string]any) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for text := range bytes.Lines(j.out.Bytes()) {
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

// messages are what people read of the event, in order.
func (j *journal) messages(t *testing.T, event string) (messages []string) {
	t.Helper()
	for _, line := range j.lines(t, event) {
		messages = append(messages, line["msg"].(string))
	}
	return messages
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

func TestEachAnswerHasItsOwnTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		_, log, stop := start(t, socket, "PINGSERVER_DELAY=1s", "PINGSERVER_JITTER=1s", "PINGSERVER_SEED=7")
		begin := time.Now()
		for i := range 3 {
			socket.requests <- fmt.Appendf(nil, "ping %d", i)
		}
		time.Sleep(2 * time.Second)
		var got []string
		for _, s := range socket.answers() {
			got = append(got, fmt.Sprintf("%s after %v", s.answer, s.at.Sub(begin).Truncate(time.Millisecond)))
		}
		want := []string{"PING 0 server1 after 1.236s", "PING 2 server1 after 1.837s", "PING 1 server1 after 1.867s"}
		if !slices.Equal(got, want) {
			t.Errorf("answers %q, want %q", got, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := log.messages(t, "request"); len(got) != 3 || !strings.HasPrefix(got[0], `server1 got "ping 0" from 127.0.0.1:4000: answering in 1236`) {
			t.Errorf("log: %q", got)
		}
	})
}

func TestStopDropsWhatIsHeldBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		s, log, stop := start(t, socket, "PINGSERVER_DELAY=1h")
		for range 5 {
			socket.requests <- []byte("ping")
		}
		synctest.Wait()
		begin := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the stop took %v", took)
		}
		time.Sleep(2 * time.Hour)
		if sent := socket.answers(); len(sent) > 0 {
			t.Errorf("sent after the stop: %v", sent)
		}
		if got := s.counts[dropped].Load(); got != 5 {
			t.Errorf("%d dropped, want 5", got)
		}
		want := "server1 stops: 5 requests, 0 answered, 0 lost on purpose, 0 failed, 5 dropped"
		if got := log.messages(t, "stopped"); len(got) != 1 || got[0] != want {
			t.Errorf("log: %q", got)
		}
	})
}

func TestAFloodOfDelayedAnswersIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d delayedAnswers
		var sends atomic.Int64
		send := func() { sends.Add(1) }
		held := int64(0)
		for d.add(time.Second, maxDelayed/4, send) {
			held++
		}
		if held != 4 {
			t.Errorf("%d quarters are held back", held)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if sends.Load() != 4 {
			t.Errorf("%d sent", sends.Load())
		}
		if !d.add(time.Second, maxDelayed, send) || d.close() != 1 || d.add(0, 0, send) {
			t.Error("room was not given back, or something is held after close")
		}
		time.Sleep(time.Minute)
		if sends.Load() != 4 {
			t.Errorf("%d sent, some after close", sends.Load())
		}
	})
}

func TestNoErrorOfTheSocketStopsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		s, log, stop := start(t, socket)
		refused := &net.OpError{Op: "read", Net: "udp", Err: syscall.ECONNREFUSED}
		for range 3 {
			socket.requests <- refused
		}
		socket.requests <- []byte("still there?")
		synctest.Wait()
		if sent := socket.answers(); len(sent) != 1 || sent[0].answer != "STILL THERE? server1" {
			t.Errorf("after three errors: %v", sent)
		}
		socket.mu.Lock()
		socket.err = errors.New("no route to host")
		socket.mu.Unlock()
		socket.requests <- []byte("and now?")
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := len(log.messages(t, "read_failed")); got != 3 {
			t.Errorf("%d read errors in the log, want 3", got)
		}
		want := `server1 got "and now?" from 127.0.0.1:4000: could not answer: no route to host`
		if got := log.messages(t, "request"); len(got) != 2 || got[1] != want {
			t.Errorf("log: %q", got)
		}
		if s.counts[failed].Load() != 1 || s.counts[answered].Load() != 1 {
			t.Errorf("%d failed, %d answered", s.counts[failed].Load(), s.counts[answered].Load())
		}
	})
}

func TestASocketThatIsLostEndsTheServerWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		cfg, _, _ := load(nil, nil, hostname)
		ended := make(chan error, 1)
		go func() { ended <- newServer(cfg, socket, slog.New(slog.DiscardHandler)).run(t.Context()) }()
		synctest.Wait()
		socket.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) || program.ExitCode(err) != 1 {
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
			socket.requests <- []byte("ping")
			socket.requests <- []byte(probe) // never lost, delayed, counted or logged
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
		if got := len(log.messages(t, "request")); got != 500 {
			t.Errorf("%d lines for 500 requests", got)
		}
		probes := 0
		for _, s := range socket.answers() {
			if s.answer == "HEALTHCHECK server1" {
				probes++
			}
		}
		if probes != 500 {
			t.Errorf("%d probes answered of 500", probes)
		}
	})
}

func TestAnImpairmentMayChangeWhileTheServerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		s, _, _ := start(t, socket)
		for _, i := range []impairment{{}, {loss: 1}, {delay: time.Hour}, {}} {
			s.impairment.Store(&i)
			socket.requests <- []byte("ping")
			synctest.Wait()
		}
		if got := len(socket.answers()); got != 2 || s.counts[lost].Load() != 1 {
			t.Errorf("%d answers, %d lost", got, s.counts[lost].Load())
		}
	})
}

func TestTheLogTellsProgramsWhatItTellsPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := newFake()
		_, log, stop := start(t, socket, "PINGSERVER_LOSS=0.36", "PINGSERVER_DELAY=10ms", "PINGSERVER_JITTER=5ms", "PINGSERVER_SEED=7")
		socket.requests <- []byte("\x1b[31mping")
		synctest.Wait()
		stop()
		listening := log.lines(t, "listening")
		if len(listening) != 1 || listening[0]["addr"] != "[::]:2526" || listening[0]["name"] != "server1" ||
			listening[0]["msg"] != "server1 listens on [::]:2526, loses 36% of its answers, holds them back for 10 ms and up to 5 ms more (seed 7)" {
			t.Errorf("listening: %v", listening)
		}
		request := log.lines(t, "request")
		if len(request) != 1 || request[0]["client"] != "127.0.0.1:4000" || request[0]["bytes"] != 9. ||
			!strings.HasPrefix(request[0]["msg"].(string), `server1 got "\x1b[31mping" from 127.0.0.1:4000: `) {
			t.Fatalf("request: %v", request)
		}
		if ms := request[0]["delay_ms"]; request[0]["outcome"] != "delayed" || ms == nil || ms.(float64) < 10 || ms.(float64) > 15 {
			t.Errorf("request: %v", request)
		}
	})
}
