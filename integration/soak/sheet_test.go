package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"udplab/integration/traffic"
)

// goodFigures is a run of 1,000 datagrams in which a few were lost at every
// place where some can be.
func goodFigures(t *testing.T) (f figures) {
	t.Helper()
	f = figures{
		Clients:       traffic.Counts{Sent: 1000, InTime: 961, Lost: 39, Late: 2},
		ClientDrops:   4,
		ListenerDrops: 10, SessionDrops: 3, Looked: 500,
		Servers: []server{
			{Name: "server1", Received: 329, Answered: 326, Lost: 1, Failed: 1, Dropped: 1, KernelDrops: 1},
			{Name: "server2", Received: 322, Answered: 322, KernelDrops: 7},
			{Name: "server3", Received: 322, Answered: 322, KernelDrops: 6},
		},
	}
	// 990 come; 1 is refused for want of room, and 989 take turns, of which 2
	// are not sent.
	err := json.Unmarshal([]byte(`{"received":990,"forwarded":987,"replied":967,"turns":989,
		"dropped":{"session_limit":1,"send_failed":2,"loop":0,"stranger":0},
		"backends":[{"name":"server1","turns":330,"forwarded":330},
			{"name":"server2","turns":330,"forwarded":329},{"name":"server3","turns":329,"forwarded":328}]}`), &f.Balancer)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wrongLines is those that do not hold.
func wrongLines(f figures) (wrong []string) {
	for _, l := range f.sheet() {
		if !l.holds() {
			wrong = append(wrong, l.String())
		}
	}
	return wrong
}

func TestAnHonestRunAddsUp(t *testing.T) {
	f := goodFigures(t)
	if wrong := wrongLines(f); wrong != nil {
		t.Errorf("these lines do not hold:\n%s", strings.Join(wrong, "\n"))
	}
	f.Clients.Sent--
	f.Balancer.Dropped["stranger"]++ // received, and no client's
	f.Clients.Lost--
	f.Balancer.Received++
	f.ListenerDrops--
	if wrong := wrongLines(f); wrong != nil {
		t.Errorf("with a stranger these lines do not hold:\n%s", strings.Join(wrong, "\n"))
	}
}

func TestOneDatagramTooFewOrTooManyShows(t *testing.T) {
	tampering := map[string]func(f *figures, by uint64){
		"sent":                      func(f *figures, by uint64) { f.Clients.Sent += by },
		"in time":                   func(f *figures, by uint64) { f.Clients.InTime += by },
		"late":                      func(f *figures, by uint64) { f.Clients.Late += by },
		"given up":                  func(f *figures, by uint64) { f.Clients.Lost += by },
		"duplicate":                 func(f *figures, by uint64) { f.Clients.Duplicate += by },
		"misrouted":                 func(f *figures, by uint64) { f.Clients.Misrouted += by },
		"unmatched":                 func(f *figures, by uint64) { f.Clients.Unmatched += by },
		"dropped at clients":        func(f *figures, by uint64) { f.ClientDrops += by },
		"dropped at the listener":   func(f *figures, by uint64) { f.ListenerDrops += by },
		"dropped at the sessions":   func(f *figures, by uint64) { f.SessionDrops += by },
		"received":                  func(f *figures, by uint64) { f.Balancer.Received += by },
		"forwarded":                 func(f *figures, by uint64) { f.Balancer.Forwarded += by },
		"replied":                   func(f *figures, by uint64) { f.Balancer.Replied += by },
		"turns":                     func(f *figures, by uint64) { f.Balancer.Turns += by },
		"dropped by the balancer":   func(f *figures, by uint64) { f.Balancer.Dropped["send_failed"] += by },
		"violations":                func(f *figures, by uint64) { f.Balancer.OrderViolations += by },
		"out of place":              func(f *figures, by uint64) { f.OutOfPlace += by },
		"forwarded to server2":      func(f *figures, by uint64) { f.Balancer.Backends[1].Forwarded += by },
		"turns of server2":          func(f *figures, by uint64) { f.Balancer.Backends[1].Turns += by },
		"counted by server3":        func(f *figures, by uint64) { f.Servers[2].Received += by },
		"answered by server3":       func(f *figures, by uint64) { f.Servers[2].Answered += by },
		"lost by server1":           func(f *figures, by uint64) { f.Servers[0].Lost += by },
		"failed at server1":         func(f *figures, by uint64) { f.Servers[0].Failed += by },
		"dropped by server1":        func(f *figures, by uint64) { f.Servers[0].Dropped += by },
		"dropped before server1":    func(f *figures, by uint64) { f.Servers[0].KernelDrops += by },
		"a turn in another's place": func(f *figures, by uint64) { f.Balancer.Backends[0].Turns += by; f.Balancer.Backends[1].Turns -= by },
	}
	for name, tamper := range tampering {
		for _, by := range []uint64{1, ^uint64(0)} { // one more, one less
			f := goodFigures(t)
			tamper(&f, by)
			if wrongLines(f) == nil {
				t.Errorf("%s %+d: every line holds all the same", name, int64(by))
			}
		}
	}
}

func TestALineSaysItsNumbers(t *testing.T) {
	f := goodFigures(t)
	f.Clients.Duplicate = 3
	text := fmt.Sprint(f.sheet())
	for _, want := range []string{
		"dropped (session_limit) 1", "dropped (send_failed) 2", "  ok  forwarded to server2 329 = counted by it 322 + dropped by the kernel before it 7",
		"WRONG datagrams answered twice 3: none wanted",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the sheet lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "dropped (loop)") {
		t.Errorf("the sheet has a reason that there was not:\n%s", text)
	}
}
