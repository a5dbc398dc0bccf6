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
	mu           sync.Mutex
	closed       bool
	count, bytes int // of what is held back
	sending      sync.WaitGroup
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
	d.count++
	d.bytes += size
	time.AfterFunc(delay, func() {
		if d.release(size) {
			defer d.sending.Done()
			send()
		}
	})
	return true
}

// release says whether the answer whose timer fired may be sent. If so, close
// waits for it.
func (d *delayedAnswers) release(size int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.count--
	d.bytes -= size
	d.sending.Add(1)
	return true
}

// close drops all answers that are still held back and returns how many there
// were. When it returns, nothing is being sent and nothing will be.
func (d *delayedAnswers) close() (dropped int) {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.sending.Wait()
	return d.count
}
