package main

import (
	"sync"
	"time"
)

// maxWaiting is how many bytes of answers may be held back at once. It bounds
// the memory that a flood can take while answers are delayed.
const maxWaiting = 256 << 20

// waiting holds answers back, each on its own clock: a slow one is never in
// the way of another. Its methods may be called by several goroutines.
type waiting struct {
	mu     sync.Mutex
	closed bool
	bytes  int
	held   map[*held]struct{}

	firing sync.WaitGroup
}

// held is one answer that waits.
type held struct {
	timer *time.Timer // waiting.mu
	size  int
}

// after calls send when the delay has passed, unless close came before. size
// is what the answer takes in bytes; it returns false, and does nothing, when
// too much waits already or close has been called.
func (w *waiting) after(delay time.Duration, size int, send func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.bytes+size > maxWaiting {
		return false
	}
	if w.held == nil {
		w.held = map[*held]struct{}{}
	}
	h := &held{size: size}
	w.held[h] = struct{}{}
	w.bytes += size
	h.timer = time.AfterFunc(delay, func() {
		if w.release(h) {
			defer w.firing.Done()
			send()
		}
	})
	return true
}

// release says whether the answer whose timer fired may be sent. If so, close
// waits for it.
func (w *waiting) release(h *held) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	delete(w.held, h)
	w.bytes -= h.size
	w.firing.Add(1)
	return true
}

// close drops all that still waits and says how many that were. When it
// returns, nothing is being sent and nothing will be.
func (w *waiting) close() (dropped int) {
	w.mu.Lock()
	w.closed = true
	dropped = len(w.held)
	for h := range w.held {
		h.timer.Stop()
	}
	w.held = nil
	w.mu.Unlock()
	w.firing.Wait()
	return dropped
}
