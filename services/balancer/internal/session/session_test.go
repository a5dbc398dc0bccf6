package session

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
)

// now is when every test begins.
var now = time.Date(2026, 1, 2, 10, 4, 5, 0, time.UTC)

// after is so many seconds later.
func after(seconds float64) time.Time { return now.Add(time.Duration(seconds * 1e9)) }

// client is the n-th client's address. Two of them are servers'.
func client(n int) netip.AddrPort {
	switch n {
	case atServer2:
		return backendAt(2)
	case atFormer:
		return former
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), uint16(n))
}

const (
	atServer2 = -1 // server2 itself
	atFormer  = -2 // where a server was until lately
)

// backendAt is the address of the server with an ID.
func backendAt(id int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(2525+id))
}

// rig is a core and what it stands on: three servers, of which a test may take
// some down.
type rig struct {
	*Core[int]
	scheduler *balancing.Scheduler
	ledger    *ledger.Ledger
	snapshot  *membership.Snapshot
	answered  []membership.ID
	tried     []membership.ID
	closed    []netip.AddrPort
}

// former is an address that server1 has left.
var former = netip.MustParseAddrPort("192.0.2.9:2526")

func (r *rig) Owner(addr netip.AddrPort) (*membership.Backend, bool) {
	if addr == former {
		return &r.snapshot.Backends[0], false
	}
	return r.snapshot.Owner(addr)
}
func (r *rig) Answered(id membership.ID, _ netip.AddrPort) { r.answered = append(r.answered, id) }
func (r *rig) Tried(id membership.ID)                      { r.tried = append(r.tried, id) }

func newRig(capacity Capacity, rate int, whenDown balancing.WhenDown, states ...membership.State) *rig {
	r := &rig{scheduler: balancing.New(whenDown), ledger: ledger.New(time.Second, now)}
	var backends []membership.Backend
	for i := range 3 {
		b := membership.Backend{ID: membership.ID(i + 1), Name: string(rune('1' + i)), Addr: backendAt(i + 1)}
		if i < len(states) {
			b.State = states[i]
			b.Trials = uint64(b.State / membership.Trial)
		}
		backends = append(backends, b)
	}
	r.snapshot = membership.NewSnapshot(1, backends...)
	r.scheduler.Apply(r.snapshot, func(turn uint64) { r.ledger.Apply(now, r.snapshot, turn) })
	self := NewSelfAddrs(nil)
	self.Add(client(8888))
	r.Core = New(Config[int]{
		Idle: time.Minute, Rate: rate, Capacity: capacity, SelfAddrs: self,
		Scheduler: r.scheduler, Members: r, Ledger: r.ledger,
		Close: func(s *Session[int]) { r.closed = append(r.closed, s.Client) },
	}, 128)
	return r
}

// pass puts a batch through the core as a data path does, and returns the requests
// that are to be sent, in that order.
func (r *rig) pass(at time.Time, clients ...int) (sent []int) {
	r.Begin(at)
	for i, n := range clients {
		r.Admit(client(n), netip.AddrFrom4([4]byte{127, 0, 0, byte(i)}), 10+i)
	}
	r.TakeTurns()
	sent = r.Plan()
	r.Record()
	return sent
}

// dropped is what the ledger counted, without what is 0.
func (r *rig) dropped() map[string]uint64 {
	out := map[string]uint64{}
	for d, n := range r.ledger.Snapshot(now).Dropped {
		if n > 0 {
			out[ledger.Disposition(d).String()] = n
		}
	}
	return out
}

