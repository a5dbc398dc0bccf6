package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// Short is how long things are broken in a run that is one of many tests. It
// takes longer if a fault of every kind does.
const Short = 8 * time.Second

// WhenDown is what the balancer does with the turn of a server that is down.
type WhenDown string

// Skip gives the turn to the next server, Hold leaves it and loses the datagram.
const (
	Skip WhenDown = "skip"
	Hold WhenDown = "hold"
)

// mostProblems is how many of a sort are told one by one.
const mostProblems = 10

// Run breaks a lab for so long, as the seed says, while clients come and go,
// and fails the test if the promise did not hold: a turn out of order, sums
// that do not add up, a reply to the wrong client or to none, turns lost over
// a restart. Once all is whole again, it fails for a reply that does not come or
// comes from another server than the one whose turn it is, and for files,
// sockets or goroutines that the balancer has more of than at the beginning. The
// lab's balancer has to have BALANCER_WHEN_DOWN already.
func Run(t *testing.T, l Lab, seed uint64, length time.Duration, whenDown WhenDown) {
	t.Helper()
	t.Logf("things break for %v, when a server is down: %s; the same again: -seed=%d -faults=%v", length, whenDown, seed, length)
	site := l.Site()
	r := &run{T: t, Site: site, lab: l, clients: newClients(site.Addr), where: map[string]*place{}}
	r.observer = &observer{url: site.URL, hold: whenDown == Hold, places: r.places, clients: r.clients.count, lives: map[time.Time]*record{}}

	for i, server := range servers {
		r.where[server] = &place{at: site.Places[2*i], spare: site.Places[2*i+1]}
	}
	r.must(r.inOrder(t.Context(), servers, (*run).start, (*run).tell, (*run).startBalancer))
	r.expectOrder()
	files, goroutines := r.stopAtRest(nil, nil)
	t.Logf("at rest the balancer has %v open and %v running", files, goroutines)
	r.must(r.startBalancer(labtest.Within(t), nil))

	r.breakUnderLoad(seed, length)
	next := r.expectOrder()
	r.stopAtRest(files, goroutines)
	r.must(r.restart(labtest.Within(t), nil))
	if s := r.awaitRest(); s.Next == nil || *s.Next != next {
		t.Errorf("after the last restart the next turn is not %s's: %+v", next, s)
	}
	r.expectOrder()

	ordered, named, wrong := r.observer.judge()
	for _, problems := range [][]string{wrong, r.clients.wrong} {
		for _, text := range problems[:min(len(problems), mostProblems)] {
			t.Error(text)
		}
	}
	t.Logf("%d problems; %d clients got %+v; over %d lives of the balancer, %d turns were judged against the one before, %d against the server that answered",
		len(wrong)+len(r.clients.wrong), r.clients.started, r.clients.counts, len(r.observer.lives), ordered, named)
}

// run is one test of a lab: what breaks it and what judges it.
type run struct {
	*testing.T
	Site
	lab      Lab
	clients  *clients
	observer *observer
	turns    uint64 // that the balancer had had at least before it ended

	mu    sync.Mutex
	where map[string]*place // by ping server
}

func (r *run) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *run) startBalancer(ctx context.Context, _ []string) error {
	return r.lab.Start(ctx, balancer, netip.Addr{})
}

// breakUnderLoad lets clients come and go while things break and are mended, and
// then until something could be judged.
func (r *run) breakUnderLoad(seed uint64, length time.Duration) {
	r.Helper()
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	var load errgroup.Group
	load.Go(func() error { r.observer.run(ctx); return nil })
	load.Go(func() error { return r.clients.run(ctx, seed) })
	err := r.breakThings(r.Context(), seed, length)
	if err == nil {
		err = lab.Until(labtest.Within(r), func(context.Context) error {
			if ordered, named, _ := r.observer.judge(); ordered == 0 || named == 0 {
				return fmt.Errorf("%d turns could be judged against the one before, %d against the server that answered: this test sees nothing", ordered, named)
			}
			return nil
		})
	}
	stop()
	r.must(errors.Join(err, load.Wait()))
}

// awaitRest waits until every server is up where it is, as far as the balancer
// knows, and no session is left.
func (r *run) awaitRest() (s lab.Status) {
	r.Helper()
	labtest.Eventually(r, "every server is up where it is, and no session is left", func(ctx context.Context) (err error) {
		s, err = lab.ReadStatus(ctx, r.URL)
		if err == nil && (s.Sessions > 0 || !placed(s, r.places()) || slices.ContainsFunc(s.Backends, func(b lab.Backend) bool { return !b.Up })) {
			err = fmt.Errorf("%d sessions, %+v, and really they are at %v", s.Sessions, s.Backends, r.places())
		}
		return err
	})
	return s
}

