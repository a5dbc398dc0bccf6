package session

import "time"

// allowance is how many datagrams a client may still send under a limit per
// second: a bucket that fills with time, up to a second's worth. So in any d
// seconds a client has no more than d+1 seconds' worth. The zero value is full.
//
// It belongs to the session, so it knows a client by its address and port. Only
// the limit of sessions holds up a sender with many ports. What it refuses
// renews the session all the same, or a client would get a new allowance with a
// new session.
type allowance struct {
	parts int64     // of a datagram, of which each takes partsEach
	at    time.Time // when the parts were counted
}

// partsEach makes the count exact: a nanosecond under a limit of n datagrams a
// second is n parts.
const partsEach = int64(time.Second)

// take takes one datagram's parts if they are there.
func (a *allowance) take(now time.Time, limit int) bool {
	if passed := min(now.Sub(a.at), time.Second); passed > 0 {
		a.parts = min(a.parts+int64(passed)*int64(limit), int64(limit)*partsEach)
		a.at = now
	}
	if a.parts < partsEach {
		return false
	}
	a.parts -= partsEach
	return true
}
