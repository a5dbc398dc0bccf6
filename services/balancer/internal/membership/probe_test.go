package membership

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"udplab/services/kit/udp"
)

// fakeServer answers probes at once, or not at all while it is frozen.
type fakeServer struct {
	frozen atomic.Bool
	asked  atomic.Int64
}

// probe is how compose probes it.
func (s *fakeServer) probe() Probe {
	p := Probe{Payload: "healthcheck", Interval: time.Second, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3}
	p.ask = func(context.Context, netip.AddrPort) error {
		s.asked.Add(1)
		if s.frozen.Load() {
			time.Sleep(p.Timeout)
			return os.ErrDeadlineExceeded
		}
		return nil
	}
	return p
}

func TestProbesRiseAndFall(t *testing.T) {
	var (
		failed  = &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
		refused = &net.OpError{Op: "read", Err: syscall.ECONNREFUSED}
		ours    = &net.OpError{Op: "dial", Err: syscall.EMFILE}
	)
	for _, tt := range []struct {
		name   string
		probes []error
		states string
		cause  Cause
	}{
		{"two failures are not enough", []error{failed, failed}, "+++", 0},
		{"three in a row are", []error{failed, failed, failed}, "+-+", ProbeFailed},
		{"an answer in between starts over", []error{failed, failed, nil, failed, failed}, "+++", 0},
		{"a refusal is enough at once", []error{refused}, "+-+", Refused},
		{"one answer does not bring it back", []error{refused, nil}, "+-+", Refused},
		{"two in a row do", []error{refused, nil, nil}, "+++", Refused},
		{"two with a failure in between do not", []error{refused, nil, failed, nil}, "+-+", Refused},
		{"two with a refusal in between do not", []error{refused, nil, refused, nil}, "+-+", Refused},
		{"a probe that could not be sent is no failure", []error{failed, failed, ours, ours, ours}, "+++", 0},
		{"nor an answer", []error{refused, nil, ours}, "+-+", Refused},
		{"nor does it start over", []error{failed, failed, ours, failed}, "+-+", ProbeFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := threeUp(t, (&fakeServer{}).probe())
				for _, err := range tt.probes {
					l.judge(l.members[1], l.now(2).Addr, err)
				}
				l.changes = nil
				time.Sleep(time.Hour) // with probes, no turn is given for a trial
				synctest.Wait()
				if l.expect(t, "in the end", tt.states); l.now(2).Cause != tt.cause {
					t.Errorf("the cause is %v, want %v", l.now(2).Cause, tt.cause)
				}
			})
		})
	}
}

// At whatever moment between two probes a server freezes and thaws, or its name
// goes and is back elsewhere, it is out of turn within four seconds and back
// within three. A name is looked up every two seconds, so that a slow resolver has
// half a second left.
func TestAServerIsDownWithinFourSecondsAndBackWithinThree(t *testing.T) {
	for _, tt := range []struct {
		name       string
		fail, mend func(*fakeServer, *names)
		down, up   time.Duration
		want       string
	}{
		{"frozen", func(s *fakeServer, _ *names) { s.frozen.Store(true) }, func(s *fakeServer, _ *names) { s.frozen.Store(false) },
			4 * time.Second, 3 * time.Second, "3 probes in a row unanswered"},
		{"without a name", func(_ *fakeServer, n *names) { n.set("one", nxdomain) }, func(_ *fakeServer, n *names) { n.set("one", "192.0.2.11") },
			2 * time.Second, 2500 * time.Millisecond, "its name is gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for offset := time.Duration(0); offset < 2*time.Second; offset += 50 * time.Millisecond {
				synctest.Test(t, func(t *testing.T) {
					server, n := &fakeServer{}, labNames()
					l := newLab(t, "server1=one:7", n, server.probe())
					l.resolve(t)
					l.watch(t)
					until := func(state State, most time.Duration) {
						for began := time.Now(); l.now(1).State != state; time.Sleep(time.Millisecond) {
							if time.Since(began) > most {
								t.Fatalf("offset %v: not %v after %v", offset, state, most)
							}
						}
					}
					time.Sleep(2*time.Second + offset)
					tt.fail(server, n)
					until(Down, tt.down)
					if got := l.now(1).Reason; got != tt.want {
						t.Errorf("it is down because %s", got)
					}
					time.Sleep(7*time.Second + offset)
					tt.mend(server, n)
					until(Up, tt.up)
				})
			}
		})
	}
}

