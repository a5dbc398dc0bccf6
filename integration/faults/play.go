package faults

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Short is how long things are broken in a run that is one of many tests: long
// enough for a fault of every kind.
const Short = 14 * time.Second

// patience is how long anything may take that is bound to happen. It is long:
// a machine that runs tests is often busy with others.
const patience = 30 * time.Second

// Env is the variables of every lab's balancer. Everything is quick: what
// breaks is soon noticed, and so is what is left behind.
func Env() map[string]string {
	var backends []string
	for _, server := range servers {
		backends = append(backends, server+"="+server+Domain+":"+Port)
	}
	return map[string]string{
		"BALANCER_BACKENDS":         strings.Join(backends, ","),
		"BALANCER_PROBE":            "healthcheck",
		"BALANCER_PROBE_INTERVAL":   "100ms",
		"BALANCER_PROBE_TIMEOUT":    "200ms",
		"BALANCER_RESOLVE_INTERVAL": "200ms",
		"BALANCER_SESSION_IDLE":     "500ms",
		"BALANCER_ANSWER_TIMEOUT":   "300ms",
	}
}

// WhenDown is what the balancer does with the turn of a server that is down.
type WhenDown string

// Skip gives the turn to the next server, Hold leaves it and loses the datagram.
const (
	Skip WhenDown = "skip"
	Hold WhenDown = "hold"
)

// Play breaks a lab for so long, as the seed says, while clients come and go,
// and fails the test if the promise did not hold: a turn out of order, sums
// that do not add up, an answer to the wrong client or of nobody, turns lost
// over a restart; and, once all is whole again, an answer that does not come or
// comes from another server than the one whose turn it is, or files, sockets
// or goroutines that the balancer has more of than at the beginning.
func Play(t *testing.T, lab Lab, seed uint64, length time.Duration, whenDown WhenDown) {
	t.Helper()
	t.Logf("things break for %v, when a server is down: %s; the same again: -seed=%d -faults=%v", length, whenDown, seed, length)
	lab.Configure(map[string]string{"BALANCER_WHEN_DOWN": string(whenDown)})
	books := NewBooks(servers...)
	g := &game{T: t, lab: lab, books: books, player: newPlayer(lab), crowd: &crowd{target: lab.Addr(), books: books}}
	g.witness = &witness{
		url: lab.URL(), hold: whenDown == Hold,
		places: g.player.places, lives: map[string]*Record{},
	}
	begin := time.Now()
	g.player.said = func(format string, args ...any) {
		t.Logf("%6.2f s  %s", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
	g.player.usurped = func() { g.books.Exists(guest) }
	g.player.ended = g.expectTheSameTurns

	g.must(g.player.open(g.within()))
	filesBefore, goroutinesBefore := g.baseline()
	g.must(lab.Start(g.within(), balancer, netip.Addr{}))

	begin = time.Now()
	g.breakThings(seed, length)
	g.awaitWhole()
	next := g.expectOrder("")
	g.expectNothingLeft(filesBefore, goroutinesBefore)
	g.must(lab.Start(g.within(), balancer, netip.Addr{}))
	g.awaitWhole()
	g.expectOrder(next)
	g.judge()
}

// game is one play of a lab, and what it is judged by.
type game struct {
	*testing.T
	lab     Lab
	player  *player
	books   *Books
	crowd   *crowd
	witness *witness
}

// within is a context for one step.
func (g *game) within() context.Context {
	ctx, cancel := context.WithTimeout(g.Context(), patience)
	g.Cleanup(cancel)
	return ctx
}

func (g *game) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// eventually waits until done says so. What it returns beside is the state
// that the failure shows.
func (g *game) eventually(what string, done func() (bool, any)) {
	g.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	deadline := time.Now().Add(patience)
	for {
		ok, state := done()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			g.Fatalf("%s: not within %v; at last: %v", what, patience, state)
		}
		<-look.C
	}
}

// breakThings lets clients come and go while things break and are mended.
func (g *game) breakThings(seed uint64, length time.Duration) {
	ctx, stop := context.WithCancel(g.Context())
	witnessed, left := make(chan struct{}), make(chan error, 1)
	go func() { defer close(witnessed); g.witness.run(ctx) }()
	go func() { left <- g.crowd.run(ctx, seed) }()

	err := g.player.play(g.Context(), Schedule(seed, length))
	stop()
	<-witnessed
	if wrong := <-left; wrong != nil {
		g.Errorf("clients: %v", wrong)
	}
	if err != nil {
		g.Fatalf("breaking things: %v", err)
	}
}

// awaitWhole waits until the balancer takes every server for up, and for where
// it is.
func (g *game) awaitWhole() {
	g.Helper()
	g.eventually("every server is up where it is", func() (bool, any) {
		s, err := askStatus(g.Context(), g.lab.URL())
		if err != nil {
			return false, err
		}
		return s.allUp() && s.placed(g.player.places()), fmt.Sprintf("%v, and really they are at %v", s, g.player.places())
	})
}

// awaitQuiet waits until the balancer has no session any more.
func (g *game) awaitQuiet() {
	g.Helper()
	g.eventually("no session is left", func() (bool, any) {
		s, err := askStatus(g.Context(), g.lab.URL())
		return err == nil && s.Sessions == 0, s
	})
}
