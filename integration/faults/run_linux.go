package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	"udplab/integration/traffic"
)

// run is one test of a lab: what breaks it and what judges it.
type run struct {
	*testing.T
	Lab
	addr     netip.AddrPort // where clients reach the balancer
	url      string         // of its page
	clients  *clients
	observer *observer
	turns    uint64   // that the balancer had had at least before it ended
	parts    sync.Map // Part by name, those that run

	mu        sync.Mutex
	at, spare map[string]netip.Addr // by name: where it belongs, and where it moves to
}

// Run breaks a lab for so long, as the seed says, while clients come and go,
// and fails the test if the promise did not hold: a turn out of order, sums
// that do not add up, a reply to the wrong client or to none, turns lost over
// a restart. Once all is whole again, it fails for a reply that does not come or
// comes from another server than the one whose turn it is, and for files,
// sockets or goroutines that the balancer has more of than at the beginning.
func Run(t *testing.T, l Lab, seed uint64, length time.Duration) {
	t.Helper()
	whenDown := l.Env["BALANCER_WHEN_DOWN"]
	t.Logf("things break for %v, when a server is down: %s; the same again: -seed=%d -faults=%v", length, whenDown, seed, length)
	r := &run{
		T: t, Lab: l, addr: netip.AddrPortFrom(l.Balancer, 8888), url: fmt.Sprintf("http://%v:8080", l.Balancer),
		at: map[string]netip.Addr{balancer: l.Balancer}, spare: map[string]netip.Addr{},
	}
	defer r.killAll()
	for i, server := range servers {
		r.at[server], r.spare[server] = l.Places[2*i], l.Places[2*i+1]
	}
	r.clients = &clients{target: r.addr}
	r.observer = &observer{url: r.url, hold: whenDown == "hold", places: r.places, clients: &r.clients.started, lives: map[time.Time]*record{}}

	r.must(r.inOrder(t.Context(), servers, start, (*run).tell))
	r.must(r.launch(labtest.Within(t), balancer))
	r.expectOrder()
	atRest := r.stopAtRest(nil)
	t.Logf("at rest the balancer has %v", atRest)
	r.must(r.launch(labtest.Within(t), balancer))

	r.breakUnderLoad(seed, length)
	next := r.expectOrder()
	r.stopAtRest(atRest)
	r.must(r.restart(labtest.Within(t), nil))
	if s := r.awaitRest(); s.Next == nil || *s.Next != next {
		t.Errorf("after the last restart the next turn is not %s's: %+v", next, s)
	}
	r.expectOrder()

	ordered, named, wrong := r.observer.judge()
	wrong = append(wrong, r.clients.wrong...)
	for _, text := range wrong[:min(len(wrong), 20)] {
		t.Error(text)
	}
	t.Logf("%d problems; %d clients got %+v; %d lives of the balancer; judged were %s",
		len(wrong), r.clients.started.Load(), r.clients.counts, len(r.observer.lives), judged(ordered, named))
}

func judged(ordered, named int) string {
	return fmt.Sprintf("%d turns against the one before, %d against the server that answered", ordered, named)
}

func (r *run) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// launch starts a part where it belongs. The balancer does everything quickly:
// what breaks is soon noticed, and so is what is left behind.
func (r *run) launch(ctx context.Context, name string) error {
	at := r.places()[name]
	program, env := "pingserver", map[string]string{"PINGSERVER_NAME": name, "PINGSERVER_LISTEN": fmt.Sprintf("%v:%s", at, port)}
	if name == balancer {
		backends := ""
		for _, server := range servers {
			backends += "," + server + "=" + server + domain + ":" + port
		}
		program, env = balancer, map[string]string{
			"BALANCER_LISTEN":           r.addr.String(),
			"BALANCER_HTTP":             at.String() + ":8080",
			"BALANCER_HTTP_HOSTS":       at.String(),
			"BALANCER_BACKENDS":         backends[1:],
			"BALANCER_PROBE":            "healthcheck",
			"BALANCER_PROBE_INTERVAL":   "100ms",
			"BALANCER_PROBE_TIMEOUT":    "200ms",
			"BALANCER_RESOLVE_INTERVAL": "200ms",
			"BALANCER_SESSION_IDLE":     "500ms",
			"BALANCER_ANSWER_TIMEOUT":   "300ms",
		}
		maps.Copy(env, r.Env)
	}
	part, err := r.Launch(ctx, program, name, at, env)
	if err == nil {
		r.parts.Store(name, part)
	}
	return err
}

func (r *run) part(name string) Part {
	part, _ := r.parts.Load(name)
	return part.(Part)
}

// places is where the parts belong.
func (r *run) places() map[string]netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.at)
}

// exitCodes is how a program ends at a signal: killed, in order, or with the
// stacks that Go's runtime prints. Other signals end nothing.
var exitCodes = map[syscall.Signal]int{syscall.SIGKILL: -1, syscall.SIGTERM: 0, syscall.SIGQUIT: 2}

