package main

import (
	"sync"
	"time"
)

// maxDelayed is how many bytes of answers may be held back at once. It bounds
// the memory that a flood can take while answers are delayed.
const maxDelayed = 256 << 20

// delayedAnswers holds answers back, each with a timer of its own. Its methods
// may be called by several goroutines.
type delayedAnswers struct {
	mu      sync.Mutex
	closed  bool
	bytes   int
	answers map[*delayedAnswer]struct{}
	sending sync.WaitGroup
}

type delayedAnswer struct {
	size  int         // in bytes
	timer *time.Timer // guarded by mu
}

// add calls send when the delay has passed, unless close came before. It
// returns false, and does nothing, when too many bytes are held back already or
// close has been called.
func (d *delayedAnswers) add(delay time.Duration, size int, send func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.bytes+size > maxDelayed {
		return false
	}
	if d.answers == nil {
		d.answers = map[*delayedAnswer]struct{}{}
	}
	a := &delayedAnswer{size: size}
	d.answers[a] = struct{}{}
	d.bytes += size
	a.timer = time.AfterFunc(delay, func() {
		if d.remove(a) {
			defer d.sending.Done()
			send()
		}
	})
	return true
}

// remove says whether the answer whose timer fired may be sent. If so, close
// waits for it.
func (d *delayedAnswers) remove(a *delayedAnswer) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.bytes -= a.size
	delete(d.answers, a)
	d.sending.Add(1)
	return true
}

// close drops all answers that are still held back and returns how many there
// were. When it returns, nothing is being sent and nothing will be.
func (d *delayedAnswers) close() (dropped int) {
	d.mu.Lock()
	d.closed = true
	for a := range d.answers {
		a.timer.Stop()
	}
	dropped = len(d.answers)
	d.mu.Unlock()
	d.sending.Wait()
	return dropped
}
