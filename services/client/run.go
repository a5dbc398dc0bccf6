package main

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"udplab/services/kit/program"
	"udplab/services/kit/udp"
)

// exchange is one whole run: it opens a socket, sends and listens, tells show
// what happens, and returns what came of it. The error is nil if there was an
// answer and every limit was kept; program.ExitCode knows the others.
func (p client) exchange(ctx context.Context, cfg settings, w wording, show func(event)) (results, error) {
	socket, addr, err := p.dial(ctx, cfg.Target)
	if err != nil {
		return results{}, err
	}
	show, every := p.inPlace(show, cfg.Quiet)
	show(started{cfg.Target, addr, cfg.Count, cfg.Timeout})

	status, stop := statusRequests()
	defer stop()
	r := &runner{
		settings: cfg,
		tally:    newTally(w, cfg.Size, cfg.Timeout),
		keeper:   turnKeeper{cycle: cfg.ExpectCycle},
		socket:   socket,
		status:   status,
		show:     show,
	}
	if every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		r.ticks = ticker.C
	}
	err = r.run(ctx)
	found := r.tally.results(time.Now(), cfg.ExpectCycle)
	if err == nil {
		err = found.verdict(cfg.MaxLoss)
	}
	end := ended{target: cfg.Target, results: found, exit: program.ExitCode(err)}
	if wrong := (outOfTurn{}); errors.As(err, &wrong) {
		end.outOfTurn = &wrong
	}
	show(end)
	return found, err
}

// runner owns everything of one run; only the socket is shared, with the
// goroutine that reads it.
type runner struct {
	settings
	tally    *tally
	keeper   turnKeeper
	socket   io.ReadWriteCloser
	arrivals chan arrival
	status   <-chan os.Signal // somebody wants to know how far it is
	ticks    <-chan time.Time // somebody watches how far it is; nil: nobody
	show     func(event)
}

// arrival is what one read of a socket gave.
type arrival struct {
	at      time.Time
	client  int // whose socket it was, of a load
	payload string
	err     error
}

// run sends all pings and closes the socket. The next ping goes out one
// interval after the one before, but never while that one waits: two at once
// would make the order of the answers a matter of the network. It returns nil
// also when the context ends it.
func (r *runner) run(ctx context.Context) error {
	r.arrivals = make(chan arrival)
	var reader sync.WaitGroup
	done := make(chan struct{})
	reader.Go(func() { receive(r.socket, 0, r.arrivals, done) })
	defer func() {
		close(done)
		r.socket.Close()
		reader.Wait()
	}()

	for ctx.Err() == nil {
		sentAt := time.Now()
		seq := r.send(sentAt)
		if err := r.wait(ctx, r.tally.deadline(), r.tally.waiting); err != nil {
			return err
		}
		if r.tally.waiting() && ctx.Err() == nil {
			r.show(r.tally.giveUp(""))
		}
		if seq == r.Count {
			return nil
		}
		always := func() bool { return true }
		if err := r.wait(ctx, sentAt.Add(r.Interval), always); err != nil {
			return err
		}
	}
	return nil
}

// send sends the next ping. One that the system does not take is given up at
// once.
func (r *runner) send(at time.Time) (seq int) {
	seq, payload := r.tally.send(at)
	if err := write(r.socket, []byte(payload)); err != nil {
		r.show(r.tally.giveUp(reason(err)))
	}
	return seq
}

// wait handles whatever happens until the time has come, or as long as going
// says so, or the context ends.
func (r *runner) wait(ctx context.Context, until time.Time, going func() bool) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for going() {
		select {
		case <-ctx.Done():
			return nil
		case <-r.status:
			r.show(asked{r.tally.results(time.Now(), r.ExpectCycle)})
		case now := <-r.ticks:
			if r.progress(now) != "" {
				r.show(progressed{func() string { return r.progress(time.Now()) }})
			}
		case a := <-r.arrivals:
			if err := r.handle(a); err != nil {
				return err
			}
		case <-timer.C:
			return r.drain(until)
		}
	}
	return nil
}

// drain handles what arrived in time although the timer was seen first.
func (r *runner) drain(until time.Time) error {
	for {
		select {
		case a := <-r.arrivals:
			if err := r.handle(a); err != nil || a.at.After(until) {
				return err
			}
		default:
			return nil
		}
	}
}

// handle takes in one arrival. Its errors end the run.
func (r *runner) handle(a arrival) error {
	if r.tally.waiting() && a.at.After(r.tally.deadline()) {
		r.show(r.tally.giveUp(""))
	}
	if why := undelivered(a.err); why != "" {
		if r.tally.waiting() {
			r.show(r.tally.giveUp(why))
		}
		return nil
	}
	if a.err != nil {
		return cannotReach(r.Target, a.err)
	}
	e := r.tally.receive(a.payload, a.at)
	r.show(e)
	return r.checkTurn(e)
}

// checkTurn holds an answer, also a late or second one, against the cycle.
func (r *runner) checkTurn(e event) error {
	var seq int
	var server string
	switch e := e.(type) {
	case replied:
		seq, server = e.seq, e.server
	case cameLate:
		seq, server = e.seq, e.server
	case cameAgain:
		seq, server = e.seq, e.server
	default:
		return nil
	}
	turn := r.tally.turn(seq)
	if r.keeper.cycle == nil || turn == noTurn {
		return nil
	}
	if whose, ok := r.keeper.check(turn, server); !ok {
		return outOfTurn{seq, server, whose, r.keeper.cycle}
	}
	return nil
}

// receive reads a client's datagrams, of any size, and stamps them, until it is
// done or the socket fails for good.
func receive(socket io.Reader, client int, arrivals chan<- arrival, done <-chan struct{}) {
	buf := make([]byte, udp.MaxDatagram)
	for {
		n, err := socket.Read(buf)
		a := arrival{time.Now(), client, string(buf[:n]), err}
		select {
		case arrivals <- a:
		case <-done:
			return
		}
		if err != nil && undelivered(err) == "" {
			return
		}
	}
}

// reason is an error in the fewest words.
func reason(err error) string {
	if why := undelivered(err); why != "" {
		return why
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
