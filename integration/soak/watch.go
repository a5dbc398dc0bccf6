package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"udplab/integration/lab"
	"udplab/integration/traffic"
	"udplab/services/kit/logging"
)

// watch observes the stack while it works: progress, memory and turns.
type watch struct {
	stack    *lab.Stack
	total    uint64
	books    []*traffic.Book
	progress screen

	memory     memory
	looked     uint64 // turns
	outOfPlace uint64 // of those: another server's, or answered by another
}

// start watches until stop is called. The results are then to be read.
func (w *watch) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { w.run(ctx) })
	return func() { cancel(); watching.Wait() }
}

func (w *watch) run(ctx context.Context) {
	begin := time.Now()
	sample, look, show := time.NewTicker(100*time.Millisecond), time.NewTicker(time.Second), time.NewTicker(w.progress.every)
	defer w.progress.clear()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sample.C:
			// Without /proc there are no samples, and no verdict.
			if bytes, err := lab.Resident(w.stack.BalancerPID()); err == nil {
				w.memory = append(w.memory, memorySample{w.settled(), bytes})
			}
		case <-look.C:
			_ = w.look(ctx) // there is another look at the end
		case <-show.C:
			var bytes int64
			if n := len(w.memory); n > 0 {
				bytes = w.memory[n-1].bytes
			}
			w.progress.show(progress(w.settled(), w.total, time.Since(begin), bytes))
		}
	}
}

// settled is how many datagrams have been answered or are lost.
func (w *watch) settled() (sum uint64) {
	for _, b := range w.books {
		sum += b.Settled()
	}
	return sum
}

// look judges the turns that the balancer remembers.
func (w *watch) look(ctx context.Context) error {
	ledger, err := lab.ReadLedger(ctx, w.stack.URL(), 0)
	for _, turn := range ledger.Turns {
		w.looked++
		if !inPlace(turn) {
			w.outOfPlace++
		}
	}
	return err
}

// servers is how many a stack has.
const servers = 3

// inPlace says whether a turn went to the server whose turn it was, and was
// answered by it. No server is ever down here, so the turns go round.
func inPlace(t lab.Turn) bool {
	whole := t.ReplyBytes > 0 && len(t.Reply) == t.ReplyBytes
	return t.Place == int((t.Turn-1)%servers)+1 && (!whole || strings.HasSuffix(t.Reply, " "+t.Server))
}

// memory is how much the balancer had, sample by sample.
type memory []memorySample

type memorySample struct {
	done  uint64 // datagrams settled by then
	bytes int64
}

const (
	// growth is how much more the second half's highest may be than the first's,
	// in percent.
	growth = 10
	// slack is what the garbage collector may leave for later, whatever the share.
	slack = 8 << 20
	// warmAfter is how many datagrams the balancer needs at least to be warm: to
	// have used every buffer, and been asked for its turns a few times.
	warmAfter = 250_000
)

// verdict says whether memory was flat once the balancer was warm, after a
// tenth of all datagrams: whether the highest of the second half of the rest
// is no more than a tenth, or 8 MiB, above the highest of the first half. Without a
// sample in each of the two there is no verdict, which is no failure.
func (m memory) verdict(total uint64) (text string, flat bool) {
	warm := max(total/10, warmAfter)
	if warm >= total {
		return fmt.Sprintf("  –   the balancer's memory is not judged: %s datagrams only warm it up", thousands(total)), true
	}
	half := warm + (total-warm)/2
	var first, second int64
	for _, s := range m {
		switch {
		case s.done < warm:
		case s.done < half:
			first = max(first, s.bytes)
		default:
			second = max(second, s.bytes)
		}
	}
	if first == 0 || second == 0 {
		return fmt.Sprintf("  –   the balancer's memory is not judged: %d samples are too few", len(m)), true
	}
	flat = second <= max(first*(100+growth)/100, first+slack)
	return fmt.Sprintf("%s the balancer's memory after %s datagrams: at most %s in the first half, %s in the second, +%d %% or 8 MiB allowed (%d samples)",
		mark(flat), thousands(warm), mebibytes(first), mebibytes(second), growth, len(m)), flat
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

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

// screen shows progress: a line every few seconds, or on a terminal one line in
// place.
type screen struct {
	out     io.Writer
	inPlace bool
	every   time.Duration
}

// erased is the beginning of a line from which a terminal has erased everything
// (ECMA-48, EL).
const erased = "\r\x1b[K"

func newScreen(out io.Writer) screen {
	if logging.IsTerminal(out) && os.Getenv("TERM") != "dumb" {
		return screen{out, true, 250 * time.Millisecond}
	}
	return screen{out, false, 5 * time.Second}
}

func (s screen) show(line string) {
	if s.inPlace {
		fmt.Fprint(s.out, erased, line)
	} else {
		fmt.Fprintln(s.out, line)
	}
}

// clear removes what is there.
func (s screen) clear() {
	if s.inPlace {
		fmt.Fprint(s.out, erased)
	}
}
