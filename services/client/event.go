package main

import (
	"net/netip"
	"time"
)

// event is one thing that happened in a run, for people or programs to be
// shown: one of the types of this file. A server in it is a name or unnamed.
type event any

// started: the socket is open, nothing is sent yet.
type started struct {
	target  address
	addr    netip.AddrPort
	count   int // 0: until told to stop
	timeout time.Duration
}

// replied: the ping that was waited for is answered.
type replied struct {
	seq     int
	server  string
	rtt     time.Duration
	payload string
	message string // the payload without the server's name
}

// timedOut: the ping has no answer, and none is waited for.
type timedOut struct {
	seq int
	why string // why it never got there, or "" if nobody said a thing
}

// cameLate: the first answer to a ping that had timed out.
type cameLate struct {
	seq    int
	server string
	rtt    time.Duration
}

// cameAgain: one more answer to a ping that was answered already.
type cameAgain struct {
	seq     int
	server  string
	rtt     time.Duration
	message string
}

// strayed: a datagram from the target that answers no ping of this run.
type strayed struct{ payload string }

// progressed: there is something to say of how far it is, in one line that may
// be written over.
type progressed struct{ line func() string }

// asked: somebody wants to know how far it is.
type asked struct{ results }

// ended: the run is over, and the process or the menu has this exit code.
type ended struct {
	target address
	results
	outOfTurn *outOfTurn // nil: no answer was
	exit      int
}

// loadStarted: the sockets of a load are open, nothing is sent yet.
type loadStarted struct {
	target address
	addr   netip.AddrPort
	plan
}

// loadAsked: somebody wants to know how far the load is.
type loadAsked struct{ loadResults }

// loadEnded: the load is over, and the process or the menu has this exit code.
type loadEnded struct {
	target address
	loadResults
	exit int
}
