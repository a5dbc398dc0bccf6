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
		up     bool
	}{
		{"two failures are not enough", []error{failed, failed}, true},
		{"three in a row are", []error{failed, failed, failed}, false},
		{"an answer in between starts over", []error{failed, failed, nil, failed, failed}, true},
		{"a refusal is enough at once", []error{refused}, false},
		{"one answer does not bring it back", []error{refused, nil}, false},
		{"two in a row do", []error{refused, nil, nil}, true},
		{"two with a failure in between do not", []error{refused, nil, failed, nil}, false},
		{"two with a refusal in between do not", []error{refused, nil, refused, nil}, false},
		{"a probe that could not be sent is no failure", []error{failed, failed, ours, ours, ours}, true},
		{"nor an answer", []error{refused, nil, ours}, false},
		{"nor does it start over", []error{failed, failed, ours, failed}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := threeUp(t, (&fakeServer{}).probe())
			defer l.close()
			tally := streak{addr: l.Addr(1), up: true}
			for _, err := range tt.probes {
				l.judge(1, &tally, err)
			}
			if l.Up(1) != tt.up {
				t.Errorf("up is %v", l.Up(1))
			}
		})
	}
}

// At whatever moment between two probes a server freezes and thaws, it is out
// of turn within four seconds and back within three.
func TestAFrozenServerIsDownWithinFourSecondsAndBackWithinThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var longestDown, longestUp time.Duration
		for offset := time.Duration(0); offset < time.Second; offset += 20 * time.Millisecond {
			server := &fakeServer{}
			l := newLab(t, "server1=192.0.2.1:1", labNames(), server.probe())
			if err := l.Resolve(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go l.Run(ctx)
			until := func(up bool) time.Duration {
				began := time.Now()
				for l.Up(0) != up {
					time.Sleep(time.Millisecond)
				}
				return time.Since(began)
			}
			time.Sleep(2*time.Second + offset)
			server.frozen.Store(true)
			longestDown = max(longestDown, until(false))
			time.Sleep(7*time.Second + offset)
			server.frozen.Store(false)
			longestUp = max(longestUp, until(true))
			synctest.Wait()
			l.expectEvents(t, "server1 down 3 probes in a row unanswered", "server1 up")
			cancel()
			synctest.Wait()
		}
		t.Logf("down after %v at most, up again after %v", longestDown, longestUp)
		if longestDown > 4*time.Second || longestUp > 3*time.Second {
			t.Errorf("down after %v, up again after %v", longestDown, longestUp)
		}
	})
}

func TestAServerIsProbedEverySecondAndAtOnceWhereItHasComeTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{}
		n := labNames()
		l := newLab(t, "server2=two:2", n, server.probe())
		if err := l.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.watch(t)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		if got := server.asked.Load(); got != 11 {
			t.Errorf("%d probes in 10.5 s, want 11", got)
		}
		n.remove("two")
		time.Sleep(10 * time.Second)
		before := server.asked.Load()
		time.Sleep(10 * time.Second)
		if got := server.asked.Load(); got != before {
			t.Errorf("%d probes of a server without an address", got-before)
		}
		n.set("two", "192.0.2.22")
		for !l.Addr(0).IsValid() {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if got := server.asked.Load(); got != before+1 {
			t.Errorf("%d probes at once", got-before)
		}
	})
}

// A container that is started again has a name again, sooner or later: when the
// balancer looks for it, two seconds may have passed already.
func TestAServerWhoseNameIsBackIsUpWithinThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		longest := time.Duration(0)
		for offset := time.Duration(0); offset < 2*time.Second; offset += 20 * time.Millisecond {
			n := labNames()
			l := newLab(t, "server1=one:1", n, (&fakeServer{}).probe())
			if err := l.Resolve(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go l.Run(ctx)
			time.Sleep(time.Second)
			n.remove("one")
			time.Sleep(7*time.Second + offset)
			n.set("one", "192.0.2.11")
			for began := time.Now(); !l.Up(0); longest = max(longest, time.Since(began)) {
				time.Sleep(time.Millisecond)
			}
			cancel()
			synctest.Wait()
		}
		t.Logf("up again after %v", longest)
		if longest > 2500*time.Millisecond {
			t.Errorf("up again after %v: a slow resolver has no half second left", longest)
		}
	})
}

func TestProbesOfTheOldPlaceDoNotCountAtTheNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{}
		l := threeUp(t, server.probe())
		l.watch(t)
		time.Sleep(100 * time.Millisecond)
		server.frozen.Store(true)
		time.Sleep(2600 * time.Millisecond) // two probes have failed
		l.names.set("two", "192.0.2.22")
		l.lookAgain(t.Context(), 1) // a third one fails there
		time.Sleep(600 * time.Millisecond)
		if !l.Up(1) {
			t.Error("it is down after one failure at its new place")
		}
		time.Sleep(2 * time.Second)
		if l.Up(1) {
			t.Error("it is up after three")
		}
	})
}

func TestOtherEvidenceBeginsTheCountAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{}
		l := threeUp(t, server.probe())
		l.watch(t)
		time.Sleep(100 * time.Millisecond)
		server.frozen.Store(true)
		time.Sleep(5 * time.Second)
		if l.Up(1) {
			t.Fatal("it is up though it is frozen")
		}
		l.Answered(1, l.Addr(1)) // a reply, late
		time.Sleep(2 * time.Second)
		if !l.Up(1) {
			t.Error("two failures since its reply took it down")
		}
		time.Sleep(2 * time.Second)
		if l.Up(1) {
			t.Error("three did not")
		}
	})
}

func TestWithProbesNoTurnIsGivenForATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, (&fakeServer{}).probe())
		defer l.close()
		l.Refused(1, l.Addr(1), syscall.ECONNREFUSED)
		time.Sleep(3 * trialAfter)
		l.expectTurns(t, "it is probed instead", "1313")
	})
}

func TestAProbeIsAnsweredRefusedOrTimedOut(t *testing.T) {
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := server.LocalAddr().(*net.UDPAddr).AddrPort()
	asked := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 100)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			asked <- string(buf[:n])
			server.WriteToUDPAddrPort([]byte("HEALTHCHECK server1"), from)
		}
	}()
	p := Probe{Payload: "healthcheck", Timeout: 10 * time.Second}
	if err := p.send(t.Context(), addr); err != nil {
		t.Errorf("answered: %v", err)
	}
	if got := <-asked; got != "healthcheck" {
		t.Errorf("asked %q", got)
	}
	server.Close()
	<-done
	if err := p.send(t.Context(), addr); !udp.IsRefusal(err) {
		t.Errorf("refused: %v", err)
	}
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p.Timeout = time.Millisecond
	if err := p.send(t.Context(), silent.LocalAddr().(*net.UDPAddr).AddrPort()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silent: %v", err)
	}
}
