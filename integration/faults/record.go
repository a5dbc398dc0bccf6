package faults

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"udplab/integration/lab"
	"udplab/integration/traffic"
)

// record is what one life of the balancer said of itself: marks, taken again
// and again, and turns. It judges only what can be known: the balancer forwards
// by what it knows at that moment, and the record knows that only where it was
// the same for long enough before and after.
type record struct {
	hold  bool // a server that is down keeps its turn
	marks []mark
	turns []turn // in their order, perhaps with gaps
}

// mark is the balancer's state at one moment.
type mark struct {
	turns   uint64 // so far
	clients int    // that had come before
	servers []state
	// placed says that every server is where the balancer takes it to be, so
	// that a turn of server2 is answered by server2.
	placed bool
	// first is the number of the first of all marks up to this one that are like
	// it.
	first int
}

// state is what the balancer thinks of a server.
type state struct {
	up    bool
	since time.Time // when that began
	addr  string
}

// turn is a line of /api/ledger, and the number of the last mark before it was
// read.
type turn struct {
	lab.Turn
	mark int
}

// judge goes through the turns. Ordered is how many could be judged against the
// turn before, and named how many against the server that answered.
func (r *record) judge() (ordered, named int, wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for i, t := range r.turns {
		before, _ := r.steady(t.Turn.Turn, 0)
		if i > 0 && t.Turn.Turn == r.turns[i-1].Turn.Turn+1 && (r.hold || before != nil && r.turns[i-1].Turn.Turn > before.turns) {
			last := r.turns[i-1].Place
			ordered++
			if want := r.next(last, before); t.Place != want {
				add("turn %d is server%d's, the one before was server%d's: want server%d's", t.Turn.Turn, t.Place, last, want)
			}
		}
		// A reply may be to an older datagram, of a time when another server was
		// at that address. To a newer client, whose every datagram was sent and
		// answered while nothing changed, it cannot.
		name := t.Reply[strings.LastIndexByte(t.Reply, ' ')+1:]
		before, first := r.steady(t.Turn.Turn, t.mark)
		if before == nil || !before.placed || name == "" || traffic.Client([]byte(t.Reply)) <= first.clients {
			continue
		}
		named++
		if name != servers[t.Place-1] {
			add("turn %d is server%d's, and was answered %q", t.Turn.Turn, t.Place, t.Reply)
		}
	}
	return ordered, named, wrong
}

// next is whose turn comes after a server's.
func (r *record) next(place int, m *mark) int {
	for {
		place = place%len(servers) + 1
		if r.hold || m.servers[place-1].up {
			return place
		}
	}
}

// add adds a mark.
func (r *record) add(m mark) {
	m.first = len(r.marks)
	if m.first > 0 {
		last := r.marks[m.first-1]
		if m.placed == last.placed && slices.Equal(m.servers, last.servers) {
			m.first = last.first
		}
	}
	r.marks = append(r.marks, m)
}

// steady returns the last mark before a turn, and the first of all those before
// it between which nothing changed. They are nil unless nothing changed either
// until the first mark after the turn, and after the mark with that number. One
// more mark is wanted on each side: the balancer tells its servers' state to the
// data path and to its record one after the other.
func (r *record) steady(turn uint64, until int) (before, first *mark) {
	after := sort.Search(len(r.marks), func(i int) bool { return r.marks[i].turns >= turn })
	end := max(after, until) + 1
	if end >= len(r.marks) || r.marks[end].first > after-2 {
		return nil, nil
	}
	return &r.marks[after-1], &r.marks[r.marks[end].first]
}

// lookEvery is how often the observer looks at the balancer.
const lookEvery = 50 * time.Millisecond

// observer looks at the balancer all the while, over its lives, and keeps a
// record of each.
type observer struct {
	url     string
	hold    bool
	places  func() map[string]netip.Addr // where the servers really are
	clients *atomic.Int64                // how many have come

	mu    sync.Mutex
	lives map[time.Time]*record // by when they were started
	turns uint64                // of the latest look
	wrong []string
}

// run looks until the context ends.
func (o *observer) run(ctx context.Context) {
	for ctx.Err() == nil {
		o.look(ctx)
		pause(ctx, lookEvery)
	}
}

// look records what the balancer says now. One that is dead or frozen says
// nothing, and its connection may hang.
func (o *observer) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	clients, places := int(o.clients.Load()), o.places()
	s, err := lab.ReadStatus(ctx, o.url)
	if err != nil {
		return
	}
	life := o.lives[s.Started]
	if life == nil {
		life = &record{hold: o.hold}
		o.lives[s.Started] = life
	}
	o.wrong = append(o.wrong, s.Unbalanced()...)
	o.turns = s.Turns
	life.add(mark{turns: s.Turns, clients: clients, servers: states(s), placed: placed(s, places) && placed(s, o.places())})
	last := uint64(0)
	if n := len(life.turns); n > 0 {
		last = life.turns[n-1].Turn.Turn
	}
	ledger, err := lab.ReadLedger(ctx, o.url, last)
	if err != nil {
		return
	}
	for _, t := range ledger.Turns {
		if t.Outcome == "waiting" {
			return // it and what follows is read again
		}
		life.turns = append(life.turns, turn{t, len(life.marks) - 1})
	}
}

// seen is how many turns there had been at the latest look.
func (o *observer) seen() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.turns
}

// judge goes through all records.
func (o *observer) judge() (ordered, named int, wrong []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, life := range o.lives {
		more, answered, found := life.judge()
		ordered, named, wrong = ordered+more, named+answered, append(wrong, found...)
	}
	return ordered, named, append(wrong, o.wrong...)
}

// states is what a balancer thinks of each server.
func states(s lab.Status) (all []state) {
	for _, b := range s.Backends {
		all = append(all, state{b.Up, b.Since, fmt.Sprint(b.Addr)})
	}
	return all
}

// placed says whether a balancer takes every server to be where it belongs.
func placed(s lab.Status, places map[string]netip.Addr) bool {
	return !slices.ContainsFunc(s.Backends, func(b lab.Backend) bool {
		return b.Addr == nil || b.Addr.Addr() != places[b.Name]
	})
}