// signal sends a part a signal. If that ends it, signal waits until it has, in
// the way that the signal asks for, and returns what it wrote to stderr, which
// only SIGQUIT may make it do.
func (r *run) signal(ctx context.Context, name string, s syscall.Signal) (stderr string, err error) {
	part := r.part(name)
	want, ends := exitCodes[s]
	if err := syscall.Kill(part.PID(), s); err != nil || !ends {
		return "", err
	}
	exit := part.Wait(ctx)
	r.parts.Delete(name)
	if exit.Code != want || exit.Stderr != "" && s != syscall.SIGQUIT {
		return "", fmt.Errorf("%s ended at %v with %d, want %d\n%s", name, s, exit.Code, want, last(exit))
	}
	return exit.Stderr, nil
}

// last is what a part said at last.
func last(exit lab.Exit) string { return exit.Stdout[max(0, len(exit.Stdout)-4000):] + exit.Stderr }

// killAll ends what still runs. If the test has failed, it shows what the
// balancer said.
func (r *run) killAll() {
	r.parts.Range(func(name, _ any) bool {
		part := r.part(name.(string))
		_ = syscall.Kill(part.PID(), syscall.SIGKILL) // fails if it has ended by itself
		if exit := part.Wait(labtest.Within(r)); r.Failed() && name == balancer {
			r.Log("the balancer said at last\n" + last(exit))
		}
		return true
	})
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
				return errors.New("this test sees nothing: judged were " + judged(ordered, named))
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
	labtest.AwaitStatus(r, r.url, fmt.Sprintf("every server up at %v, and no session", r.places()), func(now lab.Status) bool {
		s = now
		down := slices.ContainsFunc(s.Backends, func(b lab.Backend) bool { return !b.Up })
		return s.Sessions == 0 && !down && placed(s, r.places())
	})
	return s
}

// expectOrder sends a few datagrams from one client that waits, all of which
// have to be answered, in turn. It returns whose turn is next. If a server went
// down or up meanwhile, as it may on a busy machine, it tries again.
func (r *run) expectOrder() (next string) {
	r.Helper()
	labtest.Eventually(r, "replies in turn with no server down", func(ctx context.Context) (err error) {
		next, err = r.tryOrder(ctx)
		return err
	})
	return next
}

// tryOrder returns an error if a server went down or up meanwhile.
func (r *run) tryOrder(ctx context.Context) (next string, err error) {
	r.Helper()
	before := r.awaitRest()
	if before.Next == nil {
		return "", errors.New("no server's turn is next")
	}
	var got, want []string
	const datagrams, nobodyElse = 10, 9_999_999
	book := traffic.NewBook(traffic.Settings{
		Client: nobodyElse, Count: datagrams, Window: 1, Timeout: 5 * time.Second, Sizes: traffic.Sizes{Usual: traffic.PingSize},
		Server: func(name []byte) bool { got = append(got, string(name)); return true },
	})
	if _, err := traffic.Carry(ctx, []*traffic.Book{book}, r.addr); err != nil {
		return "", err
	}
	after := labtest.Status(r, r.url)
	if book.InTime != datagrams || !slices.Equal(states(before), states(after)) {
		return "", fmt.Errorf("%d datagrams: %+v; servers before: %+v, and after: %+v", datagrams, book.Counts, before.Backends, after.Backends)
	}
	place := slices.Index(servers, *before.Next)
	for range datagrams {
		want = append(want, servers[place])
		place = (place + 1) % len(servers)
	}
	if !slices.Equal(got, want) {
		r.Errorf("%d datagrams one by one are answered by %v, want %v", datagrams, got, want)
	}
	if after.Received != before.Received+datagrams || after.Forwarded != before.Forwarded+datagrams {
		r.Errorf("after %d datagrams: %+v; before them: %+v", datagrams, after, before)
	}
	return servers[place], nil
}

// stopAtRest ends a balancer that has nothing to do, which is the only way to see
// its goroutines. It returns what it had open and running, and wants that to be
// no more than before, unless before is nil.
func (r *run) stopAtRest(before census) (now census) {
	r.Helper()
	r.turns = r.awaitRest().Turns
	r.must(r.awaitSaved(labtest.Within(r), nil))
	labtest.Eventually(r, "no more files open than at the beginning", func(context.Context) (err error) {
		now, err = openFiles(r.part(balancer).PID())
		return errors.Join(err, now.beyond(before, 0))
	})
	stacks, err := r.signal(labtest.Within(r), balancer, syscall.SIGQUIT)
	r.must(err)
	goroutines := running(stacks)
	if now["socket"] < 2 || len(goroutines) == 0 {
		r.Fatalf("the balancer has %v open and %v running: this test sees nothing", now, goroutines)
	}
	// A probe or a look-up of each server may be under way. What leaks, leaks
	// with every session or fault.
	if err := goroutines.beyond(before, len(servers)); err != nil {
		r.Errorf("more goroutines than at the beginning: %v\n%s", err, stacks)
	}
	maps.Copy(now, goroutines)
	return now
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
	if err := r.launch(ctx, balancer); err != nil {
		return err
	}
	return lab.Until(ctx, func(ctx context.Context) error {
		s, err := lab.ReadStatus(ctx, r.url)
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
	var saved struct {
		Turns uint64 `json:"turns"`
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &saved)
	}
	return saved.Turns, err
}
