package api

import (
	"context"
	"fmt"
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
	beatAfter  = time.Second            // without a frame
	maxReaders = 64
	backlog    = 20          // frames that a reader may be behind
	tripsSpan  = time.Minute // of round trips in the first event
	tripsShown = 600         // in the first event at most
	followed   = 600         // turns whose outcome is followed at most
)

// feed makes frames of what is new in the ledger, one for all readers, and
// only while there are readers. It waits for no reader: one that is too far
// behind loses its frames. Without readers it only collects the news, so that a
// page which is opened later can tell.
type feed struct {
	Config
	places   chan struct{} // has one of each reader, until it is gone
	stopping chan struct{} // closed at the stop

	mu      sync.Mutex               // guards the rest
	readers map[chan []byte]struct{} // where frames go; closed and taken out for a reader that is too slow
	covered uint64                   // the last turn that frames have covered
	open    []view.Turn              // turns that were sent and may still change
	sent    view.Status              // the last that was sent, without its time
	last    time.Time                // of the last frame or beat
	news    activity
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
	return &feed{
		Config: cfg, places: make(chan struct{}, maxReaders), stopping: make(chan struct{}), readers: map[chan []byte]struct{}{},
	}
}

// run makes frames until the context ends, and then sends all readers away.
func (f *feed) run(ctx context.Context) {
	defer close(f.stopping)
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.look(time.Now())
		}
	}
}

// look sends what is new.
func (f *feed) look(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	snapshot := f.Ledger.Snapshot(now)
	if len(f.readers) == 0 {
		f.news.look(now, f.Config, snapshot)
		return
	}
	if snapshot.Turns > f.covered+tapeLength && now.Sub(f.last) < fastEvery {
		return
	}
	next := frame{At: now, News: f.news.look(now, f.Config, snapshot), Changes: f.changes(now)}
	next.Count, next.Turns = f.newTurns(now, snapshot.Turns)
	if status := view.NewStatus(f.Facts, f.Scheduler, snapshot); f.isNews(status) {
		next.pageState = newPageState(status)
	}
	switch {
	case next.Count > 0 || len(next.Changes) > 0 || len(next.News) > 0 || next.Status != nil:
		f.send(fmt.Appendf(nil, "id: %d\n%s", f.covered, event("frame", next)))
	case now.Sub(f.last) >= beatAfter:
		f.send(event("beat", map[string]time.Time{"at": now}))
	default:
		return
	}
	f.last = now
}

// send gives every reader the bytes, unless it is too far behind.
func (f *feed) send(event []byte) {
	for frames := range f.readers {
		select {
		case frames <- event:
		default:
			delete(f.readers, frames)
			close(frames)
		}
	}
}

// isNews says whether a status differs from the last that was sent in more
// than its time.
func (f *feed) isNews(s view.Status) bool {
	s.At = time.Time{}
	before := f.sent
	f.sent = s
	return !reflect.DeepEqual(s, before)
}

// status is how things are.
func (f *feed) status(now time.Time) view.Status {
	return view.NewStatus(f.Facts, f.Scheduler, f.Ledger.Snapshot(now))
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
	if last-covered <= tapeLength {
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
	for t := range turns(f.Ledger, now, after, last) {
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
		if t, ok := f.Ledger.Turn(now, before.Turn); ok {
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

// join lets a reader in that knows of the turns up to the given one, and
// returns its first event and where its frames come from. The reader has to
// leave.
func (f *feed) join(now time.Time, after *uint64) (first []byte, frames chan []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) == 0 { // its first event tells the past, and frames tell what becomes of it
		f.news.look(now, f.Config, f.Ledger.Snapshot(now))
		f.covered, f.open, f.last = f.Ledger.Last(), nil, now
		f.follow(f.tape(now, f.covered))
	}
	frames = make(chan []byte, backlog)
	f.readers[frames] = struct{}{}
	return fmt.Appendf(nil, "retry: 1000\nid: %d\n%s", f.covered, event("hello", f.hello(now, after))), frames
}

// leave gives a reader no more frames.
func (f *feed) leave(frames chan []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, frames)
}

// hello tells how things are, up to where the frames go on.
func (f *feed) hello(now time.Time, after *uint64) hello {
	h := hello{frame: frame{
		At: now, Turns: f.tape(now, f.covered), Changes: []change{}, News: f.news.recent(), pageState: newPageState(f.status(now)),
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