func TestWhatIsDroppedAndWhy(t *testing.T) {
	const up, down, trial = membership.Up, membership.Down, membership.Trial
	for _, tt := range []struct {
		name     string
		rate     int
		whenDown balancing.WhenDown
		states   []membership.State
		clients  []int
		sent     int
		reason   string
		n        uint64 // dropped for it
		turns    uint64 // taken
	}{
		{name: "nothing", clients: []int{1, 2, 1}, sent: 3, turns: 3},
		{name: "from port 0", clients: []int{0, 1}, sent: 1, reason: "port_zero", n: 1, turns: 1},
		{name: "from the balancer itself", clients: []int{8888, 1}, sent: 1, reason: "loop", n: 1, turns: 1},
		{name: "from a server, but not from an address that it has left", clients: []int{atServer2, atFormer}, sent: 1, reason: "loop", n: 1, turns: 1},
		{name: "of a third client where there is room for two", clients: []int{1, 2, 3, 1}, sent: 3, reason: "session_limit", n: 1, turns: 3},
		{name: "more than a client may send", rate: 2, clients: []int{1, 1, 1, 2, 1}, sent: 3, reason: "client_rate", n: 2, turns: 3},
		{name: "while no server is up", states: []membership.State{down, down, down}, clients: []int{1, 2}, reason: "no_backend", n: 2},
		{name: "the turns of a server that is down, under hold", whenDown: balancing.Hold, states: []membership.State{up, down, up}, clients: []int{1, 1, 1, 1, 1}, sent: 3, reason: "held", n: 2, turns: 5},
		{name: "no trial", states: []membership.State{up, trial, up}, clients: []int{1, 1, 1, 1}, sent: 4, turns: 4},
		{name: "all but one trial", states: []membership.State{down, trial, down}, clients: []int{1, 1, 1}, sent: 1, reason: "no_backend", n: 2, turns: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(NewCapacity(2), tt.rate, tt.whenDown, tt.states...)
			if sent := r.pass(now, tt.clients...); len(sent) != tt.sent {
				t.Errorf("%d are sent, want %d: %v", len(sent), tt.sent, sent)
			}
			s := r.ledger.Snapshot(now)
			if s.Received != uint64(len(tt.clients)) || s.DroppedTotal() != tt.n || r.dropped()[tt.reason] != tt.n || s.Turns != tt.turns {
				t.Errorf("received %d, dropped %v, %d turns", s.Received, r.dropped(), s.Turns)
			}
			if trials := slices.Contains(tt.states, trial); trials != slices.Equal(r.tried, []membership.ID{2}) {
				t.Errorf("tried: %v", r.tried)
			}
		})
	}
}

