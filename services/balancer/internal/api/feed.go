package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/page"
	"udplab/services/balancer/internal/view"
)

// How the ledger is told to readers.
const (
	frameEvery = 100 * time.Millisecond // so 10 frames a second at most
	fastEvery  = 200 * time.Millisecond // when there are more turns than a frame can tell
	idleEvery  = time.Second            // between looks while nobody reads
	beatAfter  = time.Second            // without a frame
	maxReaders = 64
	backlog    = 20          // frames that a reader may be behind
	tripsSpan  = time.Minute // of round trips in the first event
	tripsShown = 600         // in the first event at most
	followed   = 600         // turns whose outcome is followed at most
)

// feed makes frames of what is new in the ledger, one for all readers, and
// only while there are readers. It waits for no reader: one that is too far
// behind loses its place.
//
// Without readers it looks once a second for what happened, so that a page
// which is opened later can tell.
type feed struct {
	cfg  Config
	wake chan struct{} // tells run that the first reader has come

	mu      sync.Mutex // guards the rest
	stopped bool
	places  int // that are taken; a reader keeps its place until it is gone
	readers map[*reader]struct{}
	covered uint64      // the last turn that frames have covered
	open    []view.Turn // turns that were sent and may still change
	sent    view.Status // the last that was sent, without its time
	last    time.Time   // of the last frame or beat
	news    activity
}

// reader is one reader of /events.
type reader struct {
	frames chan []byte // closed when the reader has lost its place
	why    string      // it did; to be read after that
}

// pageState is what the page shows of one moment.
type pageState struct {
	Status *view.Status `json:"status,omitempty"`
	Texts  *page.Texts  `json:"texts,omitempty"`
}

func newPageState(s view.Status) pageState { return pageState{&s, new(page.NewTexts(s))} }

// frame is what one event of /events says.
type frame struct {
	At      time.Time   `json:"at"`
	Count   uint64      `json:"count"`   // turns since the last frame
	Turns   []view.Turn `json:"turns"`   // they, or tapeLength of them in a row
	Changes []change    `json:"changes"` // of turns that were sent before
	News    []view.Item `json:"news"`    // new, or grown
	pageState
}

// change is what became of a turn that was sent before.
type change struct {
	Turn    uint64         `json:"turn"`
	Outcome ledger.Outcome `json:"outcome"`
	RTT     *float64       `json:"rtt_ms"`
}