func TestAServerIsProbedEverySecondAndAtOnceWhereItHasComeTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{}
		l := threeUp(t, server.probe())
		l.watch(t)
		asked := func(when string, wait time.Duration, want int64) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if got := server.asked.Swap(0); got != want {
				t.Errorf("%s: %d probes, want %d", when, got, want)
			}
		}
		asked("all three", 10*time.Second+500*time.Millisecond, 3*11)
		for _, b := range []string{"one", "three", "two"} {
			l.names.set(b, nxdomain)
		}
		l.lookUpAll(t)
		asked("nowhere to ask", 10*time.Second, 0)
		l.changes = nil
		l.names.set("two", "192.0.2.22")
		l.lookUpAgain(t.Context(), l.members[1])
		asked("at once", 0, 1)
		l.expect(t, "one answer is not enough", "---", "server2 at 192.0.2.22:7, down: "+unheard)
		asked("soon again", time.Second/returnHurry, 1)
		l.expect(t, "two are", "-+-", "server2 up")
		asked("and then every second", 10*time.Second, 10)
	})
}

func TestProbesOfTheOldPlaceDoNotCountAtTheNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{}
		l := newLab(t, "server2=two:7", labNames(), server.probe())
		l.resolve(t)
		l.watch(t)
		time.Sleep(100 * time.Millisecond)
		server.frozen.Store(true)
		time.Sleep(2600 * time.Millisecond) // two probes have failed
		l.names.set("two", "192.0.2.22")
		l.lookUpAgain(t.Context(), l.members[0]) // a third one fails there
		time.Sleep(600 * time.Millisecond)
		l.expect(t, "after one failure at its new place", "+", "server2 at 192.0.2.2:7", "server2 at 192.0.2.22:7")
		time.Sleep(2 * time.Second)
		l.expect(t, "after three", "-", "server2 down: 3 probes in a row unanswered")
		l.answer(1) // a reply, late
		time.Sleep(2 * time.Second)
		l.expect(t, "two failures since its reply", "+", "server2 up")
		time.Sleep(2 * time.Second)
		l.expect(t, "three", "-", "server2 down: 3 probes in a row unanswered")
	})
}

func TestAProbeIsAnsweredTimedOutOrRefused(t *testing.T) {
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	addr := server.LocalAddr().(*net.UDPAddr).AddrPort()
	asked := make(chan string, 1)
	go func() { // answers once
		buf := make([]byte, 100)
		n, from, _ := server.ReadFromUDPAddrPort(buf)
		server.WriteToUDPAddrPort([]byte("HEALTHCHECK server1"), from)
		asked <- string(buf[:n])
	}()
	p := Probe{Payload: "healthcheck", Timeout: 24 * time.Hour}
	if err := p.send(t.Context(), addr); err != nil {
		t.Fatalf("answered: %v", err)
	}
	if got := <-asked; got != "healthcheck" {
		t.Errorf("asked %q", got)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for range 1000 { // a stop that comes as the probe begins
		if err := p.send(stopped, addr); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("stopped: %v", err)
		}
	}
	p.Timeout = time.Millisecond
	if err := p.send(t.Context(), addr); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silent: %v", err)
	}
	// A connected socket keeps its port for itself and takes nothing from others.
	taken, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p.Timeout = time.Second
	for range 60 { // the kernel may send fewer ICMP errors than are due
		if err = p.send(t.Context(), taken.LocalAddr().(*net.UDPAddr).AddrPort()); udp.IsRefusal(err) {
			return
		}
	}
	t.Errorf("refused: %v", err)
}