func TestABatchIsSentSessionBySessionAndServerByServer(t *testing.T) {
	r := newRig(NewCapacity(9), 0, balancing.Skip)
	for _, tt := range []struct { // one batch after the other
		name    string
		clients []int
		want    string // request:server
	}{
		{"one of each client as they came", []int{5, 3, 4}, "0:1 1:2 2:3"},
		{"one client's by server", []int{1, 1, 1, 1, 1}, "0:1 3:1 1:2 4:2 2:3"},
		{"two clients in turn", []int{2, 1, 2, 1, 2}, "4:1 2:2 0:3 1:1 3:3"},
		{"a dropped one in between", []int{1, 0, 1, 1, 2, 1}, "3:1 0:2 2:3 5:3 4:2"},
		{"known clients as they came", []int{4, 2, 5}, "0:1 1:2 2:3"},
	} {
		var got []string
		for _, i := range r.pass(now, tt.clients...) {
			got = append(got, fmt.Sprint(i, ":", r.Backend(i).ID))
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestASessionKnowsWhereItsClientWroteTo(t *testing.T) {
	r := newRig(NewCapacity(9), 0, balancing.Skip)
	r.pass(now, 1, 1, 2)
	if s := r.Session(0); s.Client != client(1) || s.LocalAddr != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("got %+v, want the address of the client's last datagram", s)
	}
	if r.Session(0) != r.Session(1) || r.Session(1) == r.Session(2) {
		t.Error("a session is not one client's")
	}
}

func TestATurnThatIsNotSentIsDropped(t *testing.T) {
	r := newRig(NewCapacity(9), 0, balancing.Skip)
	r.snapshot.Backends[2].Addr = netip.AddrPort{} // nobody knows where it is
	r.Begin(now)
	for range 3 {
		r.Admit(client(1), netip.Addr{}, 1)
	}
	r.TakeTurns()
	r.Dropped(1, ledger.NoSocket)
	r.Record()
	if s := r.ledger.Snapshot(now); len(r.Plan()) != 2 || s.Forwarded != 1 || s.Dropped[ledger.NoSocket] != 1 || s.Dropped[ledger.SendFailed] != 1 || s.Turns != 3 {
		t.Errorf("forwarded %d, dropped %v, %d turns", s.Forwarded, r.dropped(), s.Turns)
	}
}

func TestAReplyIsItsSessionsOrAStrangers(t *testing.T) {
	r := newRig(NewCapacity(9), 0, balancing.Skip, membership.Up, membership.Down)
	r.pass(now, 1)
	s := r.Session(0)
	for _, tt := range []struct {
		name     string
		from     netip.AddrPort
		server   membership.ID // 0: a stranger's
		answered []membership.ID
	}{
		{"of a server that is up", backendAt(1), 1, nil},
		{"of one that is down", backendAt(2), 2, []membership.ID{2}},
		{"from an address that a server has left", former, 1, nil},
		{"of nobody", netip.MustParseAddrPort("192.0.2.77:1"), 0, nil},
	} {
		r.answered = nil
		reply, ok := r.Accept(after(1), s, tt.from, []byte("PONG"))
		if ok != (tt.server > 0) || reply.Backend != tt.server || ok && (string(reply.Head) != "PONG" || reply.Bytes != 4) {
			t.Errorf("%s: got %+v, %v", tt.name, reply, ok)
		}
		if !slices.Equal(r.answered, tt.answered) {
			t.Errorf("%s: answered: %v", tt.name, r.answered)
		}
	}
	reply, _ := r.Accept(after(1), s, backendAt(1), []byte("PONG"))
	r.ledger.Replied(after(1), []ledger.Reply{reply})
	if turn, _ := r.ledger.Turn(after(1), 1); turn.Outcome != ledger.Answered || r.dropped()["stranger"] != 1 {
		t.Errorf("the turn is %s; dropped %v", turn.Outcome, r.dropped())
	}
}

func TestIdleSessionsAreClosed(t *testing.T) {
	r := newRig(NewCapacity(9), 0, balancing.Skip)
	r.Expire(now) // there is none
	r.pass(now, 1, 2)
	first := r.Session(0)
	r.pass(after(10), 3)
	r.Accept(after(20), first, backendAt(1), nil)
	r.Expire(after(60).Add(-1))
	if len(r.closed) != 0 {
		t.Errorf("too early: %v", r.closed)
	}
	r.Expire(after(60))
	if want := []netip.AddrPort{client(2)}; !slices.Equal(r.closed, want) {
		t.Errorf("closed %v, want %v", r.closed, want)
	}
	r.CloseAll()
	r.Accept(after(61), first, backendAt(1), nil) // its last reply came just after it was closed
	s := r.ledger.Snapshot(now)
	if len(r.closed) != 3 || s.Sessions != 0 || s.SessionsOpened != 3 || s.SessionsClosed != [3]uint64{1, 0, 2} {
		t.Errorf("closed %v: %+v", r.closed, s)
	}
	if sent := r.pass(after(70), 1); len(sent) != 1 || r.Session(0) == first {
		t.Error("a client whose session was closed gets no new one")
	}
}

func TestWhatRenewsASession(t *testing.T) {
	for _, tt := range []struct {
		name   string
		happen func(r *rig, s *Session[int])
		renews bool
	}{
		{"a datagram", func(r *rig, _ *Session[int]) { r.pass(after(30), 1) }, true},
		{"a datagram over the rate", func(r *rig, _ *Session[int]) { r.pass(after(29.5), 1); r.pass(after(30), 1) }, true},
		{"a reply", func(r *rig, s *Session[int]) { r.Accept(after(30), s, backendAt(1), nil) }, true},
		{"a stranger's datagram", func(r *rig, s *Session[int]) { r.Accept(after(30), s, netip.MustParseAddrPort("192.0.2.77:1"), nil) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(NewCapacity(9), 1, balancing.Skip)
			r.pass(now, 1)
			tt.happen(r, r.Session(0))
			r.Expire(after(90).Add(-1))
			if renewed := len(r.closed) == 0; renewed != tt.renews {
				t.Errorf("renewed: %v", renewed)
			}
			if r.Expire(after(90)); len(r.closed) != 1 {
				t.Error("it lives for longer than a minute")
			}
		})
	}
}

func TestTheSessionThatGivesWayToANewClient(t *testing.T) {
	type use struct {
		client int
		at     float64
		reply  bool
	}
	for _, tt := range []struct {
		name string
		uses []use // with room for these clients
		at   float64
		gone int // the client that gives way; 0: none
	}{
		{"none that has just been heard", []use{{1, 0, false}, {2, 0.5, false}, {3, 0.5, false}}, 0.5, 0},
		{"not one that has been idle for a second", []use{{1, 0, false}, {2, 0.5, false}, {3, 0.5, false}}, 1, 0},
		{"the longest idle after that", []use{{1, 0, false}, {2, 0.5, false}, {3, 0.5, false}}, 1.1, 1},
		{"a reply counts as use", []use{{1, 0, false}, {2, 0, false}, {3, 0, false}, {1, 1, true}}, 1.5, 2},
		{"regulars like others", []use{{1, 0, false}, {1, 2, false}, {2, 2, false}, {2, 4, false}, {3, 4, false}}, 4.1, 1},
		{"no flood is half the sessions", []use{{1, 0, false}, {1, 2, false}, {2, 2.5, false}}, 3.1, 1},
		{"in a flood a newcomer rather than a regular that has been idle for longer", []use{{1, 0, false}, {1, 2, false}, {2, 9, false}, {3, 9.5, false}}, 10.1, 2},
		{"in a flood none, if no newcomer has been idle for a second", []use{{1, 0, false}, {1, 9, false}, {2, 10, false}, {3, 10, false}}, 11, 0},
		{"but a regular after ten seconds", []use{{1, 0, false}, {1, 2, false}, {2, 12, false}, {3, 12, false}}, 12.1, 1},
		{"a newcomer even then, if one has been idle for a second", []use{{1, 0, false}, {1, 2, false}, {2, 12, false}, {3, 12.5, false}}, 13.1, 2},
		{"not before", []use{{1, 0, false}, {1, 2, false}, {2, 11.5, false}, {3, 11.5, false}}, 12, 0},
		{"one that was only answered is no regular", []use{{1, 0, false}, {1, 2, true}, {2, 3, false}, {3, 3, false}}, 3.3, 1},
		{"one that was heard often in one second is no regular", []use{{1, 0, false}, {1, 0.5, false}, {1, 1, false}, {2, 1, false}, {3, 1.5, false}}, 2.1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clients := map[int]bool{}
			for _, u := range tt.uses {
				clients[u.client] = true
			}
			r := newRig(NewCapacity(len(clients)), 0, balancing.Skip)
			sessions := map[int]*Session[int]{}
			for _, u := range tt.uses {
				if u.reply {
					r.Accept(after(u.at), sessions[u.client], backendAt(1), nil)
					continue
				}
				r.pass(after(u.at), u.client)
				sessions[u.client] = r.Session(0)
			}
			sent := r.pass(after(tt.at), 4)
			if admitted := len(sent) == 1; admitted != (tt.gone != 0) || r.Full() == admitted {
				t.Errorf("admitted: %v, full: %v", admitted, r.Full())
			}
			if tt.gone != 0 && !slices.Equal(r.closed, []netip.AddrPort{client(tt.gone)}) || tt.gone == 0 && len(r.closed) != 0 {
				t.Errorf("%v gave way, want client %d", r.closed, tt.gone)
			}
		})
	}
}

func TestCoresShareTheirCapacity(t *testing.T) {
	shared := NewCapacity(1)
	one, other := newRig(shared, 0, balancing.Skip), newRig(shared, 0, balancing.Skip)
	if other.Evict(now) {
		t.Error("a core without sessions has one to evict")
	}
	one.pass(now, 1)
	if sent := other.pass(after(9), 2); len(sent) != 0 || !other.Full() {
		t.Error("a core found room that another's session has")
	}
	if one.Evict(after(1)) || !one.Evict(after(1).Add(1)) {
		t.Error("the session was evicted too early, or not at all")
	}
	if sent := other.pass(after(9), 2); len(sent) != 1 || other.Full() {
		t.Error("room that one core gave was not there for another")
	}
}

func TestNothingIsAllocatedForABatch(t *testing.T) {
	r := newRig(NewCapacity(9), 1_000_000, balancing.Skip)
	clients := []int{1, 2, 1, 0, 3, 1, 8888, 2}
	batch := func() {
		for _, i := range r.pass(now, clients...) {
			r.Accept(now, r.Session(i), r.Backend(i).Addr, nil)
		}
	}
	for range 10 {
		batch()
	}
	if n := testing.AllocsPerRun(100, batch); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

// model is the sessions as a list of who was heard and used when.
type model map[netip.AddrPort]record

type record struct {
	opened, used time.Time
	regular      bool
}

// givesWay says whether a session may be evicted now.
func (m model) givesWay(at time.Time, r record) bool {
	regulars := 0
	for _, r := range m {
		if r.regular {
			regulars++
		}
	}
	if r.regular && regulars < len(m)-regulars {
		return at.Sub(r.used) > minIdleInFlood
	}
	return at.Sub(r.used) > minIdle
}

// Whatever is done to a core, its sessions are those of the model, and the books
// balance.
func FuzzCore(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0x10, 0x21, 0x32, 0xff, 0x04})
	f.Add([]byte{0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x40, 0x41})
	f.Fuzz(func(t *testing.T, steps []byte) {
		const room = 4
		capacity := NewCapacity(room)
		r, m := newRig(capacity, 0, balancing.Skip), model{}
		at, received, turns := now, 0, 0
		for _, step := range steps { // two bits of time, three of client, three of what happens
			at = at.Add([]time.Duration{0, 300 * time.Millisecond, 1100 * time.Millisecond, 9 * time.Second}[step>>6])
			addr := client(int(step >> 3 & 7))
			s := r.byClient[addr]
			r.closed = nil
			switch step & 7 {
			case 0, 1, 2, 3:
				fits := len(m) < room
				for _, other := range m {
					fits = fits || m.givesWay(at, other)
				}
				known, isKnown := m[addr]
				sent := r.pass(at, int(addr.Port()))
				received++
				turns += len(sent)
				if want := addr.Port() != 0 && (isKnown || fits); (len(sent) == 1) != want {
					t.Fatalf("%v is sent: %v, with sessions %v", addr, sent, m)
				}
				for _, gone := range r.closed {
					if !m.givesWay(at, m[gone]) {
						t.Fatalf("%v gave way after %v", gone, at.Sub(m[gone].used))
					}
					delete(m, gone)
				}
				if isKnown {
					m[addr] = record{known.opened, at, known.regular || at.Sub(known.opened) > minIdle}
				} else if len(sent) == 1 {
					m[addr] = record{opened: at, used: at}
				}
			case 4, 5:
				if s != nil {
					r.Accept(at, s, backendAt(1), nil)
					known := m[addr]
					known.used = at
					m[addr] = known
				}
			case 6:
				r.Expire(at)
				for addr, known := range m {
					if gone := slices.Contains(r.closed, addr); gone != (at.Sub(known.used) >= time.Minute) {
						t.Fatalf("%v has expired: %v", addr, gone)
					} else if gone {
						delete(m, addr)
					}
				}
			case 7:
				r.CloseAll()
				clear(m)
			}
			if len(r.byClient) != len(m) || len(capacity) != len(m) {
				t.Fatalf("%d sessions in %d places, want %d", len(r.byClient), len(capacity), len(m))
			}
			oldest := r.longestIdle()
			for addr, known := range m {
				if s := r.byClient[addr]; s == nil || !s.used.Equal(known.used) || oldest.used.After(known.used) {
					t.Fatalf("%v was used at %v; its session is %+v, and the longest idle %+v", addr, known.used, s, oldest)
				}
			}
		}
		s := r.ledger.Snapshot(at)
		if s.Received != uint64(received) || s.Turns != uint64(turns) || s.Received != s.Forwarded+s.DroppedTotal() || s.Sessions != uint64(len(m)) || s.OrderViolations != 0 {
			t.Fatalf("%d received, %d turns: %+v", received, turns, s)
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{1, 4, 64} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			r, clients := newRig(NewCapacity(99), 0, balancing.Skip), make([]int, 64)
			for i := range clients {
				clients[i] = 1 + i%n
			}
			for b.Loop() {
				r.pass(now, clients...)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(clients)), "ns/datagram")
		})
	}
}
