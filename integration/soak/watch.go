package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"udplab/integration/lab"
	"udplab/integration/traffic"
)

// watch observes the stack while it works.
type watch struct {
	stack    *lab.Stack
	books    []*traffic.Book
	progress io.Writer

	memory     memory
	looked     uint64 // turns
	outOfPlace uint64 // of those: another server's, or answered by another
}

// run samples the memory ten times a second, looks at the turns once a second
// and prints the progress every five seconds, until ctx ends.
func (w *watch) run(ctx context.Context) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for tick := 1; ; tick++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		settled := uint64(0)
		for _, b := range w.books {
			settled += b.Settled()
		}
		bytes, err := lab.Resident(w.stack.Part("balancer").PID())
		if err == nil { // without /proc there are no samples, and no verdict
			w.memory.sample(settled, bytes)
		}
		if tick%10 == 0 {
			_ = w.look(ctx) // there is another look at the end
		}
		if total := w.memory.total; tick%50 == 0 {
			fmt.Fprintf(w.progress, "%s of %s (%.1f %%), balancer %s\n", thousands(settled), thousands(total), 100*float64(settled)/float64(total), mebibytes(bytes))
		}
	}
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

// inPlace says whether a turn went to the server whose turn it was, and was
// answered by it. No server is ever down here, so the turns go round.
func inPlace(t lab.Turn) bool {
	whole := t.ReplyBytes > 0 && len(t.Reply) == t.ReplyBytes
	return t.Place == int(t.Turn-1)%len(servers)+1 && (!whole || strings.HasSuffix(t.Reply, " "+t.Server))
}

// memory is the most that the balancer had while total datagrams were sent: in
// the first and in the second half of those that came after it was warm. It is
// in bytes; 0 means that there was no sample.
type memory struct {
	total         uint64
	first, second int64
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

// warm is after how many datagrams the balancer is.
func (m *memory) warm() uint64 { return max(m.total/10, warmAfter) }

// sample records what the balancer had after so many datagrams.
func (m *memory) sample(done uint64, bytes int64) {
	switch warm := m.warm(); {
	case done < warm:
	case done < (warm+m.total)/2:
		m.first = max(m.first, bytes)
	default:
		m.second = max(m.second, bytes)
	}
}

// verdict says whether memory was flat: the second half's highest is at most a
// tenth, or 8 MiB, above the first's. That there is no verdict is no failure.
func (m *memory) verdict() (text string, flat bool) {
	if m.first == 0 || m.second == 0 {
		return fmt.Sprintf("  –   the balancer's memory is not judged: too few samples after %s datagrams, which warm it up", thousands(m.warm())), true
	}
	flat = m.second <= max(m.first*(100+growth)/100, m.first+slack)
	return fmt.Sprintf("%s the balancer's memory after %s datagrams: at most %s in the first half, %s in the second, +%d %% or 8 MiB allowed",
		mark(flat), thousands(m.warm()), mebibytes(m.first), mebibytes(m.second), growth), flat
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
