package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"udplab/services/balancer/internal/ledger"
)

// How the ledger is told to those who watch.
const (
	frameEvery = 100 * time.Millisecond // so 10 frames a second at most
	fastEvery  = 200 * time.Millisecond // when there are more turns than a frame can tell
	idleEvery  = time.Second            // between looks while nobody watches
	beatAfter  = time.Second            // without a frame
	maxReaders = 64
	backlog    = 20          // frames that a reader may be behind
	tapeLength = 60          // turns in a frame at most, and in the first one
	tripsSpan  = time.Minute // of round trips in the first frame
	tripsShown = 600         // in the first frame at most
	followed   = 600         // turns whose outcome is followed at most
)

// feed makes frames of what is new in the ledger, one for all readers, and
// only while there are readers. Nobody waits for a reader: one that is too far
// behind loses its place.
//
// While nobody watches it looks once a second for what happened, so that a
// page which is opened later can tell.
type feed struct {
	cfg  Config
	wake chan struct{} // tells run that the first reader has come

	mu      sync.Mutex // guards the rest
	stopped bool
	places  int // that are taken; a reader keeps its place until it is gone
	readers map[*reader]struct{}
	told    uint64        // turns that frames have covered
	open    []ledger.Turn // turns that were sent and may still change
	status  []byte        // as last sent, without its time
	last    time.Time     // of the last frame or beat
	news    chronicle
}

// reader is one who watches.
type reader struct {
	frames chan []byte // closed when the reader has lost its place
	why    string      // it did; to be read after that
}

// frame is what one event of /events says.
type frame struct {
	At      time.Time `json:"at"`
	Count   uint64    `json:"count"`   // turns since the last frame
	Turns   []Turn    `json:"turns"`   // they, or tapeLength of them in a row
	Changes []change  `json:"changes"` // of turns that were sent before
	News    []Item    `json:"news"`    // new, or grown
	Status  *Status   `json:"status,omitempty"`
}

// beat is what one event says when there is nothing else to say.
type beat struct {
	At time.Time `json:"at"`
}

// change is what became of a turn that was sent before.
type change struct {
	Turn    uint64         `json:"turn"`
	Outcome ledger.Outcome `json:"outcome"`
	RTT     *float64       `json:"rtt_ms"`
}

// forgotten is the outcome of a turn that the ledger forgot before there was
// one.
const forgotten ledger.Outcome = "forgotten"

// hello is what the first event says: how things are.
type hello struct {
	frame
	After  *uint64 `json:"after"`  // the last turn that the reader knows of
	Missed uint64  `json:"missed"` // turns between that and the first of these
	Trips  []trip  `json:"trips"`  // of the last minute, perhaps not all
}

// trip is a round trip, or none.
type trip struct {
	At    time.Time `json:"at"`
	Place int       `json:"place"`
	RTT   *float64  `json:"rtt_ms"` // null: no answer
}

func newFeed(cfg Config) *feed {
	return &feed{cfg: cfg, wake: make(chan struct{}, 1), readers: map[*reader]struct{}{}}
}

// run makes frames until the context ends, and then sends everybody away.
func (f *feed) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			f.stop()
			return
		case <-f.wake:
			timer.Reset(frameEvery)
		case <-timer.C:
			timer.Reset(f.look(time.Now()))
		}
	}
}

func (f *feed) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	for r := range f.readers {
		f.sendAway(r, "the balancer is stopping")
	}
}

// sendAway takes a reader off the list; it learns that by itself.
func (f *feed) sendAway(r *reader, why string) {
	delete(f.readers, r)
	r.why = why
	close(r.frames)
}

// look sends what is new and says when to look again.
func (f *feed) look(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	next, ok := f.makeFrame(now)
	if len(f.readers) == 0 {
		return idleEvery
	}
	switch {
	case ok:
		f.send(event("frame", &f.told, next))
	case now.Sub(f.last) >= beatAfter:
		f.send(event("beat", nil, beat{now}))
	default:
		return frameEvery
	}
	f.last = now
	return frameEvery
}

