package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink remembers each write.
type sink struct {
	mu     sync.Mutex
	writes []string
	err    error
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, string(p))
	return len(p), s.err
}

func (s *sink) seen() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

func TestALineIsSeenAfterATenthOfASecondThoughNothingFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		b := NewBufferedWriter(&out)
		for round := range 3 { // the clock starts anew each time
			io.WriteString(b, "one ")
			time.Sleep(bufferDelay - time.Nanosecond)
			io.WriteString(b, "two")
			if n := len(out.seen()); n != round {
				t.Fatalf("round %d: written after %d writes, too early", round, n)
			}
			time.Sleep(time.Nanosecond)
			if seen := out.seen(); len(seen) != round+1 || seen[round] != "one two" {
				t.Fatalf("round %d: %q", round, seen)
			}
		}
	})
}

func TestManyLinesArePassedOnInBigPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		b := NewBufferedWriter(&out)
		line := strings.Repeat("x", 1023) + "\n"
		for range 100 {
			io.WriteString(b, line)
		}
		if n := len(out.seen()); n != 1 {
			t.Errorf("%d writes of 100 KiB before any time has passed, want 1", n)
		}
		b.Flush()
		if got, want := strings.Join(out.seen(), ""), strings.Repeat(line, 100); got != want {
			t.Errorf("%d bytes arrived of %d", len(got), len(want))
		}
	})
}

func TestLinesOfManyWritersStayWhole(t *testing.T) {
	var out bytes.Buffer
	b := NewBufferedWriter(&out)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				fmt.Fprintf(b, "writer %d line %d\n", w, i)
			}
		})
	}
	wg.Wait()
	b.Flush()
	var next [8]int
	for line := range bytes.Lines(out.Bytes()) {
		var w, i int
		if _, err := fmt.Sscanf(string(line), "writer %d line %d\n", &w, &i); err != nil || i != next[w] {
			t.Fatalf("%q: want line %d, error %v", line, next[w], err)
		}
		next[w]++
	}
	if next != [8]int{1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000} {
		t.Errorf("lines by writer: %v", next)
	}
}

func TestAWriterThatFailsStopsNobodyAndIsReportedAtTheEnd(t *testing.T) {
	out := sink{err: errors.New("disk full")}
	b := NewBufferedWriter(&out)
	if n, err := io.WriteString(b, "line\n"); n != 5 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
	for range 2 {
		if err := b.Flush(); !errors.Is(err, out.err) {
			t.Errorf("flush: %v", err)
		}
	}
}
