package faults

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// lookEvery is how often the witness looks at the balancer.
const lookEvery = 50 * time.Millisecond

// witness looks at the balancer all the while, over its lives, and keeps a
// record of each.
type witness struct {
	url    string
	hold   bool
	places func() map[string]netip.Addr // where the servers really are

	mu    sync.Mutex
	lives map[string]*Record // by when they were started
	seen  []uint64           // how many turns there had been, at each look at the latest life
	wrong problems
}

// run looks until the context ends.
func (w *witness) run(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		w.look(ctx)
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
}

// look enters what the balancer says now. One that is dead or frozen says
// nothing.
func (w *witness) look(ctx context.Context) {
	before := w.places()
	s, err := askStatus(ctx, w.url)
	if err != nil {
		return
	}
	placed := s.placed(before) && s.placed(w.places())
	w.mu.Lock()
	life := w.lives[s.Started]
	if life == nil {
		life = &Record{Hold: w.hold}
		w.lives[s.Started], w.seen = life, nil
	}
	for _, wrong := range s.wrong() {
		w.wrong.add("%s", wrong)
	}
	w.seen = append(w.seen, s.Turns)
	life.Marks = append(life.Marks, Mark{Turns: s.Turns, Servers: s.states(), Placed: placed})
	last := uint64(0)
	if n := len(life.Turns); n > 0 {
		last = life.Turns[n-1].Number
	}
	w.mu.Unlock()

	turns, _, err := askTurns(ctx, w.url, last)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	life.Turns = append(life.Turns, turns...)
}

// turnsBefore is how many turns the witness had seen of the latest life so many
// looks before its last; 0 if it has not looked that often.
func (w *witness) turnsBefore(looks int) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) <= looks {
		return 0
	}
	return w.seen[len(w.seen)-1-looks]
}

// judge goes through all records.
func (w *witness) judge() (known, named int, wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, life := range w.lives {
		k, n, found := life.Judge()
		known, named, wrong = known+k, named+n, append(wrong, found...)
	}
	return known, named, append(wrong, w.wrong.all()...)
}