// expectOrder sends a few datagrams from one client that waits, all of which
// have to be answered, in turn. It returns whose turn is next. If a server went
// down or up meanwhile, as it may on a busy machine, it tries again.
func (r *run) expectOrder() (next string) {
	r.Helper()
	labtest.Eventually(r, "replies in turn with no server down", func(context.Context) (err error) {
		next, err = r.tryOrder()
		return err
	})
	return next
}

// tryOrder returns an error if a server went down or up meanwhile.
func (r *run) tryOrder() (next string, err error) {
	r.Helper()
	const datagrams = 10
	before := r.awaitRest()
	after := before
	changed := func() bool {
		after = labtest.Status(r, r.URL)
		return !slices.Equal(states(before), states(after))
	}
	place := 0 // of the next turn's server
	for before.Next == nil || servers[place] != *before.Next {
		if place++; place == len(servers) {
			return "", errors.New("no server's turn is next")
		}
	}
	c, err := r.clients.open(1)
	r.must(err)
	defer c.close()
	c.book.Timeout = time.Hour
	var want []string
	for range datagrams {
		want = append(want, servers[place])
		place = (place + 1) % len(servers)
		c.send()
		labtest.Eventually(r, "every datagram is answered", func(context.Context) error {
			c.listen(time.Now().Add(100 * time.Millisecond))
			if c.book.InFlight() > 0 && !changed() {
				return fmt.Errorf("the last is not; replies came from %v", c.from)
			}
			return nil
		})
	}
	if changed() {
		return "", fmt.Errorf("servers changed from %+v to %+v", before.Backends, after.Backends)
	}
	if !slices.Equal(c.from, want) {
		r.Errorf("%d datagrams one by one are answered by %v, want %v", datagrams, c.from, want)
	}
	if after.Received != before.Received+datagrams || after.Forwarded != before.Forwarded+datagrams {
		r.Errorf("after %d datagrams: %+v; before them: %+v", datagrams, after, before)
	}
	return servers[place], nil
}

// stopAtRest ends a balancer that has nothing to do, which is the only way to see
// its goroutines. It returns what it had open and running, and wants that to be
// no more than at the beginning, if that is known.
func (r *run) stopAtRest(filesBefore, goroutinesBefore census) (files, goroutines census) {
	r.Helper()
	r.turns = r.awaitRest().Turns
	r.must(r.awaitSaved(labtest.Within(r), nil))
	pid, err := r.lab.PID(labtest.Within(r), balancer)
	r.must(err)
	labtest.Eventually(r, "no more files open than at the beginning", func(context.Context) (err error) {
		if files, err = openFiles(pid); filesBefore == nil {
			return err
		}
		return errors.Join(err, files.beyond(filesBefore, 0))
	})
	stacks, err := r.lab.End(labtest.Within(r), balancer, syscall.SIGQUIT)
	r.must(err)
	goroutines = running(stacks)
	if files["socket"] < 2 || len(goroutines) < 2 {
		r.Fatalf("the balancer has %v open and %v running: this test sees nothing", files, goroutines)
	}
	// A probe or a look-up of each server may be under way. What leaks, leaks
	// with every session or fault.
	if err := goroutines.beyond(goroutinesBefore, len(servers)); goroutinesBefore != nil && err != nil {
		r.Errorf("more goroutines than at the beginning: %v\n%s", err, stacks)
	}
	return files, goroutines
}

// noteTurns notes how many turns there have been at least.
func (r *run) noteTurns(context.Context, []string) error { r.turns = r.observer.seen(); return nil }

// awaitSaved waits until the noted turns are in the state file.
func (r *run) awaitSaved(ctx context.Context, _ []string) error {
	return lab.Until(ctx, func(context.Context) error {
		saved, err := savedTurns(r.StateFile)
		if err == nil && saved < r.turns {
			err = fmt.Errorf("%d of %d turns are saved", saved, r.turns)
		}
		return err
	})
}

// restart starts the balancer again, after it has left the noted turns at least
// in its state file, and wants it to go on exactly there.
func (r *run) restart(ctx context.Context, _ []string) error {
	saved, err := savedTurns(r.StateFile)
	if err != nil {
		return err
	}
	if saved < r.turns {
		r.Errorf("%d turns are saved, there had been %d", saved, r.turns)
	}
	if err := r.startBalancer(ctx, nil); err != nil {
		return err
	}
	return lab.Until(ctx, func(ctx context.Context) error {
		s, err := lab.ReadStatus(ctx, r.URL)
		before := s.Turns // those of all lives
		for _, b := range s.Backends {
			before -= b.Turns // those of this one
		}
		if err == nil && before != saved { // of several workers, one may not have recorded its last turns yet
			err = fmt.Errorf("%d turns were saved, the next balancer goes on after %d", saved, before)
		}
		return err
	})
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
