package ping

import (
	"net/netip"
	"time"
)

// An event is something that happened in a run, to be shown to people or
// programs: one of the types of this file. A server in it is a name or Unnamed.
type (
	// Started says that the socket is open and nothing is sent yet.
	Started struct {
		Target string // HOST:PORT as given
		Addr   netip.AddrPort
		Plan
	}

	// Replied says that the ping that was waited for is answered.
	Replied struct {
		Seq     int64
		Server  string
		RTT     time.Duration
		Payload string
		Message string // the payload without the server's name
	}

	// TimedOut says that the ping has no answer, and none is waited for.
	TimedOut struct {
		Seq int64
		Why string // why it was not delivered; empty if nobody said anything
	}

	// Late is the first answer to a ping that has timed out.
	Late struct {
		Seq    int64
		Server string
		RTT    time.Duration
	}

	// Duplicate is another answer to a ping that has one.
	Duplicate struct {
		Seq     int64
		Server  string
		RTT     time.Duration
		Message string
	}

	// Unmatched is a datagram from the target that answers no ping of this run.
	Unmatched struct{ Payload string }

	// Progress says from time to time how far the run is.
	Progress struct {
		Plan
		Counts
		Elapsed time.Duration
	}

	// Status is the answer to somebody who wants to know how far it is.
	Status struct{ Results }

	// Ended says that the run is over, and with which exit code.
	Ended struct {
		Target string
		Results
		Exit int
	}
)