// send gives every reader the bytes, and sends those away who are too far
// behind.
func (f *feed) send(frame []byte) {
	for r := range f.readers {
		select {
		case r.frames <- frame:
		default:
			f.sendAway(r, "too slow")
		}
	}
}

// event writes a server-sent event.
func event(name string, id *uint64, data any) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", name)
	if id != nil {
		fmt.Fprintf(&b, "id: %d\n", *id)
	}
	b.WriteString("data: ")
	if err := json.NewEncoder(&b).Encode(data); err != nil { // ends the line
		panic(err) // our own types: numbers, times and text
	}
	b.WriteString("\n")
	return b.Bytes()
}

// makeFrame collects what is new; ok is false if nothing is, or nobody asks.
func (f *feed) makeFrame(now time.Time) (next frame, ok bool) {
	snapshot := f.cfg.Ledger.Snapshot(now)
	if len(f.readers) > 0 && snapshot.Turns > f.told+tapeLength && now.Sub(f.last) < fastEvery {
		return frame{}, false
	}
	news := f.lookForNews(now, snapshot)
	if len(f.readers) == 0 {
		return frame{}, false
	}
	next = frame{At: now, Turns: []Turn{}, Changes: f.changes(now), News: news}
	next.Count, next.Turns = f.newTurns(now, snapshot.Turns)
	status := newStatus(f.cfg, snapshot)
	if f.isNews(status) {
		next.Status = &status
	}
	return next, next.Count > 0 || len(next.Changes) > 0 || len(news) > 0 || next.Status != nil
}

// isNews says whether a status tells anything but another time than the one
// before.
func (f *feed) isNews(s Status) bool {
	s.At = time.Time{}
	text, err := json.Marshal(s)
	if err == nil && bytes.Equal(text, f.status) {
		return false
	}
	f.status = text
	return true
}

func (f *feed) lookForNews(now time.Time, snapshot ledger.Snapshot) []Item {
	s := sight{snapshot: snapshot, whenDown: f.cfg.Facts.WhenDown}
	s.events, s.missed = f.cfg.Ledger.Events(f.news.nextEvent)
	if f.cfg.KernelDrops != nil {
		s.lost = f.cfg.KernelDrops()
	}
	changed := f.news.look(now, s)
	if changed == nil {
		changed = []Item{}
	}
	return changed
}

// window picks the turns that a frame tells one by one, of those after the
// first told and before end: all, or tapeLength in a row. If there are more,
// they are not the newest, so that their outcome is likely to be known by now,
// nor so old that the ledger might forget them in the meantime.
func window(told, end uint64) (from, to uint64) {
	if end <= told {
		return end, end
	}
	if end-told <= tapeLength {
		return told, end
	}
	to = end - min(end-told-tapeLength, ledger.Size/2)
	return to - tapeLength, to
}

// newTurns returns the turns since the last frame, and how many there were.
func (f *feed) newTurns(now time.Time, end uint64) (count uint64, turns []Turn) {
	turns = []Turn{}
	from, to := window(f.told, end)
	eachTurn(f.cfg.Ledger, now, from, to, func(uint64) {}, func(t ledger.Turn) {
		turns = append(turns, newTurn(t))
		f.follow(t)
	})
	if end-f.told <= tapeLength { // one that is still being recorded comes in the next frame
		end = f.told + uint64(len(turns))
	}
	count = end - f.told
	f.told = end
	return count, turns
}

// follow remembers a turn that was sent, if its outcome may change.
func (f *feed) follow(t ledger.Turn) {
	if t.Outcome != ledger.Waiting && t.Outcome != ledger.Silent {
		return
	}
	if len(f.open) == followed {
		f.open = append(f.open[:0], f.open[1:]...)
	}
	f.open = append(f.open, t)
}

