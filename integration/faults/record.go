package faults

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"udplab/integration/lab"
	"udplab/integration/traffic"
)

// Record is what one life of the balancer said of itself: marks, taken again
// and again, and turns. It judges only what can be known: the balancer forwards
// by what it knows at that moment, and the record knows that only where it was
// the same for long enough before and after.
type Record struct {
	Hold  bool // a server that is down keeps its turn
	Marks []Mark
	Turns []Turn // in their order, perhaps with gaps
}

// Mark is the balancer's state at one moment.
type Mark struct {
	Turns   uint64 // so far
	Clients int    // that had come before
	Servers []State
	// Placed says that every server is where the balancer takes it to be, so
	// that a turn of server2 is answered by server2.
	Placed bool
}

// State is what the balancer thinks of a server.
type State struct {
	Up    bool
	Since time.Time // when that began
	Addr  netip.AddrPort
}

// Turn is a line of /api/ledger, and the number of the last mark before it was
// read.
type Turn struct {
	lab.Turn
	Mark int
}

// Judge goes through the turns. Ordered is how many could be judged against the
// turn before, and named how many against the server that answered.
func (r *Record) Judge() (ordered, named int, wrong []string) {
	var found problems
	for i, t := range r.Turns {
		before, _ := r.steady(t.Turn.Turn, 0)
		if i > 0 && t.Turn.Turn == r.Turns[i-1].Turn.Turn+1 && (r.Hold || before != nil && r.Turns[i-1].Turn.Turn > before.Turns) {
			last := r.Turns[i-1].Place
			ordered++
			if want := r.next(last, before); t.Place != want {
				found.add("turn %d is server%d's, the one before was server%d's: want server%d's", t.Turn.Turn, t.Place, last, want)
			}
		}
		// A reply may be to an older datagram, of a time when another server was
		// at that address. To a newer client, whose every datagram was sent and
		// answered while nothing changed, it cannot.
		name := t.Reply[strings.LastIndexByte(t.Reply, ' ')+1:]
		before, first := r.steady(t.Turn.Turn, t.Mark)
		if before == nil || !before.Placed || name == "" {
			continue
		}
		if traffic.Client([]byte(t.Reply)) > first.Clients {
			named++
			if name != servers[t.Place-1] {
				found.add("turn %d is server%d's, and was answered %q", t.Turn.Turn, t.Place, t.Reply)
			}
		}
	}
	return ordered, named, found.all()
}

// next is whose turn comes after a server's.
func (r *Record) next(place int, m *Mark) int {
	for {
		place = place%len(servers) + 1
		if r.Hold || m.Servers[place-1].Up {
			return place
		}
	}
}

// steady returns the last mark before a turn, and the first of all those before
// it between which nothing changed. They are nil unless nothing changed either
// until the first mark after the turn, and after the mark with that number. One
// more mark is wanted on each side: the balancer tells its servers' state to the
// data path and to its record one after the other.
func (r *Record) steady(turn uint64, until int) (before, first *Mark) {
	after, _ := slices.BinarySearchFunc(r.Marks, turn, func(m Mark, turn uint64) int {
		if m.Turns < turn {
			return -1
		}
		return 1
	})
	from, end := after-2, max(after, until)+1
	if from < 0 || end >= len(r.Marks) {
		return nil, nil
	}
	same := func(i int) bool {
		return r.Marks[i].Placed == r.Marks[end].Placed && slices.Equal(r.Marks[i].Servers, r.Marks[end].Servers)
	}
	for i := from; i < end; i++ {
		if !same(i) {
			return nil, nil
		}
	}
	for from > 0 && same(from-1) {
		from--
	}
	return &r.Marks[after-1], &r.Marks[from]
}

// lookEvery is how often the witness looks at the balancer.
const lookEvery = 50 * time.Millisecond

// witness looks at the balancer all the while, over its lives, and keeps a
// record of each.
type witness struct {
	url     string
	hold    bool
	places  func() map[string]netip.Addr // where the servers really are
	clients func() int                   // how many have come

	mu    sync.Mutex
	lives map[time.Time]*Record // by when they were started
	turns uint64                // of the latest look
	wrong problems
}

// run looks until the context ends.
func (w *witness) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		w.look(ctx)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// look records what the balancer says now. One that is dead or frozen says
// nothing, and its connection may hang.
func (w *witness) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	mark := Mark{Clients: w.clients()}
	places := w.places()
	s, err := lab.ReadStatus(ctx, w.url)
	if err != nil {
		return
	}
	mark.Turns, mark.Servers = s.Turns, states(s)
	mark.Placed = placed(s, places) && placed(s, w.places())
	w.mu.Lock()
	life := w.lives[s.Started]
	if life == nil {
		life = &Record{Hold: w.hold}
		w.lives[s.Started] = life
	}
	for _, wrong := range s.Unbalanced() {
		w.wrong.add("%s", wrong)
	}
	w.turns = s.Turns
	life.Marks = append(life.Marks, mark)
	last := uint64(0)
	if n := len(life.Turns); n > 0 {
		last = life.Turns[n-1].Turn.Turn
	}
	w.mu.Unlock()

	ledger, err := lab.ReadLedger(ctx, w.url, last)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, turn := range ledger.Turns {
		if turn.Outcome == "waiting" {
			return // it and what follows is read again
		}
		life.Turns = append(life.Turns, Turn{turn, len(life.Marks) - 1})
	}
}

// seen is how many turns there had been at the latest look.
func (w *witness) seen() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.turns
}

// judge goes through all records.
func (w *witness) judge() (ordered, named int, wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, life := range w.lives {
		o, n, found := life.Judge()
		ordered, named, wrong = ordered+o, named+n, append(wrong, found...)
	}
	return ordered, named, append(wrong, w.wrong.all()...)
}

// states is what a balancer thinks of each server.
func states(s lab.Status) (all []State) {
	for _, b := range s.Backends {
		state := State{Up: b.Up, Since: b.Since}
		if b.Addr != nil {
			state.Addr = *b.Addr
		}
		all = append(all, state)
	}
	return all
}

// placed says whether a balancer takes every server to be where it really is.
func placed(s lab.Status, places map[string]netip.Addr) bool {
	return !slices.ContainsFunc(s.Backends, func(b lab.Backend) bool {
		place := places[b.Name]
		return !place.IsValid() || b.Addr == nil || b.Addr.String() != place.String()+":"+Port
	})
}
