package transport

import (
	"context"
	"os"
	"time"
)

// Traffic is what Drive drives: the decisions of a ping.Run or a load.Run.
type Traffic interface {
	// Expire gives up on what has waited for too long.
	Expire(now time.Time)
	// Send sends what is due. The payloads are not kept.
	Send(now time.Time, send func(client int, payload []byte))
	// Receive takes in a datagram, and Undelivered why one was not delivered.
	Receive(client int, payload string, at time.Time)
	Undelivered(why string, at time.Time)
	// Next is when Expire or Send has something to do although nothing arrives;
	// over says that they never will.
	Next(now time.Time) (at time.Time, over bool)
	// Status and Progress are events that say how far the run is.
	Status(now time.Time) any
	Progress(now time.Time) any
}

// progressEvery is how often people who watch are told how far it is.
const progressEvery = 500 * time.Millisecond

// Drive drives a run until it is over, the context ends, or a socket fails, which is
// its error. It shows a status whenever one is asked for.
func (s *Sockets) Drive(ctx context.Context, run Traffic, asked <-chan os.Signal, show func(event any)) error {
	select {
	case <-asked: // before there was anything to tell
	default:
	}
	failed := func(err error) { run.Undelivered(Reason(err), time.Now()) }
	send := func(client int, payload []byte) { s.send(client, payload, failed) }
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	for due := time.NewTimer(0); ; {
		now := time.Now()
		run.Expire(now)
		if ctx.Err() != nil {
			return nil
		}
		run.Send(now, send)
		s.flush(failed)
		next, over := run.Next(now)
		if over {
			return nil
		}
		due.Reset(time.Until(next))
		select {
		case a := <-s.arrivals:
			if err := s.receive(a, run); err != nil {
				return err
			}
		case <-due.C:
		case <-progress.C:
			show(run.Progress(time.Now()))
		case <-asked:
			show(run.Status(time.Now()))
			progress.Reset(progressEvery)
		case <-ctx.Done():
		}
	}
}

// receive takes in what has arrived, no more than there is now: a flood must not hold
// up what is due.
func (s *Sockets) receive(first arrivals, run Traffic) error {
	a := first
	for left := len(s.arrivals); ; left-- {
		if why := undelivered(a.err); why != "" {
			run.Undelivered(why, a.at)
		} else if a.err != nil {
			return a.err
		}
		for _, payload := range a.payloads {
			run.Receive(a.client, payload, a.at)
		}
		if left == 0 {
			return nil
		}
		a = <-s.arrivals
	}
}