// changes returns what has become of the turns that were sent before.
func (f *feed) changes(now time.Time) []change {
	numbers := make([]uint64, len(f.open))
	for i, t := range f.open {
		numbers[i] = t.Number
	}
	found := f.cfg.Ledger.Turns(now, numbers)
	changes, open := []change{}, f.open[:0]
	for _, before := range f.open {
		t := before
		if len(found) > 0 && found[0].Number == before.Number {
			t, found = found[0], found[1:]
		} else if before.Outcome == ledger.Waiting {
			changes = append(changes, change{before.Number + 1, forgotten, nil})
			continue
		} else {
			continue
		}
		if t.Outcome != before.Outcome {
			changes = append(changes, change{t.Number + 1, t.Outcome, newTurn(t).RTT})
		}
		if t.Outcome == ledger.Waiting || t.Outcome == ledger.Silent {
			open = append(open, t)
		}
	}
	f.open = open
	return changes
}

// Why nobody can be let in.
var (
	errFull     = errors.New("64 readers are watching already: close one of their pages and try again")
	errStopping = errors.New("the balancer is stopping")
)

// join lets a reader in who knows of the turns up to the given one, and
// returns its first event. The reader has to leave.
func (f *feed) join(now time.Time, after *uint64) (*reader, []byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.stopped:
		return nil, nil, errStopping
	case f.places == maxReaders:
		return nil, nil, errFull
	}
	f.places++
	if len(f.readers) == 0 {
		f.begin(now)
	}
	r := &reader{frames: make(chan []byte, backlog)}
	f.readers[r] = struct{}{}
	return r, append([]byte("retry: 1000\n"), event("hello", &f.told, f.hello(now, after))...), nil
}

// leave gives a reader's place back.
func (f *feed) leave(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, r)
	f.places--
}

// begin gets ready for the first reader: what is in the past is told by its
// first event, and what becomes of it by frames.
func (f *feed) begin(now time.Time) {
	f.lookForNews(now, f.cfg.Ledger.Snapshot(now))
	f.told, f.open, f.last = f.cfg.Ledger.Last(), nil, now
	eachTurn(f.cfg.Ledger, now, f.tapeStart(), f.told, func(uint64) {}, f.follow)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// tapeStart is how many turns there were before those of the first event.
func (f *feed) tapeStart() uint64 { return f.told - min(f.told, tapeLength) }

// hello tells how things are, up to where the frames go on.
func (f *feed) hello(now time.Time, after *uint64) hello {
	status := newStatus(f.cfg, f.cfg.Ledger.Snapshot(now))
	h := hello{frame: frame{
		At: now, Turns: []Turn{}, Changes: []change{}, News: append([]Item{}, f.news.items...), Status: &status,
	}, Trips: f.trips(now)}
	eachTurn(f.cfg.Ledger, now, f.tapeStart(), f.told, func(uint64) {}, func(t ledger.Turn) {
		h.Turns = append(h.Turns, newTurn(t))
	})
	if after != nil && *after <= f.told { // else it knows another balancer's turns
		h.After = after
		h.Count = f.told - *after
		h.Missed = h.Count - min(h.Count, uint64(len(h.Turns)))
	}
	return h
}

// trips returns the round trips of the last minute, thinned out if there are
// many.
func (f *feed) trips(now time.Time) []trip {
	trips, begin := []trip{}, f.told-min(f.told, ledger.Size)
	eachTurn(f.cfg.Ledger, now, begin, f.told, func(uint64) {}, func(t ledger.Turn) {
		if now.Sub(t.At) < tripsSpan && (t.Outcome == ledger.Answered || t.Outcome == ledger.Silent) {
			trips = append(trips, trip{t.At, t.Backend + 1, newTurn(t).RTT})
		}
	})
	return thin(trips, tripsShown)
}

// golden is the fractional part of the golden ratio: its multiples spread
// evenly, whatever the step in which they are looked at.
const golden = 0.6180339887498949

// thin leaves about n of the items, spread evenly and in step with nothing:
// every third one would be the same server's each time.
func thin[T any](items []T, n int) []T {
	share, kept := float64(n)/float64(len(items)), 0
	if share >= 1 {
		return items
	}
	for i, item := range items {
		if _, fraction := math.Modf(float64(i) * golden); fraction < share {
			items[kept] = item
			kept++
		}
	}
	return items[:kept]
}
