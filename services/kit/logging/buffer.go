package logging

import (
	"cmp"
	"io"
	"sync"
	"time"
)

// How a BufferedWriter weighs system calls against how soon a line is seen.
const (
	bufferDelay = 100 * time.Millisecond // the longest that anything waits
	bufferSize  = 64 << 10               // bytes that are written at once
)

// BufferedWriter gathers what is written to it and passes it on in one piece:
// at the latest 100 ms after the first byte of it, or once it is 64 KiB. So a
// log of one line a second reads like one without a buffer, and one of tens of
// thousands does not cost a system call each. Its methods may be called by
// several goroutines; nothing is lost or torn, however they interleave.
//
// Whoever makes one calls Flush before the program ends.
type BufferedWriter struct {
	out io.Writer // never changes

	mu    sync.Mutex
	held  []byte
	timer *time.Timer // runs while something is held
	err   error       // the first that out returned
}

// NewBufferedWriter returns a writer that passes on to out.
func NewBufferedWriter(out io.Writer) *BufferedWriter { return &BufferedWriter{out: out} }

// Write takes all of p and never fails: a log that cannot be written is no
// reason for its writer to stop. It waits only for an out that waits.
func (b *BufferedWriter) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.held) == 0 {
		b.timer = time.AfterFunc(bufferDelay, func() { b.Flush() })
	}
	b.held = append(b.held, p...)
	if len(b.held) >= bufferSize {
		b.passOn()
	}
	return len(p), nil
}

// Flush passes on what is held, and returns the first error that passing on
// ever met.
func (b *BufferedWriter) Flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passOn()
	return b.err
}

func (b *BufferedWriter) passOn() {
	if len(b.held) == 0 {
		return
	}
	b.timer.Stop()
	_, err := b.out.Write(b.held)
	b.err = cmp.Or(b.err, err)
	b.held = b.held[:0]
}
