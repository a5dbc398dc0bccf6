package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// Short is how long things are broken in a run that is one of many tests: long
// enough for a fault of every kind.
const Short = 8 * time.Second

// WhenDown is what the balancer does with the turn of a server that is down.
type WhenDown string

// Skip gives the turn to the next server, Hold leaves it and loses the datagram.
const (
	Skip WhenDown = "skip"
	Hold WhenDown = "hold"
)

// Play breaks a lab for so long, as the seed says, while clients come and go,
// and fails the test if the promise did not hold: a turn out of order, sums
// that do not add up, a reply to the wrong client or of nobody, turns lost over
// a restart; and, once all is whole again, a reply that does not come or comes
// from another server than the one whose turn it is, or files, sockets or
// goroutines that the balancer has more of than at the beginning. The lab's
// balancer has to have BALANCER_WHEN_DOWN already.
func Play(t *testing.T, l Lab, seed uint64, length time.Duration, whenDown WhenDown) {
	t.Helper()
	t.Logf("things break for %v, when a server is down: %s; the same again: -seed=%d -faults=%v", length, whenDown, seed, length)
	site := l.Site()
	g := &game{T: t, Site: site, lab: l, player: newPlayer(l), crowd: newCrowd(site.Addr)}
	g.witness = &witness{
		url: site.URL, hold: whenDown == Hold,
		places: g.player.places, clients: g.crowd.soFar, lives: map[time.Time]*Record{},
	}
	begin := time.Now()
	g.player.said = func(format string, args ...any) {
		t.Logf("%6.2f s  %s", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
	g.player.usurped = func() { g.crowd.exists(guest) }
	g.player.saved, g.player.seen = g.awaitSaved, g.witness.seen
	g.player.ended = g.expectTheSameTurns

	g.must(g.player.open(labtest.Within(t)))
	files, goroutines := g.baseline()
	g.must(l.Start(labtest.Within(t), balancer, netip.Addr{}))

	begin = time.Now()
	g.breakThings(seed, length)
	g.awaitWhole()
	next := g.expectOrder("")
	g.expectNothingLeft(files, goroutines)
	g.must(l.Start(labtest.Within(t), balancer, netip.Addr{}))
	g.awaitWhole()
	g.expectOrder(next)

	ordered, named, wrong := g.witness.judge()
	for _, text := range append(wrong, g.crowd.wrong()...) {
		t.Error(text)
	}
	t.Logf("%v; over %d lives of the balancer, %d turns were judged against the one before, %d against the server that answered",
		g.crowd, len(g.witness.lives), ordered, named)
}

// game is one play of a lab, and what it is judged by.
type game struct {
	*testing.T
	Site
	lab     Lab
	player  *player
	crowd   *crowd
	witness *witness
}

func (g *game) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// breakThings lets clients come and go while things break and are mended, and
// then until something could be judged.
func (g *game) breakThings(seed uint64, length time.Duration) {
	g.Helper()
	ctx, stop := context.WithCancel(g.Context())
	witnessed, left := make(chan struct{}), make(chan error, 1)
	go func() { defer close(witnessed); g.witness.run(ctx) }()
	go func() { left <- g.crowd.run(ctx, seed) }()

	err := g.player.play(g.Context(), Schedule(seed, length))
	if err == nil {
		err = lab.Until(labtest.Within(g), func(context.Context) error {
			if ordered, named, _ := g.witness.judge(); ordered == 0 || named == 0 {
				return fmt.Errorf("%d turns could be judged against the one before, %d against the server that answered: this test sees nothing", ordered, named)
			}
			return nil
		})
	}
	stop()
	<-witnessed
	g.must(errors.Join(err, <-left))
}

// awaitWhole waits until the balancer takes every server for up, and for where
// it is.
func (g *game) awaitWhole() {
	g.Helper()
	labtest.Eventually(g, "every server is up where it is", func(ctx context.Context) error {
		s, err := lab.ReadStatus(ctx, g.URL)
		if err == nil && (!placed(s, g.player.places()) || slices.ContainsFunc(s.Backends, func(b lab.Backend) bool { return !b.Up })) {
			err = fmt.Errorf("%+v, and really they are at %v", s.Backends, g.player.places())
		}
		return err
	})
}

// awaitQuiet waits until the balancer has no session any more.
func (g *game) awaitQuiet() {
	g.Helper()
	labtest.Eventually(g, "no session is left", func(ctx context.Context) error {
		s, err := lab.ReadStatus(ctx, g.URL)
		if err == nil && s.Sessions > 0 {
			err = fmt.Errorf("%d sessions", s.Sessions)
		}
		return err
	})
}

// baseline is what a balancer has open that has been at work and has nothing to
// do. It ends it, which is the only way to see its goroutines.
func (g *game) baseline() (files, goroutines census) {
	g.Helper()
	g.awaitWhole()
	g.expectOrder("")
	g.awaitQuiet()
	pid, err := g.lab.PID(labtest.Within(g), balancer)
	g.must(err)
	files, err = openFiles(pid)
	g.must(err)
	stacks, err := g.lab.End(labtest.Within(g), balancer, syscall.SIGQUIT)
	g.must(err)
	goroutines = running(stacks)
	if files["socket"] < 2 || goroutines.total() < 2 {
		g.Fatalf("the balancer has %v open and %v running: this test sees nothing", files, goroutines)
	}
	g.Logf("at rest the balancer has %v open, and %d goroutines", files, goroutines.total())
	return files, goroutines
}

// expectOrder sends a few datagrams from one client that waits, all of which
// have to be answered, in turn. From is whose turn it is, "" for whoever's the
// balancer says; it returns whose turn is next. If a server went down or up
// meanwhile, as it may on a busy machine, it tries again.
func (g *game) expectOrder(from string) (next string) {
	g.Helper()
	labtest.Eventually(g, "replies in turn with no server down", func(context.Context) (err error) {
		g.awaitWhole()
		g.awaitQuiet()
		next, err = g.tryOrder(from)
		from = ""
		return err
	})
	return next
}

// tryOrder returns an error if a server went down or up meanwhile.
func (g *game) tryOrder(from string) (next string, err error) {
	g.Helper()
	const datagrams = 10
	before := labtest.Status(g, g.URL)
	if from == "" && before.Next != nil {
		from = *before.Next
	}
	place := slices.Index(servers, from)
	if place < 0 {
		return "", errors.New("no server's turn is next")
	}
	v, err := g.crowd.open(1)
	g.must(err)
	defer v.close()
	v.book.Timeout = time.Hour
	var want []string
	after := before
	unchanged := func() bool {
		after = labtest.Status(g, g.URL)
		return slices.Equal(states(before), states(after))
	}
	for i := range datagrams {
		want = append(want, servers[(place+i)%len(servers)])
		v.send()
		for deadline := time.Now().Add(lab.Patience); len(v.from) < len(want); {
			v.listen(time.Now().Add(100*time.Millisecond), func() bool { return len(v.from) == len(want) })
			if !unchanged() {
				return "", fmt.Errorf("servers changed from %+v to %+v", before.Backends, after.Backends)
			}
			if time.Now().After(deadline) {
				g.Fatalf("datagram %d is not answered; replies came from %v", len(want), v.from)
			}
		}
	}
	labtest.Eventually(g, "every reply is counted", func(context.Context) error { // it may be with its client a little before
		if unchanged(); after.Replied < before.Replied+datagrams {
			return fmt.Errorf("%d replies, before there were %d", after.Replied, before.Replied)
		}
		return nil
	})
	if !unchanged() {
		return "", fmt.Errorf("servers changed from %+v to %+v", before.Backends, after.Backends)
	}
	if !slices.Equal(v.from, want) {
		g.Errorf("%d datagrams one by one are answered by %v, want %v", datagrams, v.from, want)
	}
	if after.Received != before.Received+datagrams || after.Forwarded != before.Forwarded+datagrams || after.Replied != before.Replied+datagrams {
		g.Errorf("after %d datagrams: %+v; before them: %+v", datagrams, after, before)
	}
	return servers[(place+datagrams)%len(servers)], nil
}

// expectNothingLeft wants the balancer to have no more open and running than at
// the beginning. It ends it.
func (g *game) expectNothingLeft(files, goroutines census) {
	g.Helper()
	g.awaitQuiet()
	g.must(g.awaitSaved(labtest.Within(g), labtest.Status(g, g.URL).Turns))
	pid, err := g.lab.PID(labtest.Within(g), balancer)
	g.must(err)
	labtest.Eventually(g, "no more files open than at the beginning", func(context.Context) error {
		now, err := openFiles(pid)
		return errors.Join(err, now.beyond(files, 0))
	})
	stacks, err := g.lab.End(labtest.Within(g), balancer, syscall.SIGQUIT)
	g.must(err)
	// A probe or a look-up of each server may be under way. What leaks, leaks
	// with every session or fault.
	if err := running(stacks).beyond(goroutines, len(servers)); err != nil {
		g.Errorf("more goroutines than at the beginning: %v\n%s", err, stacks)
	}
}

// awaitSaved waits until so many turns are in the state file.
func (g *game) awaitSaved(ctx context.Context, turns uint64) error {
	return lab.Until(ctx, func(context.Context) error {
		saved, err := savedTurns(g.StateFile)
		if err == nil && saved < turns {
			err = fmt.Errorf("%d of %d turns are saved", saved, turns)
		}
		return err
	})
}

// expectTheSameTurns looks at the state file that a balancer has left after so
// many turns at least, and wants the next one to go on exactly there.
func (g *game) expectTheSameTurns(kind Kind, seen uint64) (check func(context.Context) error, err error) {
	saved, err := savedTurns(g.StateFile)
	if err != nil {
		return nil, err
	}
	if saved < seen {
		g.Errorf("%s: %d turns are saved, there had been %d", kind, saved, seen)
	}
	return func(ctx context.Context) error {
		return lab.Until(ctx, func(ctx context.Context) error {
			s, err := lab.ReadStatus(ctx, g.URL)
			before := s.Turns // those of all lives
			for _, b := range s.Backends {
				before -= b.Turns // those of this one
			}
			if err == nil && before != saved {
				g.Errorf("%s: %d turns were saved, the next balancer goes on after %d", kind, saved, before)
			}
			return err
		})
	}, nil
}

// savedTurns reads a state file.
func savedTurns(file string) (uint64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var saved struct {
		Turns uint64 `json:"turns"`
	}
	if err := json.Unmarshal(text, &saved); err != nil {
		return 0, fmt.Errorf("state file %q: %w", text, err)
	}
	return saved.Turns, nil
}