// hello is what the first event says: how things are.
type hello struct {
	frame
	After  *uint64 `json:"after"`  // the last turn that the reader knows of
	Missed uint64  `json:"missed"` // turns between that and the first of these
	Trips  []trip  `json:"trips"`  // of the last minute
	Sample bool    `json:"sample"` // Trips are not all
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

// run makes frames until the context ends, and then sends all readers away.
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
	next, ok := f.nextFrame(now)
	switch {
	case len(f.readers) == 0:
		return idleEvery
	case ok:
		f.send(event("frame", &f.covered, next))
	case now.Sub(f.last) >= beatAfter:
		f.send(event("beat", nil, map[string]time.Time{"at": now}))
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

// nextFrame collects what is new; ok is false if nothing is, or nobody reads.
func (f *feed) nextFrame(now time.Time) (next frame, ok bool) {
	snapshot := f.cfg.Ledger.Snapshot(now)
	if len(f.readers) > 0 && snapshot.Turns > f.covered+tapeLength && now.Sub(f.last) < fastEvery {
		return frame{}, false
	}
	next = frame{At: now, News: f.lookForNews(now, snapshot)}
	if len(f.readers) == 0 {
		return frame{}, false
	}
	next.Changes = f.changes(now)
	next.Count, next.Turns = f.newTurns(now, snapshot.Turns)
	if status := view.NewStatus(f.cfg.Facts, f.cfg.Scheduler, snapshot); f.isNews(status) {
		next.pageState = newPageState(status)
	}
	return next, next.Count > 0 || len(next.Changes) > 0 || len(next.News) > 0 || next.Status != nil
}

// status is how things are.
func (f *feed) status(now time.Time) view.Status {
	return view.NewStatus(f.cfg.Facts, f.cfg.Scheduler, f.cfg.Ledger.Snapshot(now))
}

// isNews says whether a status differs from the last that was sent in more
// than its time.
func (f *feed) isNews(s view.Status) bool {
	s.At = time.Time{}
	before := f.sent
	f.sent = s
	return !reflect.DeepEqual(s, before)
}

func (f *feed) lookForNews(now time.Time, snapshot ledger.Snapshot) []view.Item {
	o := observation{snapshot: snapshot, hold: f.cfg.Facts.Hold()}
	o.events, o.missed = f.cfg.Ledger.Events(f.news.lastEvent)
	if f.cfg.KernelDrops != nil {
		o.kernelDrops = f.cfg.KernelDrops()
	}
	return f.news.look(now, o)
}

// recentNews are the items that are kept, the oldest first.
func (f *feed) recentNews() []view.Item {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news.recent()
}

// window picks the turns that a frame tells one by one, of those after the
// last covered and up to last: all, or tapeLength in a row. If there are more,
// they are not the newest, so that their outcome is likely to be known by now,
// nor so old that the ledger might forget them in the meantime.
func window(covered, last uint64) (after, to uint64) {
	switch {
	case last <= covered:
		return last, last
	case last-covered <= tapeLength:
		return covered, last
	}
	to = last - min(last-covered-tapeLength, ledger.Size/2)
	return to - tapeLength, to
}

// newTurns returns the turns since the last frame, and how many there were.
func (f *feed) newTurns(now time.Time, last uint64) (count uint64, shown []view.Turn) {
	after, to := window(f.covered, last)
	shown = f.turns(now, after, to)
	f.follow(shown)
	if last-f.covered <= tapeLength { // one that is still being recorded comes in the next frame
		last = f.covered + uint64(len(shown))
	}
	count = last - f.covered
	f.covered = last
	return count, shown
}

// tape returns the turns that the page shows one by one when the given one is
// the last.
func (f *feed) tape(now time.Time, last uint64) []view.Turn {
	return f.turns(now, last-min(last, tapeLength), last)
}

// turns returns the turns after one number and up to another.
func (f *feed) turns(now time.Time, after, last uint64) []view.Turn {
	shown := []view.Turn{}
	for t := range turns(f.cfg.Ledger, now, after, last) {
		shown = append(shown, view.NewTurn(t))
	}
	return shown
}

// follow remembers those turns whose outcome may change.
func (f *feed) follow(shown []view.Turn) {
	for _, turn := range shown {
		if mayChange(turn) {
			f.open = append(f.open, turn)
		}
	}
	f.open = slices.Delete(f.open, 0, max(0, len(f.open)-followed))
}

func mayChange(t view.Turn) bool { return t.Outcome == ledger.Waiting || t.Outcome == ledger.Silent }

// changes returns what has become of the turns that were sent before.
func (f *feed) changes(now time.Time) []change {
	changes, open := []change{}, f.open[:0]
	for _, before := range f.open {
		after := before
		if t, ok := f.cfg.Ledger.Turn(now, before.Turn); ok {
			after = view.NewTurn(t)
		} else if before.Outcome == ledger.Waiting {
			after.Outcome = view.Forgotten
		} else {
			continue // it stays silent
		}
		if after.Outcome != before.Outcome {
			changes = append(changes, change{after.Turn, after.Outcome, after.RTT})
		}
		if mayChange(after) {
			open = append(open, after)
		}
	}
	f.open = open
	return changes
}

// Why a reader cannot be let in.
var (
	errFull     = errors.New("64 readers are watching already: close one of their pages and try again")
	errStopping = errors.New("the balancer is stopping")
)

// join lets a reader in that knows of the turns up to the given one, and
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
	return r, append([]byte("retry: 1000\n"), event("hello", &f.covered, f.hello(now, after))...), nil
}

// leave gives a reader's place back.
func (f *feed) leave(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, r)
	f.places--
}

// begin gets ready for the first reader: its first event tells the past, and
// frames tell what becomes of it.
func (f *feed) begin(now time.Time) {
	f.lookForNews(now, f.cfg.Ledger.Snapshot(now))
	f.covered, f.open, f.last = f.cfg.Ledger.Last(), nil, now
	f.follow(f.tape(now, f.covered))
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// hello tells how things are, up to where the frames go on.
func (f *feed) hello(now time.Time, after *uint64) hello {
	h := hello{frame: frame{
		At: now, Turns: f.tape(now, f.covered), Changes: []change{}, News: f.news.recent(),
		pageState: newPageState(f.status(now)),
	}}
	h.Trips, h.Sample = f.trips(now)
	if after != nil && *after <= f.covered { // else it knows another balancer's turns
		h.After = after
		h.Count = f.covered - *after
		h.Missed = h.Count - min(h.Count, uint64(len(h.Turns)))
	}
	return h
}

// trips returns the round trips of the last minute, or a sample if there are
// many.
func (f *feed) trips(now time.Time) (trips []trip, isSample bool) {
	trips = []trip{}
	for _, t := range f.turns(now, f.covered-min(f.covered, ledger.Size), f.covered) {
		if now.Sub(t.At) < tripsSpan && (t.Outcome == ledger.Answered || t.Outcome == ledger.Silent) {
			trips = append(trips, trip{t.At, t.Place, t.RTT})
		}
	}
	return sample(trips, tripsShown)
}

// sample leaves about n of the items, chosen at random: every third one would be
// the same server's each time.
func sample[T any](items []T, n int) (some []T, isSample bool) {
	share := float64(n) / float64(len(items))
	if share >= 1 {
		return items, false
	}
	return slices.DeleteFunc(items, func(T) bool { return rand.Float64() >= share }), true
}
