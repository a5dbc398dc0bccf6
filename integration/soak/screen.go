package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"udplab/services/kit/logging"
)

// screen shows the progress: a line every few seconds, or on a terminal one
// line in place.
type screen struct {
	out     io.Writer
	inPlace bool
	every   time.Duration
	width   int // of what stands there
}

func newScreen(out io.Writer) *screen {
	if logging.IsTerminal(out) && os.Getenv("TERM") != "dumb" {
		return &screen{out: out, inPlace: true, every: 250 * time.Millisecond}
	}
	return &screen{out: out, every: 5 * time.Second}
}

// show shows a line.
func (s *screen) show(line string) {
	if !s.inPlace {
		fmt.Fprintln(s.out, line)
		return
	}
	fmt.Fprintf(s.out, "\r%-*s", s.width, line) // blanks over what was longer
	s.width = len([]rune(line))
}

// clear takes away what stands there.
func (s *screen) clear() {
	if s.inPlace && s.width > 0 {
		fmt.Fprintf(s.out, "\r%s\r", strings.Repeat(" ", s.width))
	}
}

// progress says how far it is after so long, and how long the rest will take
// if it goes on like that.
func progress(done, total uint64, after time.Duration, memory int64) string {
	line := fmt.Sprintf("%s of %s (%.1f %%)", thousands(done), thousands(total), 100*float64(done)/float64(total))
	if done > 0 && after > 0 {
		rate := float64(done) / after.Seconds()
		left := time.Duration(float64(total-done) / rate * float64(time.Second))
		line += fmt.Sprintf(", %s a second, about %v left", thousands(uint64(rate)), left.Round(time.Second))
	}
	if memory > 0 {
		line += ", balancer " + mebibytes(memory)
	}
	return line
}

// thousands writes a number with commas.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
